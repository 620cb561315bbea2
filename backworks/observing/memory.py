"""How much memory another process uses, as the system tells it at this moment."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

__all__ = ["memory_of"]


def memory_of(pid: int) -> tuple[int | None, int | None]:
    """Reads the resident set size of a process and its proportional set size, in bytes.

    Args:
        pid: The process.

    Returns:
        Both; ``None`` for what the system does not tell, or not of a process that has ended.
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
