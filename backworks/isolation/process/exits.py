"""How a process ended, in words."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Exit"]

#: Names alone say little to who has not met them.
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
    "SIGXCPU": "its processor time was used up",
    "SIGXFSZ": "its file grew too large",
}


class Exit(NamedTuple):
    """How a process ended.

    Attributes:
        signal: The name of the signal that ended it, or ``None``.
        code: Its exit code if no signal ended it and somebody knows it.
    """

    signal: str | None
    code: int | None

    def __str__(self) -> str:
        if self.signal is not None:
            words = _WORDS.get(self.signal)
            return f"ended by {self.signal}{f' ({words})' if words else ''}"
        if self.code is None:
            return "ended"
        return f"ended with exit code {self.code}"
