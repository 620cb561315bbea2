"""``isolation: none``: calls run in the caller's thread, as a C function does. Nothing can end one early."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from backworks.isolation.runner import Job, called_by_itself, nanoseconds
from backworks.lifecycle import Lifecycle, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.ffi.contract import Reply

__all__ = ["InlineRunner"]


class InlineRunner:
    """A :class:`backworks.isolation.runner.Runner`.

    Args:
        plugin: The plugin's id, for messages.
        shutdown: Ends the instance; raises nothing.
        thread_safe: Whether calls may run at the same time.
    """

    def __init__(self, plugin: str, shutdown: Callable[[], object], *, thread_safe: bool) -> None:
        self._lifecycle = Lifecycle(plugin)
        self._shutdown = shutdown
        self._plugin = plugin
        self._turn = None if thread_safe else threading.Lock()
        self._turn_of: int | None = None  # the thread that has it

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def in_flight(self) -> int:
        return self._lifecycle.in_flight

    def run(self, job: Job, timeout: float | None) -> Reply:
        ticket = self._lifecycle.enter()
        try:
            return job(nanoseconds(timeout)) if self._turn is None else self._run_alone(self._turn, job, timeout)
        finally:
            self._lifecycle.leave(ticket)

    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        return self.run(job, timeout)

    def _run_alone(self, turn: threading.Lock, job: Job, timeout: float | None) -> Reply:
        if self._turn_of == threading.get_ident():
            raise called_by_itself(self._plugin)
        with turn:
            self._turn_of = threading.get_ident()
            try:
                return job(nanoseconds(timeout))
            finally:
                self._turn_of = None

    def close(self, timeout: float | None) -> bool:
        if self._lifecycle.close(timeout):
            self._shutdown()
            self._lifecycle.closed()
        return self._lifecycle.state is State.CLOSED
