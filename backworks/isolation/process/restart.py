"""When the next worker is started after one has ended. Nothing in here waits."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.settings import Restart

__all__ = ["Backoff"]

#: Seconds of life after which a death has nothing to do with those before it.
_HEALTHY = 60.0
#: A worker that has lived so many times as long as the last one was waited for does not make the next wait longer: a
#: request that kills a worker now and then must not, by and by, keep the plugin away for half a minute each time.
_WORTH_IT = 10


class Backoff:
    """Counts deaths and failed starts: no wait at first, then one that doubles each time, with jitter.

    Args:
        policy: The numbers.
        clock: Tells the time in seconds.
        jitter: Gives a number from 0 to 1: of each wait the upper half is left to chance, so that plugins that went
            down together do not come back together.
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
        """Notes that a worker that had started at that time has ended. Returns seconds to wait for the next one."""
        lived = self._clock() - born
        if lived >= _HEALTHY:
            self._wait = 0.0
        return self._next(longer=lived < _WORTH_IT * self._wait)

    def started(self) -> None:
        """Notes that a worker has started."""
        self._failed = 0

    def failed(self) -> float | None:
        """Notes that a worker has not started. Returns seconds to wait, or ``None`` to give up."""
        self._failed += 1
        if self._failed >= self._policy.give_up_after:
            return None
        return self._next(longer=True)

    def _next(self, *, longer: bool) -> float:
        wait = self._wait
        if longer or not wait:
            self._wait = min(max(2 * wait, self._policy.initial), self._policy.maximum)
        return wait * (0.5 + 0.5 * self._jitter())
