"""The current memory use of another process."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

__all__ = ["memory_of"]


def memory_of(pid: int) -> tuple[int | None, int | None]:
    """Returns the resident and the proportional set size of a process, in bytes.

    Args:
        pid: The process id.

    Returns:
        Both sizes; ``None`` for one that the system does not report, or if the process has exited.
    """
    if sys.platform != "linux":
        return None, None
    found: dict[str, int] = {}
    for name in ("smaps_rollup", "status"):
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/{name}").read_text("ascii", "replace").splitlines():
                key, _, rest = line.partition(":")
                if key in ("Rss", "Pss", "VmRSS"):
                    found[key] = int(rest.split()[0]) << 10
    return found.get("Rss", found.get("VmRSS")), found.get("Pss")
