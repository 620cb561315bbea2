"""Waits for a plugin or for a request body, and stops waiting if the client disconnects or the server shuts down.

Most calls complete without waiting and cost nothing here. Any other call waits in its request's task, without a second
task. A request may also start without a task and get one when it first waits: :meth:`Calls.resume`. One timer checks
all waiting calls; a call that two checks have found gets a watcher, which detects that its client disconnects. If the
client disconnects or the server shuts down, the wait ends. The plugin's call continues, because nothing can interrupt
it, and its response is discarded.
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

#: The interval of checks, in seconds. A client is watched after one to two intervals, which is far longer than most
#: calls take and too short to notice.
_LOOK = 0.1
#: How often to check whether pending request bodies have arrived, in seconds.
_SETTLED = 0.01

Result = TypeVar("Result")


class Calls:
    """The waiting calls. Belongs to one event loop at a time."""

    def __init__(self) -> None:
        self._waiting: set[_Wait] = set()
        self._without_task: _Wait | None = None
        self._looked_after_by: asyncio.AbstractEventLoop | None = None

    async def wait(self, call: Coroutine[Any, Any, Result], receive: Receive | None, plugin: str) -> Result:
        """Waits for a call.

        Args:
            call: The call; cancelling it does not affect the plugin.
            receive: The ASGI callable if the body has been read, or ``None`` while it is being read.
            plugin: The plugin's id, for exceptions.

        Raises:
            Disconnected: The client disconnected.
            PluginUnavailable: The server shuts down; see :meth:`give_up`.
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
        """Continues a request that was started without a task, in the task that awaits this.

        Args:
            request: The request's coroutine after its first step.
            future: The future on which that step waits.
        """
        wait, self._without_task = self._without_task, None
        return self._resume(wait, request, future)

    def give_up(self) -> None:
        """Ends all waits, because the server shuts down."""
        for wait in tuple(self._waiting):
            wait.end(PluginUnavailable("the server shut down before the plugin responded", plugin=wait.plugin))

    async def settled(self) -> None:
        """Waits until all request bodies have arrived that are pending now."""
        reading = {wait for wait in self._waiting if wait.reads}
        while reading & self._waiting:  # noqa: ASYNC110  # an event would slow down every request
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
    """One wait for one call, with the task of its request as soon as there is one."""

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
        """Records that a check has found it; the second check starts the watcher."""
        if self._was_found and self.watcher is None and self._receive is not None:
            self.watcher = asyncio.create_task(self._watch(self._receive))
        self._was_found = True

    def adopt(self, task: asyncio.Task[Any] | None) -> None:
        """Sets the task of its request, and cancels it if the wait has already ended."""
        self.task = task
        if task is not None and self.ended_by is not None:
            task.cancel()

    def end(self, reason: Exception) -> None:
        """Ends the wait by cancelling the task, which is suspended in the wait."""
        if self.ended_by is None:
            self.ended_by = reason
            if self.task is not None:
                self.task.cancel()

    def uncancel(self) -> bool:
        """Undoes the task's cancellation; returns whether others remain."""
        return self.task is None or self.task.uncancel() > 0

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end(Disconnected())


@coroutine
def _rest(begun: Coroutine[Any, Any, Result], future: object) -> Generator[object, None, Result]:
    """Awaits the rest of a coroutine whose first step waits for a future."""
    try:
        while True:
            try:
                yield future
            except BaseException as error:  # noqa: BLE001  # passed on to the coroutine
                future = begun.throw(error)
            else:
                future = begun.send(None)
    except StopIteration as end:
        result: Result = end.value
        return result
