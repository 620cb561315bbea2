"""Waiting for a plugin, or for a client's body, without waiting for ever.

Most calls are over at once, and cost nothing here. One that is not waits in its request's task, with no second task
beside it. A request may also begin without a task, and gets one where it first waits: :meth:`Calls.resume`. One timer
looks at all calls that are being waited for; where one has been found twice, a watcher listens for its client to hang
up. If it does, or if the server stops, the waiting ends; the plugin's call runs on, because nothing can interrupt it,
and its answer is dropped.
"""

from __future__ import annotations

import asyncio
from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from backworks.errors import PluginUnavailable
from backworks.http.request import Disconnected

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine, Generator

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
        self._without_task: _Wait | None = None
        self._looked_after_by: asyncio.AbstractEventLoop | None = None

    async def wait(self, call: Coroutine[Any, Any, Result], receive: Receive | None, plugin: str) -> Result:
        """Waits for a call.

        Args:
            call: The call; cancelling it leaves the plugin alone.
            receive: The ASGI callable after the body was read, or ``None`` while it is being read.
            plugin: The plugin's id, for exceptions.

        Raises:
            Disconnected: The client went away.
            PluginUnavailable: The server stops; see :meth:`give_up`.
        """
        try:
            future = call.send(None)
        except StopIteration as end:
            result: Result = end.value
            return result
        wait = self._begin(receive, plugin)
        try:
            return await _rest(call, future)
        except asyncio.CancelledError:
            if wait.ended_by is None or wait.uncancel():
                raise
            raise wait.ended_by from None
        finally:
            self._waiting.discard(wait)
            if wait.watcher is not None:
                wait.watcher.cancel()

    def resume(self, request: Coroutine[Any, Any, Result], future: object) -> Awaitable[Result]:
        """Goes on with a request that was begun without a task, in the task that awaits this.

        Args:
            request: The request, right after its first step.
            future: What that step waits for.
        """
        wait, self._without_task = self._without_task, None
        return self._resume(wait, request, future)

    def give_up(self) -> None:
        """Ends all waiting, because the server stops."""
        for wait in tuple(self._waiting):
            wait.end(PluginUnavailable("the server stops before the request is answered", plugin=wait.plugin))

    async def settled(self) -> None:
        """Waits until all bodies have come that are being waited for now."""
        reading = {wait for wait in self._waiting if wait.reads}
        while reading & self._waiting:  # noqa: ASYNC110  # an event would make every request dearer
            await asyncio.sleep(_SETTLED)

    def _begin(self, receive: Receive | None, plugin: str) -> _Wait:
        loop = asyncio.get_running_loop()
        if self._looked_after_by is not loop:
            self._looked_after_by = loop
            loop.call_later(_LOOK, self._look, loop)
        wait = _Wait(asyncio.current_task(), receive, plugin)
        if wait.task is None:
            self._without_task = wait
        self._waiting.add(wait)
        return wait

    async def _resume(self, wait: _Wait | None, request: Coroutine[Any, Any, Result], future: object) -> Result:
        if wait is not None:
            wait.adopt(asyncio.current_task())
        return await _rest(request, future)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._waiting:
            self._looked_after_by = None
            return
        for wait in self._waiting:
            wait.found()
        loop.call_later(_LOOK, self._look, loop)


class _Wait:
    """One task that waits for one call; without the task until the request has one."""

    __slots__ = ("_receive", "_was_found", "ended_by", "plugin", "task", "watcher")

    def __init__(self, task: asyncio.Task[Any] | None, receive: Receive | None, plugin: str) -> None:
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

    def adopt(self, task: asyncio.Task[Any] | None) -> None:
        """Takes the task of its request, which may have been ended already."""
        self.task = task
        if task is not None and self.ended_by is not None:
            task.cancel()

    def end(self, reason: Exception) -> None:
        """Ends the waiting. The task waits for the call, so that this is where it is cancelled."""
        if self.ended_by is None:
            self.ended_by = reason
            if self.task is not None:
                self.task.cancel()

    def uncancel(self) -> bool:
        """Takes the task's cancellation back; returns whether there is another."""
        return self.task is None or self.task.uncancel() > 0

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(Disconnected())


@coroutine
def _rest(begun: Coroutine[Any, Any, Result], future: object) -> Generator[object, None, Result]:
    """Awaits a coroutine after its first step, which waits for a future."""
    try:
        while True:
            try:
                yield future
            except BaseException as error:  # noqa: BLE001  # it is the coroutine's
                future = begun.throw(error)
            else:
                future = begun.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
