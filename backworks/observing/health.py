"""Periodic health checks.

The log has one record when a plugin becomes unhealthy, and one when it is healthy again. A failed check does not count
for the circuit breaker, which only considers calls: an unhealthy plugin may still answer them. A worker process that
fails three checks in a row is replaced.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from backworks.errors import Code
from backworks.plugin import PluginHealth
from backworks.printable import printable
from backworks.reply import code_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from backworks.ffi.contract import Reply
    from backworks.plugin import Plugin

__all__ = ["HasWorkers", "HealthMonitor"]

#: Seconds that one check may take: the limit of the C header.
PATIENCE = 1.0
#: A worker process is replaced after this many failed checks in a row.
_STRIKES = 3


@runtime_checkable
class HasWorkers(Protocol):
    """A runner that uses worker processes."""

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the running workers."""
        ...

    def check_workers(self, timeout: float) -> Sequence[tuple[int, Reply | Exception]]:
        """Checks every idle worker; returns its process id, and its reply or the exception."""
        ...

    def replace(self, pid: int, why: str) -> None:
        """Stops a worker and starts another, if it still exists."""
        ...


class HealthMonitor:
    """Checks the health of one plugin periodically, in a separate thread.

    Args:
        plugin: The plugin.
        interval: Seconds between two checks.
    """

    def __init__(self, plugin: Plugin, interval: float) -> None:
        self._plugin = plugin
        self._interval = interval
        self._logger = logging.getLogger(f"backworks.plugin.{plugin.id}")
        self._over = threading.Event()
        self._strikes: Counter[int] = Counter()
        self.last: PluginHealth | None = None

    def start(self) -> None:
        """Starts the thread; the first check follows after one interval."""
        threading.Thread(target=self._run, name=f"backworks-health-{self._plugin.id}", daemon=True).start()

    def stop(self) -> None:
        """Stops the checks, without waiting for the thread."""
        self._over.set()

    def check(self) -> PluginHealth:
        """Checks the health now."""
        runner = self._plugin.runner
        found = self._check_workers(runner) if isinstance(runner, HasWorkers) else self._plugin.health(PATIENCE)
        if self._over.is_set():  # the plugin was closed, which may have failed the check
            return found
        before = self.last is None or self.last.ok
        self.last = found
        if before and not found.ok:
            words = f": {printable(found.message)}" if found.message else ""
            self._logger.warning("unhealthy: %s%s", found.code.name, words)
        elif not before and found.ok:
            self._logger.info("healthy again")
        return found

    def _run(self) -> None:
        while not self._over.wait(self._interval):
            try:
                self.check()
            except Exception:
                self._logger.exception("health check failed in the host")

    def _check_workers(self, runner: HasWorkers) -> PluginHealth:
        """Checks the idle workers; a busy one is at work, so it is not checked."""
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
                runner.replace(pid, f"{_STRIKES} health checks in a row failed, the last with {health.message!r}")
        self._strikes = strikes
        return worst


def _health_of(answer: Reply | Exception, state: str) -> PluginHealth:
    if isinstance(answer, Exception):
        return PluginHealth(
            False, state, getattr(answer, "message", str(answer)), getattr(answer, "code", Code.INTERNAL)
        )
    message = (answer.data or b"").decode("utf-8", "replace")
    return PluginHealth(answer.code == Code.OK, state, message, code_of(answer.code))
