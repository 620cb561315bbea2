"""A process that has only imported everything, from which the processes of checks are forked.

Run as ``python -m backworks.authoring.conformance.forkserver``.

It reads lines of JSON from stdin, and writes lines of JSON to stdout:

    in    {"task": {...}}        run a check
          {"kill": PID}          kill a process and its process group
    out   {"started": PID}      after each task, in order
          {"ended": PID, "code": CODE}   negative for a signal

At the end of its input it kills all forked processes and exits. Not used on Windows, which has no fork, nor on macOS,
whose system libraries do not support fork without exec.
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
    """Serves requests until the end of the input."""
    if sys.platform == "win32":
        raise SystemExit("the fork server does not run on Windows, which has no fork")
    wakeup, wakeup_sender = os.pipe()
    os.set_blocking(wakeup, False)
    os.set_blocking(wakeup_sender, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_sender)
    gc.freeze()  # a collection in a child would copy every page that it shares with this process
    children: set[int] = set()
    pending = b""
    while True:
        ready, _, _ = select.select([0, wakeup], [], [])
        if wakeup in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, _CHUNK)
            _reap(children)
        if 0 in ready:
            chunk = os.read(0, _CHUNK)
            if not chunk:
                break
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                _handle(json.loads(line), children)
    for pid in children:
        _kill(pid)


def _handle(order: dict[str, Any], children: set[int]) -> None:
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
    _send({"started": pid})


def _reap(children: set[int]) -> None:
    """Reaps the processes that have ended; their groups are killed first, while the ids cannot be reused."""
    for pid in [*children]:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            _kill(pid)
            _, status = os.waitpid(pid, 0)
            children.remove(pid)
            _send({"ended": pid, "code": os.waitstatus_to_exitcode(status)})


def _kill(pid: int) -> None:
    # The process itself as well: it may not have become the leader of its group yet.
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)


def _send(answer: dict[str, int]) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
