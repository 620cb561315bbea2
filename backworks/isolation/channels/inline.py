"""``isolation: none``: calls run in the caller's thread, like any C function, and cannot be interrupted."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from backworks import ffi
from backworks.isolation.admission import Ending, State
from backworks.isolation.runner import called_by_itself, encode
from backworks.isolation.timeouts import nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from typing_extensions import Buffer

    from backworks.ffi.contract import Engine, Reply
    from backworks.isolation.admission import Admission

    #: The lock of a plugin that is not thread-safe: a :class:`PythonTurn` or its compiled counterpart.
    Turn = AbstractContextManager[None]

__all__ = ["InlineRunner", "PythonTurn", "new_turn"]


class PythonTurn:
    """The lock of a plugin that is not thread-safe, in Python; a context manager.

    Args:
        nested: Creates the exception for a call that would wait for the call from which it was made.
    """

    def __init__(self, nested: Callable[[], Exception]) -> None:
        self._nested = nested
        self._lock = threading.Lock()
        self._thread: int | None = None  # the holder

    def __enter__(self) -> None:
        me = threading.get_ident()
        if self._thread == me:
            raise self._nested()
        self._lock.acquire()
        self._thread = me

    def __exit__(self, *_: object) -> None:
        self._thread = None
        self._lock.release()


def new_turn(plugin: str) -> Turn:
    """Creates the lock of a plugin that is not thread-safe."""
    compiled = ffi.compiled()
    nested = partial(called_by_itself, plugin)
    turn: Turn = PythonTurn(nested) if compiled is None else compiled.Turn(nested)
    return turn


class InlineRunner:
    """A :class:`backworks.isolation.runner.Runner`.

    Args:
        engine: Makes the calls.
        shutdown: Shuts the instance down; raises nothing.
        turn: The lock that a call holds; ``None`` if calls may run at the same time.

    Attributes:
        engine, turn: As given.
    """

    state = State.RUNNING
    in_flight = 0  # no call outlives its caller with this isolation
    is_inherited = False

    def __init__(self, engine: Engine, shutdown: Callable[[], object], turn: Turn | None) -> None:
        self.engine = engine
        self.turn = turn
        self._process = engine.process
        self._shutdown = shutdown

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        parent = None if traceparent is None else encode(traceparent, "latin-1")
        state = None if tracestate is None else encode(tracestate, "latin-1")
        request = encode(endpoint), encode(method), encode(data), nanoseconds(timeout), parent, state
        if self.turn is None:
            return self._process(*request)
        with self.turn:
            return self._process(*request)

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        return self.process(endpoint, method, data, timeout, traceparent, tracestate)

    def health_check(self, timeout: float | None) -> Reply:
        if self.turn is None:
            return self.engine.health_check()
        with self.turn:
            return self.engine.health_check()

    @property
    def trouble(self) -> str | None:
        return None

    def flush_log(self, timeout: float | None) -> bool:
        return True

    def drop(self, admission: Admission) -> None:
        pass

    def stop(self) -> None:
        pass

    def end(self, until: float | None, *, empty: bool) -> Ending:
        if not empty:
            return Ending.LEFT_BEHIND
        self._shutdown()
        return Ending.PEACEFUL
