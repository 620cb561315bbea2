"""Turns a path into a :class:`Prepared` library: finds the file, copies and hashes it in one pass, and reads the copy.

This happens once for each plugin: the check of a configuration passes the result to the start of the plugin.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backworks.errors import IsolationError, PluginLoadError
from backworks.loading.inspection import isolation_problem, problems
from backworks.loading.paths import resolve_library
from backworks.loading.staging import Staged, stage

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    try:
        staged = stage(found)
    except PluginLoadError as error:
        if error.path != str(found):  # the temporary directory, or a library that this one brings along
            error.args = (f"{found}: {error}",)
            error.path = str(found)
        raise
    return Prepared(found, staged, staged.info.manifest, tuple(problems(staged.info)))
