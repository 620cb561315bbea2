"""Proves that calls leak nothing: makes many of every kind, and compares the process's memory before and after.

``python tests/isolated/leaks.py LIBRARY [CALLS]``, where LIBRARY is a plugin that answers what it was sent and, for the
endpoints "fail", "http" and "not mine", as the one in ``tests/test_ffi.py`` does.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

import backworks

#: Far above what the allocators' own housekeeping moves, far below one lost byte per call of a long run.
SLACK = 1 << 20
SHORT, LONG, BINARY = "x" * 64, "é" * 5_000, b"\xff" * 1_000


def memory() -> int:
    """The resident memory of this process, in bytes; where that cannot be told, the most that it ever was."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def calls(plugin: backworks.Plugin, count: int) -> None:
    """Makes ``count`` calls: mostly the usual ones, and some of each other kind."""
    process, answer = plugin.process_endpoint_data, plugin.answer
    for _ in range(count // 25):
        for _ in range(8):
            process("/echo", "POST", SHORT)
            answer(b"/echo", b"POST", SHORT)
        process("/echo", "POST", LONG)
        process("/echo", data=bytearray(BINARY), as_bytes=True)
        process("not mine", timeout=1.5, traceparent="00-ab-cd-01", tracestate="\xe9")
        plugin.call("http")
        with contextlib.suppress(backworks.PluginError):
            process("fail")
        with contextlib.suppress(backworks.PluginContractError):
            process("/echo", "POST", BINARY)
        with contextlib.suppress(TypeError):
            process("/echo", "POST", 5)  # type: ignore[call-overload]
        with contextlib.suppress(TypeError):
            process("/echo", "POST", bytearray(1), "one too many")  # type: ignore[call-overload]
        process(memoryview(b"/echo"), "POST", memoryview(b"abcd")[::2])  # type: ignore[call-overload]


def main() -> None:
    """Ends with 0 if the memory stayed as it was, and with the numbers if not."""
    library, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10_000_000
    with backworks.load(library) as plugin:
        calls(plugin, 100_000)  # until every cache and free list is as full as it gets
        before = memory()
        calls(plugin, count)
        grown = memory() - before
    if grown > SLACK:
        sys.exit(f"{count} calls left {grown} bytes behind")
    print(f"{count} calls: {grown:+d} bytes")


if __name__ == "__main__":
    main()
