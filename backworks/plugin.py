"""One running plugin: strings in and out, whatever it is made of and wherever it runs."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, overload

from backworks.answers import PluginResult, code_of, result_of
from backworks.errors import BackworksError, Code, PluginContractError, PluginError
from backworks.ffi.contract import ContractViolation, Engine
from backworks.lifecycle import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from typing_extensions import Buffer

    from backworks.isolation.runner import Job, Runner

__all__ = ["Plugin", "PluginHealth", "PluginInfo"]


@dataclass(frozen=True)
class PluginInfo:
    """Who a plugin is.

    Attributes:
        id: What the host calls it: its name in the configuration, or else its own.
        name, version, description: What it says of itself.
        manifest: Its manifest, or ``None``.
        path: The file it was loaded from, or ``None`` for a Python object.
        isolation: ``"none"`` or ``"thread"``.
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

    def __init__(self, info: PluginInfo, engine: Engine, runner: Runner, timeout: float | None) -> None:
        self._info = info
        self._engine = engine
        self._runner = runner
        self._timeout = timeout

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
        """Where it runs: ``"none"`` or ``"thread"``."""
        return self._info.isolation

    @property
    def state(self) -> str:
        """``"running"``, ``"quarantined"``, ``"closing"``, ``"closed"`` or ``"abandoned"``."""
        return str(self._runner.state)

    @property
    def in_flight(self) -> int:
        """How many calls are in it now."""
        return self._runner.in_flight

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
        job = self._job(endpoint, method, data, traceparent, tracestate)
        return self._text(self._run(job, timeout), as_bytes)

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
        job = self._job(endpoint, method, data, traceparent, tracestate)
        return self._text(await self._run_async(job, timeout), as_bytes)

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
        return self._run(self._job(endpoint, method, data, traceparent, tracestate), timeout)

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
        return await self._run_async(self._job(endpoint, method, data, traceparent, tracestate), timeout)

    def health(self, timeout: float | None = 1.0) -> PluginHealth:
        """Asks the plugin how it is; one that cannot be asked is well while it runs.

        Args:
            timeout: Seconds to wait for its answer (where its isolation can tell).
        """
        if self._runner.state is not State.RUNNING or not self._info.has_health_check:
            return PluginHealth(self._runner.state is State.RUNNING, self.state)
        try:
            reply = self._runner.run(lambda _time_left: self._engine.health_check(), timeout)
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
        done = self._runner.close(timeout)
        if not done and self._runner.state is State.ABANDONED:
            logging.getLogger(f"backworks.plugin.{self.id}").error(
                "left behind: it did not end within %g s (%d calls inside)", timeout, self.in_flight
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
        runner = getattr(self, "_runner", None)
        if runner is not None and runner.state in (State.RUNNING, State.QUARANTINED):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def _job(
        self,
        endpoint: str,
        method: str,
        data: str | Buffer,
        traceparent: str | None,
        tracestate: str | None,
    ) -> Job:
        process = self._engine.process
        where, how = endpoint.encode(), method.encode()
        # By way of memoryview, because bytes(5) would be five zero bytes.
        what = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        parent = traceparent.encode("latin-1") if traceparent is not None else None
        state = tracestate.encode("latin-1") if tracestate is not None else None
        return lambda time_left: process(where, how, what, time_left, parent, state)

    def _run(self, job: Job, timeout: float | None) -> PluginResult | None:
        try:
            reply = self._runner.run(job, self._timeout if timeout is None else timeout)
        except ContractViolation as violation:
            raise PluginContractError(str(violation), plugin=self.id) from None
        return result_of(reply, self.id)

    async def _run_async(self, job: Job, timeout: float | None) -> PluginResult | None:
        try:
            reply = await self._runner.run_async(job, self._timeout if timeout is None else timeout)
        except ContractViolation as violation:
            raise PluginContractError(str(violation), plugin=self.id) from None
        return result_of(reply, self.id)

    def _text(self, result: PluginResult | None, as_bytes: bool) -> str | bytes | None:
        if result is None:
            return None
        if as_bytes:
            return result.data
        try:
            return result.data.decode()
        except UnicodeDecodeError as error:
            raise PluginContractError(
                f"the answer is not UTF-8 (byte {error.start} of {len(result.data)}): ask for it with as_bytes=True",
                plugin=self.id,
            ) from None
