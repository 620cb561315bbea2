"""Decides when the next worker process starts, after one has ended or has not started. Nothing here waits.

============================================================ ===================================================
event                                                        the next start
============================================================ ===================================================
a worker ends that had worked: it had answered, or run for a at once; more than ``BURST`` of these in a row, per
minute                                                       worker, are spread over time, ``RATE`` a second
a worker ends that had not worked, or does not start         after the current delay: none, then ``initial``, which
                                                             doubles up to ``maximum``, and goes on for ever
the host lacks descriptors, processes or memory for a start  after ``SHORTAGE`` seconds; the delay does not grow
============================================================ ===================================================

A worker that has worked resets the delay. Failures during a delay share it, so several workers that fail together do
not make it grow faster.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from backworks.errors import PluginUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.settings import Restart

__all__ = ["BURST", "HEALTHY", "RATE", "SHORTAGE", "Backoff", "HostShortage"]

#: How many workers that had worked are replaced at once, per worker of the plugin, before their starts are spread, and
#: how many starts a second that means. A start takes about 10 to 30 milliseconds of processor time.
BURST, RATE = 20, 10.0
#: How many seconds a worker must run to have worked although it has not been called.
HEALTHY = 60.0
#: How many seconds after a shortage of the host the next start is tried.
SHORTAGE = 1.0


class HostShortage(PluginUnavailable):
    """The host lacks descriptors, processes or memory for a worker process, which is no fault of the plugin."""


class Backoff:
    """Computes delays in seconds.

    Args:
        policy: The settings.
        workers: The number of workers of the plugin.
        clock: Returns the time in seconds.
        jitter: Returns a number from 0 to 1. The upper half of each delay is random, so that plugins that failed
            together do not restart together.
    """

    def __init__(
        self,
        policy: Restart,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._workers = workers
        self._clock = clock
        self._jitter = jitter
        self._wait = 0.0  # the next delay
        self._until = 0.0  # the end of the current one
        self._tokens = float(BURST * workers)
        self._counted = clock()

    def worked(self) -> float:
        """Records the end of a worker that had worked. Returns the delay of the next start."""
        now = self._clock()
        rate = RATE * self._workers
        self._tokens = min(self._tokens + (now - self._counted) * rate, BURST * self._workers) - 1
        self._counted = now
        self._wait = 0.0
        return max(0.0, -self._tokens / rate)

    def not_started(self, error: BaseException) -> float:
        """Records that a worker has not started, and why. Returns the delay of the next start."""
        return min(SHORTAGE, self._policy.maximum) if isinstance(error, HostShortage) else self.failed()

    def failed(self) -> float:
        """Records a failure: a worker has not started, or has not worked. Returns the delay of the next start."""
        now = self._clock()
        if now >= self._until:
            self._until = now + self._wait * (0.5 + 0.5 * self._jitter())
            self._wait = min(max(2 * self._wait, self._policy.initial), self._policy.maximum)
        return self._until - now
