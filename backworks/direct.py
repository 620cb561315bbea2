"""Plugins whose calls are the compiled binding's own methods, with no or less Python in between."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, cast

from backworks.ffi import binding
from backworks.ffi.contract import Engine
from backworks.isolation.channels.inline import InlineRunner
from backworks.isolation.runner import nanoseconds
from backworks.plugin import Plugin, PluginInfo

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

    from backworks.ffi._native import Caller
    from backworks.isolation.runner import Runner
    from backworks.reply import PluginResult

__all__ = ["inline_plugin", "outer_plugin"]


class _DirectEngine(Engine, Protocol):
    """An instance of the binding ``native``."""

    def caller(self, owner: Plugin, time_left_ns: int, thread_safe: bool, /) -> Caller: ...


class _NativePlugin(Plugin):
    """A :class:`backworks.Plugin` with two methods of the compiled binding instead of those of its class."""

    # Slots, because interpreters find their values faster than an attribute that hides one of the class.
    __slots__ = ("answer", "process_endpoint_data")


class _DirectPlugin(_NativePlugin):
    """One whose methods are those of a :class:`Caller`."""

    def __init__(
        self,
        info: PluginInfo,
        engine: _DirectEngine,
        runner: InlineRunner,
        timeout: float | None,
        *,
        thread_safe: bool,
    ) -> None:
        super().__init__(info, runner, timeout)
        self._inline = runner
        caller = engine.caller(self, nanoseconds(timeout), thread_safe)
        runner.attach(caller)
        self.answer = caller.answer  # type: ignore[method-assign, misc]
        self.process_endpoint_data = caller.process_endpoint_data  # type: ignore[method-assign, misc]

    async def process_endpoint_data_async(  # type: ignore[override]  # its overloads need not be written again
        self,
        endpoint: str,
        method: str = "GET",
        data: str | Buffer = "",
        *,
        as_bytes: bool = False,
        timeout: float | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> str | bytes | None:
        return self.process_endpoint_data(  # type: ignore[call-overload, no-any-return]
            endpoint,
            method,
            data,
            as_bytes=as_bytes,
            timeout=timeout,
            traceparent=traceparent,
            tracestate=tracestate,
        )

    async def answer_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None = None,
        traceparent: str | bytes | None = None,
        tracestate: str | bytes | None = None,
    ) -> bytes | PluginResult | None:
        return self.answer(endpoint, method, data, timeout, traceparent, tracestate)

    def _refuse(self, nested: bool) -> NoReturn:
        raise self._inline.refusal(nested)


class _OuterPlugin(_NativePlugin):
    """One whose methods are those of a :class:`Front`."""

    def __init__(self, info: PluginInfo, runner: Runner, timeout: float | None) -> None:
        super().__init__(info, runner, timeout)
        from backworks.ffi._native import front

        made = front(self, runner.process, timeout)
        self.answer = made.answer  # type: ignore[method-assign, misc]
        self.process_endpoint_data = made.process_endpoint_data  # type: ignore[method-assign, misc]


def outer_plugin(info: PluginInfo, runner: Runner, timeout: float | None) -> Plugin:
    """Makes a plugin that runs elsewhere: in threads or processes of its own, or behind a guard.

    Args:
        info: Who it is.
        runner: What makes its calls.
        timeout: Seconds that a call may take which brings no timeout of its own.
    """
    kind = _OuterPlugin if binding().name == "native" else Plugin
    return kind(info, runner, timeout)


def inline_plugin(
    info: PluginInfo,
    engine: Engine,
    shutdown: Callable[[], object],
    *,
    thread_safe: bool,
    timeout: float | None,
) -> Plugin:
    """Makes a plugin with ``isolation: none``, of the fastest kind that its engine can be.

    Args:
        info: Who it is.
        engine: What does its work.
        shutdown: Ends the engine; raises nothing.
        thread_safe: Whether calls may run at the same time.
        timeout: Seconds that a call may take, for the plugin to know.
    """
    runner = InlineRunner(info.id, engine, shutdown, thread_safe=thread_safe)
    if hasattr(engine, "caller"):
        return _DirectPlugin(info, cast("_DirectEngine", engine), runner, timeout, thread_safe=thread_safe)
    return Plugin(info, runner, timeout)
