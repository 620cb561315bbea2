"""Whether the plugins can do their work, asked without letting one of them hold up the answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from backworks.isolation.threadpool import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from backworks.manager import PluginManager
    from backworks.plugin import PluginHealth

__all__ = ["Readiness"]

#: Seconds to wait for all plugins: below the time after which those who ask give up (often one second), above what the
#: header lets a health check take only where there is one.
_PATIENCE = 0.9


class Readiness:
    """Asks the plugins how they are, once at a time: who asks meanwhile waits for the same answer."""

    def __init__(self) -> None:
        self._threads = ThreadPool(1, "backworks-readiness")
        self._running: Future[Mapping[str, PluginHealth]] | None = None

    async def check(self, manager: PluginManager) -> tuple[bool, dict[str, Any]]:
        """Asks.

        Args:
            manager: What has the plugins.

        Returns:
            Whether every critical plugin is well, and a report of each.
        """
        if self._running is None or self._running.done():
            self._running = self._threads.submit(lambda: manager.health(_PATIENCE))
        running = self._running
        # wait() leaves the check alone when the time is over.
        await asyncio.wait((asyncio.wrap_future(running),), timeout=_PATIENCE)
        if not running.done():
            detail = f"a plugin has not told its health within {_PATIENCE:g} s"
            return False, {"status": "unavailable", "detail": detail, "plugins": {}}
        health = running.result()
        ready = manager.is_ready(health)
        plugins = {
            plugin: {"ok": one.ok, "state": one.state, "code": one.code.name, "message": one.message}
            for plugin, one in health.items()
        }
        return ready, {"status": "ok" if ready else "unavailable", "plugins": plugins}
