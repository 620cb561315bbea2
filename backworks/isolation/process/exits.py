"""Describes how a process ended."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Exit"]

#: Explanations of signals, whose names alone are cryptic.
_WORDS = {
    "SIGABRT": "abort",
    "SIGALRM": "alarm",
    "SIGBUS": "bus error",
    "SIGFPE": "arithmetic error",
    "SIGHUP": "hang-up",
    "SIGILL": "illegal instruction",
    "SIGINT": "interrupt",
    "SIGKILL": "killed",
    "SIGPIPE": "broken pipe",
    "SIGQUIT": "quit",
    "SIGSEGV": "segmentation fault",
    "SIGSYS": "forbidden system call",
    "SIGTERM": "terminated",
    "SIGTRAP": "trap",
    "SIGXCPU": "processor time limit exceeded",
    "SIGXFSZ": "file size limit exceeded",
}


class Exit(NamedTuple):
    """How a process ended.

    Attributes:
        signal: The name of the signal that ended it, or ``None``.
        code: Its exit code, or ``None`` if a signal ended it or the code is unknown.
    """

    signal: str | None
    code: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            words = _WORDS.get(self.signal)
            return f"was ended by {self.signal}{f' ({words})' if words else ''}"
        if self.code is None:
            return "ended"
        return f"ended with exit code {self.code}"
