"""Turns a path into a :class:`Prepared` library: finds the file, copies and hashes it in one pass, and reads the copy.

This happens once for each plugin: the check of a configuration passes the result to the start of the plugin.
"""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backworks.errors import IsolationError, PluginLoadError, PluginNotFound
from backworks.loading.inspection import inspect_library, isolation_problem, problems
from backworks.loading.paths import resolve_library
from backworks.loading.staging import Staged, stage, stage_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Prepared", "prepare"]


@dataclass(frozen=True)
class Prepared:
    """A library that the host or a worker process can open. None of its code has run.

    Two are equal if they have the same path and the same content.

    Attributes:
        path: The original file.
        staged: The private copy to open, and its hash.
        manifest: Its manifest, or ``None``.
        problems: All known reasons why this host cannot load it, the most important first.
    """

    path: Path
    staged: Staged
    manifest: Mapping[str, Any] | None = field(compare=False)
    problems: tuple[PluginLoadError, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str | None:
        """The plugin's name from its manifest, or ``None`` without a manifest."""
        return None if self.manifest is None else str(self.manifest["name"])

    @property
    def thread_safe(self) -> bool:
        """Whether the plugin accepts concurrent calls."""
        return (self.manifest or {}).get("thread_safe", True) is not False

    def check(self, isolation: str) -> None:
        """Checks that this host can load it with an isolation.

        Raises:
            IsolationError: Its manifest does not accept the isolation.
            PluginLoadError: It cannot be loaded; the subclass and the message give the reason.
        """
        for problem in self.problems:
            raise problem
        text = isolation_problem(self.manifest, isolation)
        if text is not None:
            raise IsolationError(f"{self.path}: {text}", path=self.path, plugin=self.name)


def prepare(path: str | Path) -> Prepared:
    """Finds, copies and reads a library.

    Args:
        path: The file, or its stem.

    Raises:
        PluginLoadError: The file does not exist, or cannot be read as a library. For a library that can be read but not
            loaded, :attr:`Prepared.problems` lists the reasons.
    """
    found = resolve_library(path).absolute()
    with _readable(found):
        staged = stage(found)
    with _speaking_of(found, instead_of=staged.path):
        info = replace(inspect_library(staged.path), path=found)
    reasons = tuple(problems(info))
    if not reasons:
        _stage_dependencies(staged, found.parent, info.needed)
    return Prepared(found, staged, info.manifest, reasons)


def _stage_dependencies(staged: Staged, directory: Path, needed: Sequence[str]) -> None:
    """Copies the libraries beside the original that the staged one depends on, directly or indirectly."""
    seen = {staged.path.name}
    waiting = list(needed)
    while waiting:
        name = re.split(r"[/\\]", waiting.pop())[-1]  # "@loader_path/libfoo.dylib" on macOS
        original = directory / name
        if name in seen or not original.is_file():
            continue
        seen.add(name)
        with _readable(original):
            copy = stage_beside(staged, original)
        waiting += inspect_library(copy).needed


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PluginNotFound(f"{path}: cannot read the file: {error.strerror or error}", path=path) from error


@contextlib.contextmanager
def _speaking_of(path: Path, *, instead_of: Path) -> Iterator[None]:
    """Replaces the path of the private copy in errors with the path of the original."""
    try:
        yield
    except PluginLoadError as error:
        error.args = (str(error).replace(str(instead_of), str(path)),)
        error.path = str(path)
        raise
