"""The growth of the process's memory over many calls: ``python -m benchmarks.leak``."""

from __future__ import annotations

import subprocess
import sys

from benchmarks import ROOT
from benchmarks.command import command
from benchmarks.harness import Figure, Sample
from benchmarks.serving import python

#: The number of calls of each kind; the first is the most common one.
CALLS = {
    "text": 100_000_000,
    "bytes": 10_000_000,
    "text_1k": 10_000_000,
    "call": 10_000_000,
    "error": 5_000_000,
    "thread": 2_000_000,
}
NAMES = {
    "text": "Backworks: 64 B, str",
    "bytes": "Backworks: 64 B, bytes",
    "text_1k": "Backworks: 1 KiB, str",
    "call": "Backworks: call(), 64 B",
    "error": "Backworks: an exception each time",
    "thread": "Backworks, thread: 64 B, str",
}
_STEPS = 10


def watch(kind: str, calls: int) -> list[int]:
    """Makes calls in this process; returns its growth in KiB after each tenth of them.

    One hundredth of the number is called before, so that one-time allocations do not count.
    """
    from contextlib import suppress
    from itertools import repeat

    import psutil

    from backworks import PluginContractError
    from benchmarks.contenders import ours

    process = psutil.Process()
    plugin = ours("hash" if kind == "error" else "echo", isolation="thread" if kind == "thread" else "none")
    data = "x" * (1024 if kind == "text_1k" else 64)
    text, answer = plugin.process_endpoint_data, plugin.call

    def make(count: int) -> None:
        if kind == "error":  # a hash is not UTF-8
            for _ in repeat(None, count):
                with suppress(PluginContractError):
                    text("/echo", "POST", data)
        elif kind == "bytes":
            raw = data.encode()
            for _ in repeat(None, count):
                text("/echo", "POST", raw, as_bytes=True)
        elif kind == "call":
            for _ in repeat(None, count):
                answer("/echo", "POST", data)
        else:
            for _ in repeat(None, count):
                text("/echo", "POST", data)

    make(max(1000, calls // 100))
    before = process.memory_info().rss
    grown = []
    for _ in range(_STEPS):
        make(calls // _STEPS)
        grown.append((process.memory_info().rss - before) // 1024)
    plugin.close()
    return grown


def figure(quick: bool) -> Figure:
    """Measures the figure, each kind in a separate process."""
    groups: dict[str, dict[str, Sample]] = {}
    counts = {kind: calls // 200 if quick else calls for kind, calls in CALLS.items()}
    for kind, calls in counts.items():
        line = python("-m", "benchmarks.leak", "--watch", kind, str(calls))
        done = subprocess.run(line, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        grown = [float(number) for number in done.stdout.split()]
        for step, part in ((_STEPS // 2, "half of the calls"), (_STEPS, "all calls")):
            groups.setdefault(f"after {part}", {})[f"{NAMES[kind]}, {calls:,}"] = Sample.of(grown[step - 1 : step])
    return Figure(
        "leak",
        "Growth of the process over many calls, in KiB; lower is better",
        "KiB",
        groups,
        (),
        (f"Resident memory, after {_STEPS // 2} and {_STEPS} tenths of the calls, not counting an earlier hundredth.",),
        logarithmic=False,
        sorted=False,
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--watch"]:
        print(*watch(sys.argv[2], int(sys.argv[3])))
        sys.exit()
    sys.exit(command(figure))
