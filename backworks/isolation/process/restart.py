"""Determines how long to wait before a restart. Nothing here actually waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.settings import Restart

__all__ = ["Backoff"]

#: How many seconds a worker must live to reset the delay.
_HEALTHY = 60.0
#: A worker that lives this many times the previous delay does not increase the next one, so that a request that
#: occasionally kills a worker does not gradually make the plugin unavailable for half a minute each time.
_WORTH_IT = 10


class Backoff:
    """Computes the delay after a worker has ended or failed to start: none at first, then doubling, with jitter.

    Args:
        policy: The settings.
        clock: Returns the time in seconds.
        jitter: Returns a number from 0 to 1. The upper half of each delay is random, so that plugins that failed
            together do not restart together.
    """

    def __init__(
        self,
        policy: Restart,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._clock = clock
        self._jitter = jitter
        self._wait = 0.0
        self._failed = 0

    def died(self, born: float) -> float:
        """Records the end of a worker, given the time of its start. Returns the delay of the next start in seconds."""
        lived = self._clock() - born
        if lived >= _HEALTHY:
            self._wait = 0.0
        return self._next(longer=lived < _WORTH_IT * self._wait)

    def started(self) -> None:
        """Records that a worker has started."""
        self._failed = 0

    def failed(self) -> float | None:
        """Records that a worker failed to start. Returns the delay of the next start, or ``None`` to give up."""
        self._failed += 1
        if self._failed >= self._policy.give_up_after:
            return None
        return self._next(longer=True)

    def _next(self, *, longer: bool) -> float:
        wait = self._wait
        if longer or not wait:
            self._wait = min(max(2 * wait, self._policy.initial), self._policy.maximum)
        return wait * (0.5 + 0.5 * self._jitter())
