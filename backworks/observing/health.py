"""Health checks on an interval.

A check that fails is logged when the plugin was well before, and one that succeeds when it was not: once, at the
change. It does not count for the circuit breaker, which is about calls: a plugin may answer well that a part of it is
ill. A worker process whose checks fail three times in a row is replaced.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from backworks.errors import Code
from backworks.plugin import PluginHealth
from backworks.reply import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backworks.ffi.contract import Reply
    from backworks.plugin import Plugin

__all__ = ["HasWorkers", "HealthMonitor"]

#: Seconds that one check may take: more than the header allows it.
PATIENCE = 1.0
#: After so many failed checks in a row a worker process is replaced.
_STRIKES = 3


@runtime_checkable
class HasWorkers(Protocol):
    """A runner over worker processes."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The process numbers of those that live."""
        ...

    def check_workers(self, timeout: float) -> Sequence[tuple[int, Reply | Exception]]:
        """Asks every worker that is free how it is: its process number, and what it answered or how that failed."""
        ...

    def replace(self, pid: int, why: str) -> None:
        """Ends a worker and starts another, if it is there still."""
        ...


class HealthMonitor:
    """Asks one plugin how it is, again and again, in a thread of its own.

    Args:
        plugin: The plugin.
        interval: Seconds from one check to the next.
    """

    def __init__(self, plugin: Plugin, interval: float) -> None:
        self._plugin = plugin
        self._interval = interval
        self._logger = logging.getLogger(f"backworks.plugin.{plugin.id}")
        self._over = threading.Event()
        self._strikes: Counter[int] = Counter()
        self.last: PluginHealth | None = None

    def start(self) -> None:
        """Begins; the first check is after one interval."""
        threading.Thread(target=self._run, name=f"backworks-health-{self._plugin.id}", daemon=True).start()

    def stop(self) -> None:
        """Ends; waits for nothing."""
        self._over.set()

    def check(self) -> PluginHealth:
        """Asks now."""
        runner = getattr(self._plugin.runner, "inner", self._plugin.runner)
        found = self._check_workers(runner) if isinstance(runner, HasWorkers) else self._plugin.health(PATIENCE)
        if self._over.is_set():  # it may have been closed because of that
            return found
        before = self.last is None or self.last.ok
        self.last = found
        if before and not found.ok:
            self._logger.warning("unhealthy: %s%s", found.code.name, f": {found.message}" if found.message else "")
        elif not before and found.ok:
            self._logger.info("healthy again")
        return found

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.check()
            except Exception:
                self._logger.exception("its health check failed in the host")

    def _check_workers(self, runner: HasWorkers) -> PluginHealth:
        """Asks the workers that are free; one that is busy does its work."""
        asked = runner.check_workers(PATIENCE)
        if not asked and self.last is not None:
            return self.last
        worst = PluginHealth(True, self._plugin.state)
        strikes = Counter({pid: self._strikes[pid] for pid in runner.pids})
        for pid, answer in asked:
            health = _health_of(answer, self._plugin.state)
            if health.ok:
                strikes.pop(pid, None)
                continue
            worst = health
            strikes[pid] += 1
            if strikes[pid] >= _STRIKES:
                del strikes[pid]
                runner.replace(pid, f"{_STRIKES} health checks in a row have failed, the last with {health.message!r}")
        self._strikes = strikes
        return worst


def _health_of(answer: Reply | Exception, state: str) -> PluginHealth:
    if isinstance(answer, Exception):
        return PluginHealth(
            False, state, getattr(answer, "message", str(answer)), getattr(answer, "code", Code.INTERNAL)
        )
    message = (answer.data or b"").decode("utf-8", "replace")
    return PluginHealth(answer.code == Code.OK, state, message, code_of(answer.code))
