"""The outcome of a check: a verdict inside its process, and the result outside."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["BAD", "Failed", "Result", "Skipped", "Status", "Verdict", "Warned"]


class Status(StrEnum):
    """The status of a check."""

    PASS = "pass"  # noqa: S105  # not a password
    FAIL = "fail"
    CRASH = "crash"
    TIMEOUT = "timeout"
    WARNING = "warning"
    SKIPPED = "skipped"


#: The statuses of a plugin that breaks the contract.
BAD = frozenset((Status.FAIL, Status.CRASH, Status.TIMEOUT))


class Verdict(Exception):
    """Ends a check that did not pass.

    Args:
        found: The call and its result, or why the check was skipped.
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
    """The plugin keeps the rules, but its users will have trouble."""

    status = Status.WARNING


class Skipped(Verdict):
    """There is nothing to check, or no way to check it here."""

    status = Status.SKIPPED


@dataclass(frozen=True)
class Result:
    """The outcome of one check.

    Attributes:
        id: The id of the check.
        status: Its status.
        found: The call and its result; for a pass, what was tried.
        accepted: What would have been accepted; empty for a pass.
        seconds: How long it took, including its process.
        stderr: The last lines of the plugin's stderr; empty for a pass.
        blocked_by: If skipped because another check did not pass, the id of that check.
    """

    id: str
    status: Status
    found: str
    accepted: str = ""
    seconds: float = 0.0
    stderr: tuple[str, ...] = ()
    blocked_by: str = ""
