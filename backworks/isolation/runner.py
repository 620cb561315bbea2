"""What every kind of isolation offers to :class:`backworks.Plugin`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from backworks.errors import PluginStateError
from backworks.ffi.contract import Reply
from backworks.isolation.lifecycle import check_timeout

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Engine
    from backworks.isolation.lifecycle import State

__all__ = ["Job", "JobRunner", "Runner", "called_by_itself", "nanoseconds"]

#: One call into the plugin. Takes the nanoseconds that are left for it, 0 for no limit.
Job = Callable[[int], Reply]


class Runner(Protocol):
    """Makes calls of one instance and ends it.

    The calls raise what the engine raises, and:

    * ``PluginTimeout``: It did not return in time (where this isolation can tell).
    * ``PluginUnavailable``: The plugin takes no calls now.
    * ``PluginStateError``: The plugin is closing or closed, or the call would wait for the one it was made from.
    * ``ValueError``: The timeout is none.
    """

    @property
    def state(self) -> State:
        """The state at this moment."""
        ...

    @property
    def in_flight(self) -> int:
        """How many calls are in the plugin."""
        ...

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """Has the plugin answer a request, in so many seconds if that is not ``None``."""
        ...

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        """As :meth:`process`, from an event loop."""
        ...

    def health_check(self, timeout: float | None) -> Reply:
        """Asks the plugin how it is."""
        ...

    def close(self, timeout: float | None) -> bool:
        """Waits for the calls inside and shuts the instance down, once.

        Args:
            timeout: Seconds for all of it, or ``None`` to wait as long as it takes.

        Returns:
            Whether the instance is shut down.
        """
        ...


def called_by_itself(plugin: str) -> PluginStateError:
    """Returns what a call gets that would wait for the call which it was made from, for instance by a log handler."""
    return PluginStateError(
        f"{plugin}: called from within its own call, while it takes no more at a time; call it after that has returned",
        plugin=plugin,
    )


class JobRunner(ABC):
    """A base for a :class:`Runner` that runs Python functions.

    Args:
        engine: What makes the calls.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @abstractmethod
    def run(self, job: Job, timeout: float | None) -> Reply:
        """Runs a job, in so many seconds if that is not ``None``, and returns its reply."""

    @abstractmethod
    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        """As :meth:`run`, from an event loop."""

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        return self.run(self._job(endpoint, method, data, traceparent, tracestate), timeout)

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        return await self.run_async(self._job(endpoint, method, data, traceparent, tracestate), timeout)

    def health_check(self, timeout: float | None) -> Reply:
        return self.run(lambda _time_left: self._engine.health_check(), timeout)

    def _job(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Job:
        return partial(
            self._engine.process,
            _encode(endpoint),
            _encode(method),
            _encode(data),
            traceparent=None if traceparent is None else _encode(traceparent, "latin-1"),
            tracestate=None if tracestate is None else _encode(tracestate, "latin-1"),
        )


def nanoseconds(timeout: float | None) -> int:
    """Converts a timeout to nanoseconds, 0 for none; raises as :func:`backworks.isolation.lifecycle.check_timeout`."""
    check_timeout(timeout)
    return 0 if timeout is None else max(1, int(timeout * 1e9))


def _encode(value: str | Buffer, encoding: str = "utf-8") -> bytes:
    if isinstance(value, str):
        return value.encode(encoding)
    return value if isinstance(value, bytes) else bytes(memoryview(value))
