"""A running plugin, with the same methods for every isolation and for libraries and Python objects alike."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from backworks.errors import BackworksError, Code, PluginContractError, PluginError
from backworks.ffi.contract import ContractViolation
from backworks.isolation.admission import State
from backworks.reply import PluginResult, code_of, message_of

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from backworks.isolation.admission import Admission
    from backworks.isolation.runner import Runner

__all__ = ["Plugin", "PluginHealth", "PluginInfo"]


@dataclass(frozen=True)
class PluginInfo:
    """The fixed properties of a running plugin.

    Attributes:
        id: The host's name for the plugin: its name in the configuration, or else its own.
        name, version, description: The name, version and description that the plugin reports.
        manifest: Its manifest, or ``None``.
        path: The file it was loaded from, or ``None`` for a Python object.
        isolation: ``"none"``, ``"thread"`` or ``"process"``.
        has_health_check: Whether the plugin has a health check.
    """

    id: str
    name: str
    version: str
    description: str
    manifest: Mapping[str, Any] | None
    path: Path | None
    isolation: str
    has_health_check: bool


@dataclass(frozen=True)
class PluginHealth:
    """The result of a health check.

    Attributes:
        ok: Whether the plugin is healthy.
        state: The plugin's state; see :attr:`Plugin.state`.
        message: The plugin's message, or the reason why it is unhealthy; may be empty.
        code: The code that its health check returned.
    """

    ok: bool
    state: str
    message: str = ""
    code: Code = Code.OK


class Plugin:
    """A running plugin, returned by :func:`backworks.load` and by :class:`backworks.PluginManager`.

    Its methods can be called from any thread. Close it with :meth:`close` or a ``with`` block. A plugin that is dropped
    without that causes a ``ResourceWarning``. Its worker processes are then shut down in the background; a plugin in
    this process is not shut down, because a finalizer never calls C.
    """

    def __init__(self, info: PluginInfo, admission: Admission, timeout: float | None) -> None:
        self._info = info
        self._admission = admission
        self._timeout = timeout
        self._is_inline = info.isolation == "none"

    @property
    def id(self) -> str:
        """The host's name for the plugin: its name in the configuration, or else its own name."""
        return self._info.id

    @property
    def name(self) -> str:
        """The plugin's own name."""
        return self._info.name

    @property
    def version(self) -> str:
        """The plugin's version."""
        return self._info.version

    @property
    def description(self) -> str:
        """A one-sentence description; may be empty."""
        return self._info.description

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """The manifest in its library, or ``None``."""
        return self._info.manifest

    @property
    def path(self) -> Path | None:
        """The file it was loaded from, or ``None`` for a Python object."""
        return self._info.path

    @property
    def isolation(self) -> str:
        """Where it runs: ``"none"``, ``"thread"`` or ``"process"``."""
        return self._info.isolation

    @property
    def has_health_check(self) -> bool:
        """Whether the plugin has a health check."""
        return self._info.has_health_check

    @property
    def timeout(self) -> float | None:
        """The default timeout of a call, in seconds; ``None`` means no limit."""
        return self._timeout

    @property
    def runner(self) -> Runner:
        """The runner that makes its calls, for supervision."""
        return self._admission.runner

    @property
    def breaker(self) -> str | None:
        """The state of its circuit breaker: ``"closed"``, ``"open"`` or ``"half-open"``; ``None`` if it has none."""
        position = self._admission.breaker
        return None if position is None else str(position)

    @property
    def state(self) -> str:
        """``"running"``, ``"closing"``, ``"closed"``, or a state that rejects calls because of a fault.

        Those are ``"quarantined"`` and ``"abandoned"`` for a plugin in this process, and ``"restarting"`` for one in
        worker processes.
        """
        return str(self._admission.state)

    @property
    def in_flight(self) -> int:
        """The number of calls in flight."""
        return self._admission.in_flight

    @overload
    def process_endpoint_data(
        self,
        endpoint: str,
        method: str = ...,
        data: str | Buffer = ...,
        *,
        as_bytes: Literal[False] = ...,
        timeout: float | None = ...,
        traceparent: str | None = ...,
        tracestate: str | None = ...,
    ) -> str | None: ...

    @overload
    def process_endpoint_data(
        self,
        endpoint: str,
        method: str = ...,
        data: str | Buffer = ...,
        *,
        as_bytes: Literal[True],
        timeout: float | None = ...,
        traceparent: str | None = ...,
        tracestate: str | None = ...,
    ) -> bytes | None: ...

    def process_endpoint_data(
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
        """Sends a request to the plugin and returns the response.

        Args:
            endpoint: The endpoint, such as ``"/api/weather/{station}"``.
            method: The method, in upper case.
            data: The data of the request: a string, or any bytes.
            as_bytes: Whether to return the response as bytes instead of as a string.
            timeout: The timeout of this call in seconds; by default the plugin's timeout.
            traceparent, tracestate: The W3C Trace Context of the call.

        Returns:
            The response, or ``None`` if the plugin does not handle the request.

        Raises:
            PluginError: The plugin returned a code other than OK.
            PluginContractError: The response violates the ABI, or is not UTF-8 although a string was requested.
            PluginTimeout: The plugin did not respond in time.
            PluginUnavailable: The plugin does not accept calls at present.
            PluginStateError: The plugin is closing or closed.
        """
        if timeout is None:
            timeout = self._timeout
        answer = self._admission.answer(endpoint, method, data, timeout, traceparent, tracestate)
        if type(answer) is bytes and not as_bytes:  # most answers are
            try:
                return answer.decode()
            except UnicodeDecodeError:  # raised below in words
                pass
        return self._shaped(answer, as_bytes)

    @overload
    async def process_endpoint_data_async(
        self,
        endpoint: str,
        method: str = ...,
        data: str | Buffer = ...,
        *,
        as_bytes: Literal[False] = ...,
        timeout: float | None = ...,
        traceparent: str | None = ...,
        tracestate: str | None = ...,
    ) -> str | None: ...

    @overload
    async def process_endpoint_data_async(
        self,
        endpoint: str,
        method: str = ...,
        data: str | Buffer = ...,
        *,
        as_bytes: Literal[True],
        timeout: float | None = ...,
        traceparent: str | None = ...,
        tracestate: str | None = ...,
    ) -> bytes | None: ...

    async def process_endpoint_data_async(
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
        """Like :meth:`process_endpoint_data`, for use in an event loop.

        With isolation ``none``, the call blocks the event loop's thread. If the task is cancelled, a call
        that has begun continues and its response is discarded; one that waits for a worker does not begin.
        """
        answer = await self.answer_async(endpoint, method, data, timeout, traceparent, tracestate)
        return self._shaped(answer, as_bytes)

    def call(
        self,
        endpoint: str,
        method: str = "GET",
        data: str | Buffer = "",
        *,
        timeout: float | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> PluginResult | None:
        """Like :meth:`process_endpoint_data`, but the response includes its HTTP status, content type and headers."""
        return _result(self.answer(endpoint, method, data, timeout, traceparent, tracestate))

    async def call_async(
        self,
        endpoint: str,
        method: str = "GET",
        data: str | Buffer = "",
        *,
        timeout: float | None = None,
        traceparent: str | None = None,
        tracestate: str | None = None,
    ) -> PluginResult | None:
        """Like :meth:`call`, for use in an event loop."""
        return _result(await self.answer_async(endpoint, method, data, timeout, traceparent, tracestate))

    def answer(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None = None,
        traceparent: str | bytes | None = None,
        tracestate: str | bytes | None = None,
    ) -> bytes | PluginResult | None:
        """Like :meth:`call`, but returns plain bytes if the plugin has set no HTTP fields, which is faster.

        Strings that are already encoded can be passed as bytes.
        """
        if timeout is None:
            timeout = self._timeout
        return self._admission.answer(endpoint, method, data, timeout, traceparent, tracestate)

    def answer_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None = None,
        traceparent: str | bytes | None = None,
        tracestate: str | bytes | None = None,
    ) -> Coroutine[Any, Any, bytes | PluginResult | None]:
        """Like :meth:`answer`, for use in an event loop."""
        if self._is_inline:
            return self._answer_inline(endpoint, method, data, timeout, traceparent, tracestate)
        if timeout is None:
            timeout = self._timeout
        return self._admission.answer_async(endpoint, method, data, timeout, traceparent, tracestate)

    def health(self, timeout: float | None = 1.0) -> PluginHealth:
        """Runs the plugin's health check; a plugin without one is healthy while it runs.

        Args:
            timeout: How many seconds to wait for the result; isolation ``none`` cannot enforce it.
        """
        if trouble := self._admission.trouble:
            return PluginHealth(False, self.state, trouble, Code.UNAVAILABLE)
        if not self._info.has_health_check:
            return PluginHealth(True, self.state)
        try:
            reply = self._admission.health_check(timeout)
        except PluginError as error:
            return PluginHealth(False, self.state, error.message, error.code)
        except (BackworksError, ContractViolation) as error:
            return PluginHealth(False, self.state, str(error), Code.INTERNAL)
        return PluginHealth(reply.code == Code.OK, self.state, message_of(reply), code_of(reply.code))

    def flush_log(self, timeout: float | None = 1.0) -> bool:
        """Waits until the records that the plugin has logged so far have reached ``logging``.

        With isolation ``process``, a record takes its own way to the host and can arrive after the call in which it was
        logged has returned. Tests that examine the log call this first. With other isolations, there is nothing to wait
        for. On Windows, a record that the host has not begun to read is not waited for.

        Args:
            timeout: How many seconds to wait at most; ``None`` means no limit.

        Returns:
            Whether they have arrived.
        """
        return self._admission.flush_log(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Closes the plugin: rejects new calls, waits for calls in flight, and runs its shutdown. Safe to call again.

        Args:
            timeout: The total time in seconds; ``None`` means no limit.

        Returns:
            Whether the plugin was shut down. If not, a call or the shutdown did not return in time; the plugin is
            abandoned and an error is logged.
        """
        done = self._admission.close(timeout)
        if not done and self._admission.state is State.ABANDONED:
            within = "its time limit" if timeout is None else f"{timeout:g} s"  # None: an earlier close gave up
            logging.getLogger(f"backworks.plugin.{self.id}").error(
                "abandoned: it did not stop within %s (calls in flight: %d)", within, self.in_flight
            )
        return done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Plugin {self.id} {self.version} ({self.isolation}, {self.state})>"

    def __del__(self) -> None:
        admission = getattr(self, "_admission", None)
        if admission is not None and admission.state not in (State.CLOSING, State.CLOSED, State.ABANDONED):
            admission.drop()
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    async def _answer_inline(self, *arguments: Any) -> bytes | PluginResult | None:
        return self.answer(*arguments)

    def _shaped(self, answer: bytes | PluginResult | None, as_bytes: bool) -> str | bytes | None:
        data = answer.data if isinstance(answer, PluginResult) else answer
        if data is None or as_bytes:
            return data
        try:
            return data.decode()
        except UnicodeDecodeError:
            self._not_text(data)

    def _not_text(self, data: bytes) -> NoReturn:
        """Raises the error for a response that is not UTF-8 although a string was requested."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            where = f"byte {error.start} of {len(data)}"
            raise PluginContractError(
                f"the response is not UTF-8 ({where}); request it with as_bytes=True", plugin=self.id
            ) from None
        raise AssertionError  # only called for such a response


def _result(answer: bytes | PluginResult | None) -> PluginResult | None:
    return PluginResult(answer) if isinstance(answer, bytes) else answer
