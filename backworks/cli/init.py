"""What process 1 of a container has to do for all others: reap orphans. The server runs in a child process then.

Every orphan in a container becomes a child of process 1. The server cannot reap children that it does not know, because
it would take their exit statuses from the plugins that have started them.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

__all__ = ["run_below_process_1"]

#: ``si_code`` of a signal that the kernel sends, such as that of Ctrl-C, which the child receives from the terminal.
_SI_KERNEL = 128


def run_below_process_1() -> None:
    """Calls :func:`run_below` if this is process 1, which it can only be on Linux."""
    if sys.platform == "linux" and os.getpid() == 1:
        run_below()


if sys.platform == "linux":

    def run_below() -> None:
        """Forks and returns in the child. The parent reaps orphans, forwards signals, and ends as the child does."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        child = os.fork()
        if child:
            _reap_until_end(child)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _reap_until_end(child: int) -> NoReturn:
        while True:
            received = signal.sigwaitinfo(signal.valid_signals())
            if received.si_signo == signal.SIGCHLD:
                _reap_all(child)
            elif received.si_code != _SI_KERNEL:
                os.kill(child, received.si_signo)

    def _reap_all(child: int) -> None:
        """Reaps everything that has ended, and ends this process if the child has."""
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)  # as a shell does
            if pid == 0:
                return
