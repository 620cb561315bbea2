"""A process that has imported everything and done nothing, from which others are forked.

Run as ``python -m backworks.authoring.conformance.forkserver``.

It reads lines of JSON from its standard input, and writes such lines to its standard output:

    in    {"task": {...}}        run a check
          {"kill": PID}          end one, and its group of processes
    out   {"started": PID}      after each task, in their order
          {"ended": PID, "code": CODE}   a signal's number is negative

When its input ends, so does it, and with it all that it has forked off. Not on Windows, where there is no fork; nor on
macOS, whose own libraries do not bear it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
from typing import Any

from backworks.authoring.conformance.child import Task, run

__all__ = ["main"]

_CHUNK = 1 << 16


def main() -> None:
    """Serves until the end of the input."""
    if sys.platform == "win32":
        raise SystemExit("there is no fork on Windows")
    waking, woken = os.pipe()
    os.set_blocking(waking, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(woken)
    gc.freeze()  # a collection in a child would copy every page that it shares with this process
    children: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0, waking], [], [])
        if waking in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(waking, _CHUNK)
            _reap(children)
        if 0 in ready:
            chunk = os.read(0, _CHUNK)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                _obey(json.loads(line), children)
    for pid in children:
        _kill(pid)


def _obey(order: dict[str, Any], children: set[int]) -> None:
    if "kill" in order:
        if order["kill"] in children:
            _kill(order["kill"])
        return
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        run(Task(**order["task"]))
    children.add(pid)
    _tell({"started": pid})


def _reap(children: set[int]) -> None:
    """Takes those from the system that have ended; their groups are ended before, while the numbers are theirs."""
    for pid in [*children]:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            _kill(pid)
            _, status = os.waitpid(pid, 0)
            children.remove(pid)
            _tell({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _kill(pid: int) -> None:
    # The process itself too: it may not have come to lead its group.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _tell(answer: dict[str, int]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
