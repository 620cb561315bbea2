"""``isolation: none``: calls run in the caller's thread, as a C function does. Nothing can end one early."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from backworks.isolation.lifecycle import Gate, Lifecycle, State
from backworks.isolation.runner import Job, JobRunner, called_by_itself, nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.ffi.contract import Engine, Reply

__all__ = ["Caller", "InlineRunner"]


class Caller(Gate, Protocol):
    """What makes calls by itself, and lets others pass the same gate: a ``_native.Caller``."""

    def run(self, job: Callable[[], Reply], /) -> Reply:
        """Calls a function as if it were a call of the plugin."""
        ...


class InlineRunner(JobRunner):
    """A :class:`backworks.isolation.runner.Runner`.

    Args:
        plugin: The plugin's id, for messages.
        engine: What makes the calls.
        shutdown: Ends the instance; raises nothing.
        thread_safe: Whether calls may run at the same time.
    """

    def __init__(self, plugin: str, engine: Engine, shutdown: Callable[[], object], *, thread_safe: bool) -> None:
        super().__init__(engine)
        self._plugin = plugin
        self._lifecycle = Lifecycle(plugin)
        self._shutdown = shutdown
        self._turn = None if thread_safe else threading.Lock()
        self._turn_of: int | None = None  # the thread that has it
        self._caller: Caller | None = None

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def in_flight(self) -> int:
        return self._lifecycle.in_flight

    def attach(self, caller: Caller) -> None:
        """Has the runner close, and use, the gate of a caller; called before the plugin is given to anybody."""
        self._caller = self._lifecycle.gate = caller

    def run(self, job: Job, timeout: float | None) -> Reply:
        time_left = nanoseconds(timeout)
        if self._caller is not None:
            return self._caller.run(lambda: job(time_left))
        ticket = self._lifecycle.enter()
        try:
            return job(time_left) if self._turn is None else self._run_alone(self._turn, job, time_left)
        finally:
            self._lifecycle.leave(ticket)

    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        return self.run(job, timeout)

    def refusal(self, nested: bool) -> Exception:
        """Makes the exception of a call that is not let in.

        Args:
            nested: Because its thread is in a call of the plugin already, whose end it would wait for.
        """
        return called_by_itself(self._plugin) if nested else self._lifecycle.refusal()

    def close(self, timeout: float | None) -> bool:
        if self._lifecycle.close(timeout):
            self._shutdown()
            self._lifecycle.closed()
        return self._lifecycle.state is State.CLOSED

    def _run_alone(self, turn: threading.Lock, job: Job, time_left: int) -> Reply:
        me = threading.get_ident()
        if self._turn_of == me:
            raise self.refusal(nested=True)
        with turn:
            self._turn_of = me
            try:
                return job(time_left)
            finally:
                self._turn_of = None
