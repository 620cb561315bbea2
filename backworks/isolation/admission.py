"""The one door through which every call enters a plugin, wherever the plugin runs.

Theory of operation. A :class:`Gate` counts the calls that are inside. A call that meets nothing unusual passes the gate
alone: it is counted, and counted out when it returns. While something is unusual the gate is *attentive*, and each call
asks the :class:`Admission`, which lets it in or raises: the plugin is closing or closed, its circuit breaker has seen a
failure, or more calls are inside than may run and wait. Every answer that is not plain, and every exception, is settled
by the admission as well: it becomes the caller's result, and the breaker learns of it.

Closing stops the gate, waits until the last call has left, and only then ends the runner, which shuts the plugin down:
that is what the header promises. If the wait ends too early, the runner says what became of the plugin: worker
processes are killed, and a plugin in this process is *abandoned*, because a call may still run in it.

A runner adds states of its own while the plugin is open: *quarantined*, *restarting* and *stopped*.
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

#: Answers that say that something is wrong with the plugin, not with the request.
_FAILURES = frozenset((Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS))

#: Seconds after which a call that found the queue full may be tried again: the least that HTTP can say.
_QUEUE_RETRY = 1.0

#: What happened to the breaker -> what the log says.
_NEWS = {
    "too many failed": (logging.WARNING, "opens for {0.open:g} s: calls in a row that failed: {0.failures}"),
    "time is over": (logging.DEBUG, "is half-open: letting {0.probes} in to see"),
    "probe failed": (logging.INFO, "opens again: a call that was let in to see has failed"),
    "probes succeeded": (logging.INFO, "closes: calls succeed again"),
}


class State(StrEnum):
    """What a plugin is doing."""

    RUNNING = "running"
    CLOSING = "closing"
    CLOSED = "closed"
    ABANDONED = "abandoned"
    # While it runs, its runner may be in one of these instead.
    QUARANTINED = "quarantined"  # a call overran and has not returned
    RESTARTING = "restarting"  # no worker process is alive, but one will be soon
    STOPPED = "stopped"  # no worker process is started any more


class Ending(StrEnum):
    """What became of a plugin that a runner has ended."""

    PEACEFUL = "it was shut down"
    KILLED = "it had to be killed"
    LEFT_BEHIND = "it was left as it is"


#: (state, event) -> next state
TRANSITIONS = {
    (State.RUNNING, "close"): State.CLOSING,
    (State.CLOSING, "ended"): State.CLOSED,
    (State.CLOSING, "left behind"): State.ABANDONED,
}


def refusal(plugin: str, state: State) -> PluginUnavailable | PluginStateError:
    """Makes the exception of a call that is refused.

    Args:
        plugin: The plugin's id.
        state: What it was doing.
    """
    if state is State.QUARANTINED:
        return PluginUnavailable(
            "a call that overran its time has not returned yet, and nothing else runs until it does", plugin=plugin
        )
    return PluginStateError(f"{plugin}: called while it is {state}; load it again to use it", plugin=plugin)


class Gate(Protocol):
    """Counts the calls that are inside: a :class:`PythonGate` or its compiled twin. Thread-safe.

    Attributes:
        attentive: Whether each call has to ask.
        period: The circuit breaker's period, for calls that need not ask.
    """

    attentive: bool
    period: int

    @property
    def inside(self) -> int:
        """How many calls are inside."""
        ...

    def enter(self) -> bool:
        """Counts a call in. Returns whether it may go on without asking; if it is refused then, it leaves."""
        ...

    def leave(self) -> None:
        """Counts a call out."""
        ...

    def stop(self) -> None:
        """Makes the gate attentive for good."""
        ...

    def drain(self, timeout: float | None, /) -> bool:
        """Waits, after :meth:`stop`, until no call is inside. Returns whether that is so, which it may deny early."""
        ...


class PythonGate:
    """A :class:`Gate` where nothing is compiled.

    Args:
        most: How many calls may be inside without asking; ``None`` is any number.
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
    """The door of one plugin, and the runner behind it. Thread-safe.

    Args:
        plugin: The plugin's id.
        runner: What makes the calls.
        workers: How many calls the runner makes at a time, for messages.
        queue: How many more calls may wait for it; ``None`` is any number.
        breaker: When calls are refused because those before them have failed; ``None`` is never.

    Attributes:
        runner: What makes the calls.
        gate: What counts them.
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
        """What the plugin is doing."""
        return self.runner.state if self._state is State.RUNNING else self._state

    @property
    def in_flight(self) -> int:
        """How many calls are in the plugin, those that nobody waits for any more included."""
        return max(self.gate.inside, self.runner.in_flight)

    @property
    def breaker(self) -> Position | None:
        """The circuit breaker's position, or ``None`` if there is no breaker."""
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
            What the plugin answers: bytes where it sets no HTTP field, ``None`` where the request is not its own.

        Raises:
            PluginError: The plugin returned a code other than OK, or broke a rule of the ABI, or took too long.
            PluginUnavailable, PluginStateError: The call is refused.
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
        """As :meth:`answer`, from an event loop."""
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

    def health_check(self, timeout: float | None) -> Reply:
        """Asks the plugin how it is; the circuit breaker has no part in it."""
        check_timeout(timeout)
        self.gate.enter()
        try:
            self._check_open()
            return self.runner.health_check(timeout)
        finally:
            self.gate.leave()

    def close(self, timeout: float | None) -> bool:
        """Refuses new calls, waits for those inside, and ends the runner. Again does nothing, but waits.

        Args:
            timeout: Seconds for all of it, or ``None`` to wait as long as it takes.

        Returns:
            Whether the plugin was shut down: not killed, and not left behind.

        Raises:
            ValueError: The timeout is not a number of seconds.
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
        try:
            ending = self.runner.end(until, empty=self._drain(until))
        finally:
            with self._changed:
                self._ending = ending
                self._move("left behind" if ending is Ending.LEFT_BEHIND else "ended")
                self._changed.notify_all()
        return ending is Ending.PEACEFUL

    # What a call does that meets something unusual.

    def ask(self) -> int:
        """Decides about a call that the gate has counted.

        Returns:
            The circuit breaker's period, for :meth:`settle`.

        Raises:
            PluginUnavailable, PluginStateError: The call is refused, and has to leave the gate.
        """
        self._check_open()
        if self._most is not None and self.gate.inside > self._most:
            raise PluginUnavailable(
                f"its queue is full: {self._workers} calls run and {self._queue} wait",
                plugin=self._plugin,
                retry_after=_QUEUE_RETRY,
            )
        return 0 if self._breaker is None else self._ask_breaker(self._breaker)

    def settle(self, period: int, reply: Reply) -> bytes | PluginResult | None:
        """Makes the result of a reply, and has the circuit breaker learn of it; returns and raises as :meth:`answer`.

        Args:
            period: When the call was let in.
            reply: What came of it.
        """
        try:
            result = result_of(reply, self._plugin)
        except PluginError as error:
            self._judge(period, failed=_is_failure(error))
            raise
        self._judge(period, failed=False)  # any answer that the plugin gives on purpose shows that it works
        return result

    def fail(self, period: int, error: BaseException) -> None:
        """Has the circuit breaker learn of what a call has raised.

        Raises:
            PluginContractError: Instead of a ``ContractViolation``.
        """
        if _is_failure(error):
            self._judge(period, failed=True)
        elif self._breaker is not None:  # the call was refused, or given up by its caller
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
                "its circuit breaker is open, because too many calls in a row have failed"
                if after
                else "its circuit breaker is half-open, and lets no more calls in until it knows more",
                plugin=self._plugin,
                retry_after=after,
            )
        return period

    def _note(self, period: int, calm: bool) -> None:
        """Notes where the circuit breaker stands, under its lock."""
        self.gate.period = period
        self.gate.attentive = not calm

    def _tell(self, event: str) -> None:
        level, text = _NEWS[event]
        logging.getLogger(f"backworks.plugin.{self._plugin}").log(
            level, "its circuit breaker %s", text.format(self._settings)
        )

    def _drain(self, until: float | None) -> bool:
        """Waits for the calls inside; returns whether none is left."""
        while not self.gate.drain(left := remaining(until)):
            if left == 0.0:
                return False
        return True

    def _move(self, event: str) -> None:
        self._state = TRANSITIONS[self._state, event]


def _is_failure(error: BaseException) -> bool:
    """Returns whether an exception says that something is wrong with the plugin, not with the request."""
    return isinstance(error, (PluginTimeout, ContractViolation, PluginContractError)) or (
        isinstance(error, PluginError) and error.code in _FAILURES
    )
