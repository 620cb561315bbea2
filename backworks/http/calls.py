"""Waiting for a plugin, or for a client's body, without waiting for ever.

A request waits in its own task, with no second task beside it: most calls are over before one would have started. One
timer looks at all calls that are being waited for; where one has been found twice, a watcher listens for its client to
hang up. If it does, or if the server stops, the waiting ends; the plugin's call runs on, because nothing can interrupt
it, and its answer is dropped.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from backworks.errors import PluginUnavailable
from backworks.http.request import Disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from backworks.http.asgi import Receive

__all__ = ["Calls"]

#: Seconds from one look at the waiting calls to the next. A client is watched after one to two of them: far above what
#: most calls take, far below what anybody notices.
_LOOK = 0.1
#: Seconds from one look at the bodies that have to come before a plugin may be ended to the next.
_SETTLED = 0.01

Result = TypeVar("Result")


class Calls:
    """The calls that are being waited for. Belongs to one event loop at a time."""

    def __init__(self) -> None:
        self._waiting: set[_Wait] = set()
        self._looked_after_by: asyncio.AbstractEventLoop | None = None

    async def wait(self, call: Awaitable[Result], receive: Receive | None, plugin: str) -> Result:
        """Waits for a call.

        Args:
            call: The call; cancelling it leaves the plugin alone.
            receive: The ASGI callable after the body was read, or ``None`` while it is being read.
            plugin: The plugin's id, for exceptions.

        Raises:
            Disconnected: The client went away.
            PluginUnavailable: The server stops; see :meth:`give_up`.
        """
        loop = asyncio.get_running_loop()
        if self._looked_after_by is not loop:
            self._looked_after_by = loop
            loop.call_later(_LOOK, self._look, loop)
        wait = _Wait(receive, plugin)
        self._waiting.add(wait)
        try:
            return await call
        except asyncio.CancelledError:
            if wait.ended_by is None or wait.task.uncancel():
                raise
            raise wait.ended_by from None
        finally:
            self._waiting.discard(wait)
            if wait.watcher is not None:
                wait.watcher.cancel()

    def give_up(self) -> None:
        """Ends all waiting, because the server stops."""
        for wait in tuple(self._waiting):
            wait.end(PluginUnavailable("the server stops before the request is answered", plugin=wait.plugin))

    async def settled(self) -> None:
        """Waits until all bodies have come that are being waited for now."""
        reading = {wait for wait in self._waiting if wait.reads}
        while reading & self._waiting:  # noqa: ASYNC110  # an event would make every request dearer
            await asyncio.sleep(_SETTLED)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting:
            self._looked_after_by = None
            return
        for wait in self._waiting:
            wait.found()
        loop.call_later(_LOOK, self._look, loop)


class _Wait:
    """One task that waits for one call."""

    __slots__ = ("_receive", "_was_found", "ended_by", "plugin", "task", "watcher")

    def __init__(self, receive: Receive | None, plugin: str) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        self.task = task
        self.plugin = plugin
        self.ended_by: Exception | None = None
        self.watcher: asyncio.Task[None] | None = None
        self._receive = receive
        self._was_found = False

    @property
    def reads(self) -> bool:
        """Whether it waits for a body."""
        return self._receive is None

    def found(self) -> None:
        """Notes that it still waits."""
        if self._was_found and self.watcher is None and self._receive is not None:
            self.watcher = asyncio.create_task(self._watch(self._receive))
        self._was_found = True

    def end(self, reason: Exception) -> None:
        """Ends the waiting. The task is inside ``await call``, so that this is where it is cancelled."""
        if self.ended_by is None:
            self.ended_by = reason
            self.task.cancel()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(Disconnected())
