"""Admits every call to a plugin, whatever its isolation.

Theory of operation. A :class:`Gate` counts the calls in flight. In the normal case a call only passes the gate, which
counts it on entry and on return. Otherwise the gate is *attentive*, and each call asks the :class:`Admission`, which
admits it or raises: the plugin is closing or closed, its circuit breaker has seen a failure, or more calls are in
flight than may run and wait. The admission also settles every response that is not plain and every exception: it
converts them to the caller's result and reports them to the breaker.

Closing stops the gate, waits until the last call has left, and only then ends the runner, which shuts the plugin down;
the C header guarantees this order. If the wait times out, the runner determines the outcome: worker processes are
killed, and a plugin in this process is *abandoned*, because a call may still run in it.

While the plugin is open, its runner can be in further states: *quarantined* and *restarting*.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from backworks import ffi
from backworks.errors import Code, PluginContractError, PluginError, PluginStateError, PluginTimeout, PluginUnavailable
from backworks.ffi.contract import ContractViolation
from backworks.isolation.breaker import CircuitBreaker, Position
from backworks.isolation.timeouts import check_timeout, deadline, remaining
from backworks.reply import result_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.runner import Runner
    from backworks.reply import PluginResult
    from backworks.settings import Breaker

__all__ = ["TRANSITIONS", "Admission", "Ending", "Gate", "PythonGate", "State", "refusal"]

#: Codes that indicate a fault of the plugin, not of the request.
_FAILURES = frozenset((Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS))

#: How many seconds to wait before a retry if the queue is full: the minimum that HTTP can express.
_QUEUE_RETRY = 1.0

#: The log level and message for each event of the circuit breaker.
_NEWS = {
    "too many failed": (logging.WARNING, "opens for {0.open:g} s (consecutive failures: {0.failures})"),
    "time is over": (logging.DEBUG, "is half-open (trial calls: {0.probes})"),
    "probe failed": (logging.INFO, "opens again because a trial call failed"),
    "probes succeeded": (logging.INFO, "closes because all trial calls succeeded"),
}


class State(StrEnum):
    """The state of a plugin."""

    RUNNING = "running"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    # While the plugin is open, its runner can also be in one of these states.
    QUARANTINED = "quarantined"  # a call exceeded its timeout and has not returned
    RESTARTING = "restarting"  # no worker process runs, but one will start


class Ending(StrEnum):
    """How a runner has ended a plugin."""

    PEACEFUL = "shut down"
    KILLED = "killed"
    LEFT_BEHIND = "abandoned"


#: (state, event) -> next state
TRANSITIONS = {
    (State.RUNNING, "close"): State.CLOSING,
    (State.CLOSING, "ended"): State.CLOSED,
    (State.CLOSING, "left behind"): State.ABANDONED,
}


#: Why a quarantined plugin accepts no calls.
QUARANTINE = "it is quarantined until a call that exceeded its timeout returns"


def refusal(plugin: str, state: State) -> PluginUnavailable | PluginStateError:
    """Creates the exception for a rejected call.

    Args:
        plugin: The plugin's id.
        state: The plugin's state.
    """
    if state is State.QUARANTINED:
        return PluginUnavailable(QUARANTINE, plugin=plugin)
    return PluginStateError(f"{plugin}: called while it is {state}; load it again to use it", plugin=plugin)


class Gate(Protocol):
    """Counts the calls in flight: a :class:`PythonGate` or its compiled counterpart. Thread-safe.

    Attributes:
        attentive: Whether each call must ask the admission.
        period: The circuit breaker's period, for calls that need not ask.
    """

    attentive: bool
    period: int

    @property
    def inside(self) -> int:
        """The number of calls in flight."""
        ...

    def enter(self) -> bool:
        """Counts a call and returns whether it may proceed without asking; a call rejected later must leave."""
        ...

    def leave(self) -> None:
        """Ends the count of a call."""
        ...

    def stop(self) -> None:
        """Makes the gate attentive permanently."""
        ...

    def drain(self, timeout: float | None, /) -> bool:
        """Waits, after :meth:`stop`, until no call is in flight. Returns whether that is so; may return false early."""
        ...


class PythonGate:
    """A :class:`Gate` in Python.

    Args:
        most: How many calls may be in flight without asking; ``None`` means any number.
    """

    def __init__(self, most: int | None) -> None:
        self.attentive = False
        self.period = 0
        self._most = sys.maxsize if most is None else most
        self._stopped = False
        self._inside: deque[None] = deque()  # one item for each call: appending and popping take no lock
        self._changed = threading.Condition()

    @property
    def inside(self) -> int:
        return len(self._inside)

    def enter(self) -> bool:
        self._inside.append(None)
        return not (self.attentive or self._stopped) and len(self._inside) <= self._most

    def leave(self) -> None:
        self._inside.pop()
        if self._stopped and not self._inside:
            with self._changed:
                self._changed.notify_all()

    def stop(self) -> None:
        self._stopped = True

    def drain(self, timeout: float | None, /) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._inside, timeout)


def _new_gate(most: int | None) -> Gate:
    compiled = ffi.compiled()
    return PythonGate(most) if compiled is None else compiled.Gate(most)


class Admission:
    """Controls the calls to one plugin. Thread-safe.

    Args:
        plugin: The plugin's id.
        runner: Makes the calls.
        workers: How many calls the runner makes at the same time, for messages.
        queue: How many further calls may wait; ``None`` means any number.
        breaker: When to reject calls because previous ones failed; ``None`` means never.

    Attributes:
        runner: Makes the calls.
        gate: Counts the calls.
    """

    def __init__(
        self,
        plugin: str,
        runner: Runner,
        *,
        workers: int = 1,
        queue: int | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self.runner = runner
        self._most = None if queue is None else workers + queue
        self.gate = _new_gate(self._most)
        self._plugin = plugin
        self._workers = workers
        self._queue = queue
        self._settings = breaker
        self._breaker = None if breaker is None else CircuitBreaker(breaker, moved=self._tell, noted=self._note)
        self._state = State.RUNNING
        self._ending: Ending | None = None
        self._changed = threading.Condition(threading.Lock())
        self._process = runner.process
        self._process_async = runner.process_async

    @property
    def state(self) -> State:
        """The plugin's state."""
        return self.runner.state if self._state is State.RUNNING else self._state

    @property
    def in_flight(self) -> int:
        """The number of calls in flight, including abandoned ones."""
        return max(self.gate.inside, self.runner.in_flight)

    @property
    def breaker(self) -> Position | None:
        """The circuit breaker's position, or ``None`` without a breaker."""
        return None if self._breaker is None else self._breaker.position

    def answer(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> bytes | PluginResult | None:
        """Makes a call.

        Returns:
            The response: bytes if the plugin sets no HTTP fields, ``None`` if it does not handle the request.

        Raises:
            PluginError: The plugin returned a code other than OK, violated the ABI, or exceeded the timeout.
            PluginUnavailable, PluginStateError: The call is rejected.
        """
        gate = self.gate
        period = gate.period
        if not gate.enter():
            period = self._ask_and_leave()
        try:
            try:
                reply = self._process(endpoint, method, data, timeout, traceparent, tracestate)
            except BaseException as error:
                self.fail(period, error)
                raise
            code, answer, status, content_type, headers = reply
            if code or status or content_type or headers or gate.attentive:
                return self.settle(period, reply)
            return answer
        finally:
            gate.leave()

    async def answer_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> bytes | PluginResult | None:
        """Like :meth:`answer`, for use in an event loop."""
        gate = self.gate
        period = gate.period
        if not gate.enter():
            period = self._ask_and_leave()
        try:
            try:
                reply = await self._process_async(endpoint, method, data, timeout, traceparent, tracestate)
            except BaseException as error:
                self.fail(period, error)
                raise
            code, answer, status, content_type, headers = reply
            if code or status or content_type or headers or gate.attentive:
                return self.settle(period, reply)
            return answer
        finally:
            gate.leave()

    @property
    def trouble(self) -> str:
        """Why the plugin accepts no calls, for operators; empty while it runs."""
        state = self.state
        return "" if state is State.RUNNING else self.runner.trouble or f"it is {state}"

    def drop(self) -> None:
        """Closes the plugin in the background if that is possible, because nothing refers to it any more."""
        self.runner.drop(self)

    def flush_log(self, timeout: float | None) -> bool:
        """Waits until the records that the plugin has logged so far have reached ``logging``."""
        check_timeout(timeout)
        return self.runner.flush_log(timeout)

    def health_check(self, timeout: float | None) -> Reply:
        """Runs the plugin's health check, regardless of the circuit breaker."""
        check_timeout(timeout)
        self.gate.enter()
        try:
            self._check_open()
            return self.runner.health_check(timeout)
        finally:
            self.gate.leave()

    def close(self, timeout: float | None) -> bool:
        """Rejects new calls, waits for those in flight, and ends the runner. A repeated call only waits.

        Args:
            timeout: The total time in seconds, or ``None`` for no limit.

        Returns:
            Whether the plugin was shut down, neither killed nor abandoned.

        Raises:
            ValueError: The timeout is not valid.
            PluginStateError: The runner cannot be ended from this thread.
        """
        until = deadline(timeout)
        if self.runner.is_inherited:
            return True
        with self._changed:
            if self._state is not State.RUNNING:
                self._changed.wait_for(lambda: self._state is not State.CLOSING, remaining(until))
                return self._ending is Ending.PEACEFUL
            self.runner.stop()
            self._move("close")
            self.gate.stop()
        ending = Ending.LEFT_BEHIND
        empty = False
        try:
            try:
                empty = self._drain(until)
            except BaseException:  # a signal handler has raised: end what can be ended now
                until = deadline(0)
                raise
            finally:
                ending = self.runner.end(until, empty=empty)
        finally:
            with self._changed:
                self._ending = ending
                self._move("left behind" if ending is Ending.LEFT_BEHIND else "ended")
                self._changed.notify_all()
        return ending is Ending.PEACEFUL

    # The path of calls outside the normal case.

    def ask(self) -> int:
        """Admits or rejects a call that the gate has counted.

        Returns:
            The circuit breaker's period, for :meth:`settle`.

        Raises:
            PluginUnavailable, PluginStateError: The call is rejected and must leave the gate.
        """
        self._check_open()
        if self._most is not None and self.gate.inside > self._most:
            raise PluginUnavailable(
                f"its queue is full (calls running: {self._workers}, waiting: {self._queue})",
                plugin=self._plugin,
                retry_after=_QUEUE_RETRY,
            )
        return 0 if self._breaker is None else self._ask_breaker(self._breaker)

    def settle(self, period: int, reply: Reply) -> bytes | PluginResult | None:
        """Converts a reply to a result and reports it to the circuit breaker; returns and raises like :meth:`answer`.

        Args:
            period: The breaker's period in which the call was admitted.
            reply: The reply.
        """
        try:
            result = result_of(reply, self._plugin)
        except PluginError as error:
            self._judge(period, failed=_is_failure(error))
            raise
        self._judge(period, failed=False)  # any deliberate response shows that the plugin works
        return result

    def fail(self, period: int, error: BaseException) -> None:
        """Reports the exception of a call to the circuit breaker.

        Raises:
            PluginContractError: In place of a ``ContractViolation``.
        """
        if _is_failure(error):
            self._judge(period, failed=True)
        elif self._breaker is not None:  # the call was rejected, or abandoned by its caller
            self._breaker.withdraw(period)
        if isinstance(error, ContractViolation):
            raise PluginContractError(str(error), plugin=self._plugin) from None

    def _judge(self, period: int, *, failed: bool) -> None:
        if self._breaker is not None:
            (self._breaker.fail if failed else self._breaker.succeed)(period)

    def _ask_and_leave(self) -> int:
        try:
            return self.ask()
        except BaseException:
            self.gate.leave()
            raise

    def _check_open(self) -> None:
        if self._state is not State.RUNNING:
            raise refusal(self._plugin, self._state)

    def _ask_breaker(self, breaker: CircuitBreaker) -> int:
        period = breaker.enter()
        if period is None:
            after = breaker.retry_after
            raise PluginUnavailable(
                "its circuit breaker is open after too many consecutive failures"
                if after
                else "its circuit breaker is half-open and waits for the results of trial calls",
                plugin=self._plugin,
                retry_after=after,
            )
        return period

    def _note(self, period: int, calm: bool) -> None:
        """Records the state of the circuit breaker, under its lock."""
        self.gate.period = period
        self.gate.attentive = not calm

    def _tell(self, event: str) -> None:
        level, text = _NEWS[event]
        logging.getLogger(f"backworks.plugin.{self._plugin}").log(
            level, "circuit breaker %s", text.format(self._settings)
        )

    def _drain(self, until: float | None) -> bool:
        """Waits for the calls in flight; returns whether none is left."""
        while not self.gate.drain(left := remaining(until)):
            if left == 0.0:
                return False
        return True

    def _move(self, event: str) -> None:
        self._state = TRANSITIONS[self._state, event]


def _is_failure(error: BaseException) -> bool:
    """Returns whether an exception indicates a fault of the plugin, not of the request."""
    return isinstance(error, (PluginTimeout, ContractViolation, PluginContractError)) or (
        isinstance(error, PluginError) and error.code in _FAILURES
    )
