"""What a check found: verdicts inside the process that runs it, and the result that they become outside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BAD", "Failed", "Result", "Skipped", "Status", "Verdict", "Warned"]


class Status(StrEnum):
    """How a check went."""

    PASS = "pass"  # noqa: S105  # no word to pass with
    FAIL = "fail"
    CRASH = "crash"
    TIMEOUT = "time-out"
    WARNING = "warning"
    SKIPPED = "skipped"


#: With one of these the plugin does not keep the contract.
BAD = frozenset((Status.FAIL, Status.CRASH, Status.TIMEOUT))


class Verdict(Exception):
    """Ends a check that did not pass.

    Args:
        found: What was called and what came back, or why the check was skipped.
        accepted: What would have been accepted.
    """

    status = Status.FAIL

    def __init__(self, found: str, accepted: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.accepted = accepted


class Failed(Verdict):
    """The plugin breaks a rule."""


class Warned(Verdict):
    """The plugin keeps the rules, and its users will be sorry."""

    status = Status.WARNING


class Skipped(Verdict):
    """There is nothing to check here, or no way to check it."""

    status = Status.SKIPPED


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    Attributes:
        id: The check.
        status: How it went.
        found: What was called and what came back; of a pass, what was tried.
        accepted: What would have been accepted; empty for a pass.
        seconds: How long it took, with its process.
        stderr: The last lines on the plugin's stderr; only of what did not pass.
        blocked_by: Of what was skipped for want of another check's pass, that check.
    """

    id: str
    status: Status
    found: str
    accepted: str = ""
    seconds: float = 0.0
    stderr: tuple[str, ...] = ()
    blocked_by: str = ""
