"""Checks timeouts in seconds and converts them to deadlines."""

from __future__ import annotations

import time

__all__ = ["MAX_TIMEOUT", "check_timeout", "deadline", "nanoseconds", "remaining"]

#: The longest timeout, in seconds: 46 days, which the locks of all systems support.
MAX_TIMEOUT = 4_000_000


def check_timeout(timeout: float | None) -> None:
    """Checks a timeout in seconds; ``None`` means no limit.

    Raises:
        ValueError: The timeout is negative, not a number, or above the limit.
    """
    if timeout is not None and not 0 <= timeout <= MAX_TIMEOUT:
        raise ValueError(f"timeout must be 0 to {MAX_TIMEOUT} seconds, or None for no limit, not {timeout!r}")


def deadline(timeout: float | None) -> float | None:
    """Returns the deadline of a timeout that starts now, by ``time.monotonic()``; raises like :func:`check_timeout`."""
    check_timeout(timeout)
    return None if timeout is None else time.monotonic() + timeout


def remaining(until: float | None) -> float | None:
    """Returns the seconds left until a deadline, never less than 0."""
    return None if until is None else max(0.0, until - time.monotonic())


def nanoseconds(timeout: float | None) -> int:
    """Converts a timeout to the C header's nanoseconds, 0 for no limit; raises like :func:`check_timeout`."""
    if timeout is None:
        return 0
    check_timeout(timeout)
    return max(1, int(timeout * 1e9))
