"""One running plugin: strings in and out, whatever it is made of and wherever it runs."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NoReturn, overload

from backworks.errors import BackworksError, Code, PluginContractError, PluginError
from backworks.ffi.contract import ContractViolation
from backworks.isolation.admission import State
from backworks.reply import PluginResult, code_of

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
    """Who a plugin is.

    Attributes:
        id: What the host calls it: its name in the configuration, or else its own.
        name, version, description: What it says of itself.
        manifest: Its manifest, or ``None``.
        path: The file it was loaded from, or ``None`` for a Python object.
        isolation: ``"none"``, ``"thread"`` or ``"process"``.
        has_health_check: Whether it can be asked.
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
    """How a plugin is.

    Attributes:
        ok: Whether it can do its work.
        state: What it is doing.
        message: Its own words, or the reason why it is not well; may be empty.
        code: What it answered.
    """

    ok: bool
    state: str
    message: str = ""
    code: Code = Code.OK


class Plugin:
    """A running plugin. Made by :func:`backworks.load` and :class:`backworks.PluginManager`.

    Its methods may be called from any thread. It is closed with :meth:`close` or at the end of a ``with`` block; one
    that is dropped without is reported as a ``ResourceWarning`` and not shut down, because C is never called from a
    finalizer.
    """

    def __init__(self, info: PluginInfo, admission: Admission, timeout: float | None) -> None:
        self._info = info
        self._admission = admission
        self._timeout = timeout
        self._is_inline = info.isolation == "none"

    @property
    def id(self) -> str:
        """What the host calls it: its name in the configuration, or else its own name."""
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
        """One sentence about it; may be empty."""
        return self._info.description

    @property
    def manifest(self) -> Mapping[str, Any] | None:
        """What its library says of it, or ``None`` if it says nothing."""
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
        """Whether it can be asked how it is."""
        return self._info.has_health_check

    @property
    def timeout(self) -> float | None:
        """Seconds that a call may take that brings no timeout of its own; ``None`` is for ever."""
        return self._timeout

    @property
    def runner(self) -> Runner:
        """What makes its calls, for supervision."""
        return self._admission.runner

    @property
    def breaker(self) -> str | None:
        """What its circuit breaker does: ``"closed"``, ``"open"`` or ``"half-open"``; ``None`` if it has none."""
        position = self._admission.breaker
        return None if position is None else str(position)

    @property
    def state(self) -> str:
        """``"running"``, ``"closing"`` or ``"closed"``, or what is wrong with it.

        That is ``"quarantined"`` or ``"abandoned"`` in this process, ``"restarting"`` or ``"stopped"`` with workers.
        """
        return str(self._admission.state)

    @property
    def in_flight(self) -> int:
        """How many calls are in it now."""
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
        """Has the plugin answer one request.

        Args:
            endpoint: The endpoint, such as ``"/api/weather/{station}"``.
            method: The method, in upper case.
            data: The data: text, or any bytes.
            as_bytes: Whether to return the answer as it came, instead of as text.
            timeout: Seconds for this call; without it those that the plugin was loaded with, if any.
            traceparent, tracestate: The W3C Trace Context of the call.

        Returns:
            The answer, or ``None`` if the plugin says that the request is not its own.

        Raises:
            PluginError: The plugin answered with a code other than OK.
            PluginContractError: The answer breaks a rule of the ABI, or is not UTF-8 where text was asked for.
            PluginTimeout: It did not answer in time.
            PluginUnavailable: It takes no calls now.
            PluginStateError: It is closing or closed.
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
        """As :meth:`process_endpoint_data`, from an event loop.

        With ``isolation: none`` the call runs in the event loop's thread, which waits for it. A task that is cancelled
        stops waiting; the plugin's call runs on and its answer is dropped.
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
        """As :meth:`process_endpoint_data`, but returns the HTTP status, content type and headers with the answer."""
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
        """As :meth:`call`, from an event loop."""
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
        """As :meth:`call`, in the cheapest form: bytes where the plugin has set no HTTP field.

        Text that was encoded before may be given as bytes.
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
        """As :meth:`answer`, from an event loop."""
        if self._is_inline:
            return self._answer_inline(endpoint, method, data, timeout, traceparent, tracestate)
        if timeout is None:
            timeout = self._timeout
        return self._admission.answer_async(endpoint, method, data, timeout, traceparent, tracestate)

    def health(self, timeout: float | None = 1.0) -> PluginHealth:
        """Asks the plugin how it is; one that cannot be asked is well while it runs.

        Args:
            timeout: Seconds to wait for its answer (where its isolation can tell).
        """
        if self._admission.state is not State.RUNNING or not self._info.has_health_check:
            return PluginHealth(self._admission.state is State.RUNNING, self.state)
        try:
            reply = self._admission.health_check(timeout)
        except PluginError as error:
            return PluginHealth(False, self.state, error.message, error.code)
        except (BackworksError, ContractViolation) as error:
            return PluginHealth(False, self.state, str(error), Code.INTERNAL)
        message = (reply.data or b"").decode("utf-8", "replace")
        return PluginHealth(reply.code == Code.OK, self.state, message, code_of(reply.code))

    def close(self, timeout: float | None = None) -> bool:
        """Ends the plugin: lets no new call in, waits for those inside, and calls its shutdown. Again does nothing.

        Args:
            timeout: Seconds for all of it; ``None`` waits as long as it takes.

        Returns:
            Whether it is shut down. If not, a call or the shutdown itself did not return in time: the plugin is left as
            it is, which is logged.
        """
        done = self._admission.close(timeout)
        if not done and self._admission.state is State.ABANDONED:
            within = "the time it was given" if timeout is None else f"{timeout:g} s"  # None: an earlier close gave up
            logging.getLogger(f"backworks.plugin.{self.id}").error(
                "left behind: it did not end within %s (%d calls inside)", within, self.in_flight
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
        """Raises for an answer that is not UTF-8 where text was asked for."""
        try:
            data.decode()
        except UnicodeDecodeError as error:
            where = f"byte {error.start} of {len(data)}"
            raise PluginContractError(
                f"the answer is not UTF-8 ({where}): ask for it with as_bytes=True", plugin=self.id
            ) from None
        raise AssertionError  # only called for such an answer


def _result(answer: bytes | PluginResult | None) -> PluginResult | None:
    return PluginResult(answer) if isinstance(answer, bytes) else answer
