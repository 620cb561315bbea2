"""From a path to a :class:`Prepared` library: its file is found, copied and hashed in one pass, and the copy is read.

This happens once for each plugin. Whoever checks a configuration hands the result on to whoever starts the plugin.
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
    """A library that can be opened, by this process or by a worker. Nothing of it has run.

    Two are equal if the same path holds the same bytes.

    Attributes:
        path: The file that was asked for.
        staged: The private copy that will be opened, and its hash.
        manifest: Its manifest, or ``None``.
        problems: Every known reason why it will not load on this host, the weightiest first.
    """

    path: Path
    staged: Staged
    manifest: Mapping[str, Any] | None = field(compare=False)
    problems: tuple[PluginLoadError, ...] = field(default=(), compare=False)

    @property
    def name(self) -> str | None:
        """The plugin's name, if its manifest says it."""
        return None if self.manifest is None else str(self.manifest["name"])

    @property
    def thread_safe(self) -> bool:
        """Whether calls may run at the same time."""
        return (self.manifest or {}).get("thread_safe", True) is not False

    def check(self, isolation: str) -> None:
        """Checks that it can be loaded here, with an isolation.

        Raises:
            IsolationError: Its manifest does not accept the isolation.
            PluginLoadError: It cannot be loaded; the subclass and the text say why.
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
        PluginLoadError: There is no such file, or it cannot be read as a library. A library that can be read but not
            loaded has :attr:`Prepared.problems`.
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
    """Copies along what the library needs and finds beside itself, and what that needs in turn."""
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
        raise PluginNotFound(f"{path}: cannot be read: {error.strerror or error}", path=path) from error


@contextlib.contextmanager
def _speaking_of(path: Path, *, instead_of: Path) -> Iterator[None]:
    """Lets errors about the private copy name the file that the user knows."""
    try:
        yield
    except PluginLoadError as error:
        error.args = (str(error).replace(str(instead_of), str(path)),)
        error.path = str(path)
        raise
