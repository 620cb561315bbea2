"""The libraries that plugins have brought into this process, where each name stands for one library only."""

from __future__ import annotations

import contextlib
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from backworks.errors import LinkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backworks.loading.staging import Dependency, Staged

__all__ = ["clash", "mapped_libraries", "opening"]

_log = logging.getLogger(__name__)
_lock = threading.RLock()
#: The libraries that are open in this process. Their copies stay, because their code stays mapped.
_open: list[Staged] = []


@contextlib.contextmanager
def opening(staged: Staged) -> Iterator[None]:
    """Opens a library in this process in its block, and remembers what it has brought along.

    Raises:
        LinkError: The process has another library with the name of one that it brings along.
    """
    with _lock:
        text = clash(staged, _open)
        if text is not None:
            raise LinkError(f"{staged.info.path}: {text}", path=staged.info.path)
        if staged not in _open:
            _warn_of_others(staged)
        yield
        if staged not in _open:
            _open.append(staged)


def clash(staged: Staged, others: Iterable[Staged]) -> str | None:
    """Returns why a library cannot be in the same process as others, or ``None``.

    The dynamic linkers of Linux and Windows load a library only once for each name, so the plugin that is opened second
    would silently use what the first has brought along.
    """
    if staged.info.format == "mach-o":  # macOS distinguishes them by their paths
        return None
    present = {each.name: each for other in others for each in other.dependencies}
    for each in staged.dependencies:
        other = present.get(each.name)
        if other is not None and other.identity != each.identity:
            return _explain(each, other)
    return None


def _explain(wanted: Dependency, present: Dependency) -> str:
    if wanted.path == present.path:
        return (
            f"it needs {wanted.name}, of which this process keeps the version that it has loaded from {present.path} "
            "before; use isolation: process, or restart the host"
        )
    return (
        f"it needs {wanted.name} from {wanted.path}, but a process can load only one library of that name, and another "
        f"plugin brings along {present.path}; use isolation: process for one of them"
    )


def _warn_of_others(staged: Staged) -> None:
    """Logs a warning for each library that the program has loaded instead of one that a plugin brings along."""
    if not staged.dependencies:
        return
    known = {each.identity for other in _open for each in other.dependencies}
    mapped = {path.name: path for path in mapped_libraries()}
    for each in staged.dependencies:
        other = mapped.get(each.name)
        if other is not None and each.identity not in known:
            _log.warning(
                "%s: it brings along %s, but this process has already loaded %s and uses that one; use isolation: "
                "process",
                staged.info.path,
                each.path,
                other,
            )


def mapped_libraries() -> list[Path]:
    """Returns the libraries that this process has loaded, on Linux."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    return list({Path(line[line.index("/") :]) for line in lines if "/" in line})
