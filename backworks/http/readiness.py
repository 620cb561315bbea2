"""Checks whether the plugins are healthy, without letting one of them delay the response."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backworks.isolation.threadpool import in_thread

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from backworks.manager import PluginManager
    from backworks.plugin import PluginHealth

__all__ = ["Readiness"]

#: How many seconds to wait for all plugins: less than the usual timeout of a readiness probe (one second).
_PATIENCE = 0.9


class Readiness:
    """Checks the plugins' health, one check at a time: concurrent requests share its result."""

    def __init__(self) -> None:
        self._running: Future[Mapping[str, PluginHealth]] | None = None

    async def check(self, manager: PluginManager) -> tuple[bool, dict[str, Any]]:
        """Checks the health of all plugins.

        Args:
            manager: The manager that runs the plugins.

        Returns:
            Whether all critical plugins are healthy, and a report with all plugins.
        """
        if self._running is None or self._running.done():
            self._running = in_thread(lambda: manager.health(_PATIENCE), "backworks-readiness")
        running = self._running
        # wait() does not cancel the check at the timeout.
        await asyncio.wait((asyncio.wrap_future(running),), timeout=_PATIENCE)
        if not running.done():
            detail = f"a health check did not finish within {_PATIENCE:g} s"
            return False, {"status": "unavailable", "detail": detail, "plugins": {}}
        health = running.result()
        ready = manager.is_ready(health)
        plugins = {
            plugin: {"ok": one.ok, "state": one.state, "code": one.code.name, "message": one.message}
            for plugin, one in health.items()
        }
        return ready, {"status": "ok" if ready else "unavailable", "plugins": plugins}
