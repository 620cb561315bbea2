"""Builds a project and puts its library where its configuration expects it."""

from __future__ import annotations

import filecmp
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.authoring.toolchains import Job, Step, Toolchain, toolchain_of
from backworks.errors import BuildError
from backworks.loading.paths import SUFFIXES, library_name
from backworks.system import as_typed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from backworks.config import Config

__all__ = ["Builder", "Built", "Project", "find_project"]

#: The name of a project's configuration file.
CONFIG = "backworks.yaml"


@dataclass(frozen=True)
class Project:
    """A directory that holds one plugin.

    Attributes:
        directory: The absolute path of the directory.
        config: The project's configuration.
        plugin_id: The plugin's id in the configuration.
        library: The path that the library is built to.
        toolchain: The toolchain that builds it.
    """

    directory: Path
    config: Config
    plugin_id: str
    library: Path
    toolchain: Toolchain


@dataclass(frozen=True)
class Built:
    """The outcome of a successful build.

    Attributes:
        library: The path of the library.
        changed: Whether the library differs from the one before.
        seconds: How long the build took.
    """

    library: Path
    changed: bool
    seconds: float


def find_project(directory: Path) -> Project:
    """Reads the project in a directory.

    Raises:
        BuildError: The directory does not contain a plugin project.
        ConfigError: The project's configuration is invalid.
    """
    from backworks.config import load_config

    directory = Path(os.path.abspath(directory))  # noqa: PTH100  # "../weather" without the "..", links unchanged
    if not directory.is_dir():
        raise BuildError(f"{directory}: no such directory")
    toolchain = toolchain_of(directory)
    file = directory / CONFIG
    if not file.is_file():
        raise BuildError(f"{directory}: missing {CONFIG}, which sets the path of the library")
    config = load_config(file)
    within = {
        plugin_id: plugin.path
        for plugin_id, plugin in config.plugins.items()
        if plugin.plugin_type == "external" and plugin.path is not None and directory in _parents(plugin.path)
    }
    if len(within) != 1:
        found = f"{len(within)} do ({', '.join(within)})" if within else "none does"
        raise BuildError(f"{file}: exactly one plugin must have its path inside {directory}; {found}")
    ((plugin_id, path),) = within.items()
    return Project(directory, config, plugin_id, _library(path), toolchain)


def _parents(path: Path | str) -> Sequence[Path]:
    return Path(os.path.normpath(path)).parents


def _library(path: Path | str) -> Path:
    path = Path(os.path.normpath(path))
    return path if path.suffix in SUFFIXES else path.with_name(library_name(path.name))


class Builder:
    """Builds one project, any number of times; another thread can stop it.

    Args:
        directory: The project's directory.
        say: Called with each command, as one line, before the command runs.
    """

    def __init__(self, directory: Path, say: Callable[[str], object]) -> None:
        self._directory = directory
        self._say = say
        self._lock = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def build(self) -> Built:
        """Runs the toolchain, with its output on stderr, and puts the library in place.

        Raises:
            ToolNotFound: A tool is not installed.
            BuildError: The tool failed, or the build was stopped.
            ConfigError: The project's configuration is invalid.
        """
        began = time.monotonic()
        project = find_project(self._directory)
        stem = project.library.stem.removeprefix("lib")
        job = Job(project.directory, project.directory / "build" / project.toolchain.name, stem)
        printed = ""
        for step in project.toolchain.steps(job):
            printed = self._run(step, project.directory)
        changed = _place(project.toolchain.product(job, printed), project.library)
        return Built(project.library, changed, time.monotonic() - began)

    def stop(self) -> None:
        """Kills the running command, and prevents any further one."""
        with self._lock:
            self._stopped = True
            if self._running is not None:
                _kill(self._running)

    def _run(self, step: Step, directory: Path) -> str:
        self._say(f"$ {as_typed(step.command)}")
        with self._lock:
            if self._stopped:
                raise BuildError("the build was stopped")
            # A new process group, so that a compiler's children are killed with it.
            process = self._running = subprocess.Popen(  # noqa: S603  # the tools that toolchains name
                step.command,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if step.reads else sys.stderr,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        try:
            printed, _ = process.communicate()
        except BaseException:
            _kill(process)
            process.wait()
            raise
        finally:
            with self._lock:
                self._running = None
        if process.returncode != 0:
            raise BuildError(f"build failed: {step.command[0]} exited with {process.returncode}; see its output above")
        return printed or ""


def _kill(process: subprocess.Popen[str]) -> None:
    if sys.platform == "win32":
        process.kill()
        return
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it has exited; macOS denies permission for a group of zombies
        process.kill()


def _place(product: Path, library: Path) -> bool:
    """Renames a library into place, so that readers of the old file keep it; returns whether the content changed."""
    if library.is_file() and filecmp.cmp(product, library, shallow=False):
        return False
    library.parent.mkdir(parents=True, exist_ok=True)
    new = library.with_name(f".{library.name}.new")
    try:
        shutil.copy2(product, new)
        new.replace(library)
    except OSError as error:
        raise BuildError(f"{library}: cannot write the library: {error.strerror or error}") from error
    finally:
        new.unlink(missing_ok=True)
    return True
