"""What stands around every call of a plugin, whatever its isolation: a bound on the calls inside, and the breaker.

The deadline of a call and the turn that it waits for are the business of the isolation, which alone can keep them.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from backworks.errors import Code, PluginContractError, PluginError, PluginTimeout, PluginUnavailable
from backworks.ffi.contract import ContractViolation
from backworks.isolation.breaker import CircuitBreaker, Position
from backworks.reply import result_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.ffi.contract import Reply
    from backworks.isolation.lifecycle import State
    from backworks.isolation.runner import Runner
    from backworks.settings import Settings

__all__ = ["GuardedRunner", "guarded"]

#: Answers that say that something is wrong with the plugin, not with the request.
_FAILURES = frozenset((Code.INTERNAL, Code.UNKNOWN, Code.DATA_LOSS))
#: Seconds after which a call that found the queue full may be tried again: the least that HTTP can say.
_QUEUE_RETRY = 1.0

#: What happened to the breaker -> what the log says.
_NEWS = {
    "too many failed": (
        logging.WARNING,
        "opens for {0.open:g} s: calls in a row that failed: {0.failures}",
    ),
    "time is over": (logging.DEBUG, "is half-open: letting {0.probes} in to see"),
    "probe failed": (logging.INFO, "opens again: a call that was let in to see has failed"),
    "probes succeeded": (logging.INFO, "closes: calls succeed again"),
}


def guarded(plugin: str, runner: Runner, policy: Settings, *, workers: int | None = None) -> Runner:
    """Puts a guard around a runner, if the policy asks for one.

    Args:
        plugin: The plugin's id.
        runner: What makes the calls.
        policy: What it is guarded by.
        workers: How many calls the runner makes at a time, where it lets any number of others wait.
    """
    bounded = workers is not None and policy.queue is not None
    return GuardedRunner(plugin, runner, policy, workers=workers) if bounded or policy.breaker else runner


class GuardedRunner:
    """A :class:`backworks.isolation.runner.Runner` around another.

    Args:
        plugin: The plugin's id.
        runner: What makes the calls.
        policy: What it is guarded by.
        workers: As for :func:`guarded`.

    Attributes:
        inner: What makes the calls.
    """

    def __init__(self, plugin: str, runner: Runner, policy: Settings, *, workers: int | None = None) -> None:
        self.inner = runner
        self._plugin = plugin
        self._logger = logging.getLogger(f"backworks.plugin.{plugin}")
        self._settings = policy.breaker
        self._breaker = None if policy.breaker is None else CircuitBreaker(policy.breaker, moved=self._tell)
        self._workers = workers
        self._queue = policy.queue
        self._most = None if workers is None or policy.queue is None else workers + policy.queue

    @property
    def state(self) -> State:
        return self.inner.state

    @property
    def in_flight(self) -> int:
        return self.inner.in_flight

    @property
    def breaker(self) -> Position | None:
        """The breaker's position, or ``None`` if there is no breaker."""
        return None if self._breaker is None else self._breaker.position

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        period = self._enter()
        try:
            reply = self.inner.process(endpoint, method, data, timeout, traceparent, tracestate)
        except BaseException as error:
            self._failed(period, error)
            raise
        self._answered(period, reply)
        return reply

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        period = self._enter()
        try:
            reply = await self.inner.process_async(endpoint, method, data, timeout, traceparent, tracestate)
        except BaseException as error:
            self._failed(period, error)
            raise
        self._answered(period, reply)
        return reply

    def health_check(self, timeout: float | None) -> Reply:
        return self.inner.health_check(timeout)

    def close(self, timeout: float | None) -> bool:
        return self.inner.close(timeout)

    def _enter(self) -> int:
        if self._most is not None and self.inner.in_flight >= self._most:
            raise PluginUnavailable(
                f"its queue is full: {self._workers} calls run and {self._queue} wait",
                plugin=self._plugin,
                retry_after=_QUEUE_RETRY,
            )
        if self._breaker is None:
            return 0
        period = self._breaker.enter()
        if period is None:
            after = self._breaker.retry_after
            raise PluginUnavailable(
                "its circuit breaker is open, because too many calls in a row have failed"
                if after
                else "its circuit breaker is half-open, and lets no more calls in until it knows more",
                plugin=self._plugin,
                retry_after=after,
            )
        return period

    def _answered(self, period: int, reply: Reply) -> None:
        if self._breaker is None:
            return
        if _is_failure(reply, self._plugin):
            self._breaker.fail(period)
        else:
            self._breaker.succeed(period)

    def _failed(self, period: int, error: BaseException) -> None:
        if self._breaker is None:
            return
        if isinstance(error, (PluginTimeout, ContractViolation)) or (
            isinstance(error, PluginError) and error.code in _FAILURES
        ):
            self._breaker.fail(period)
        else:  # refused, or nobody waits for it any more
            self._breaker.withdraw(period)

    def _tell(self, event: str) -> None:
        level, text = _NEWS[event]
        self._logger.log(level, "its circuit breaker %s", text.format(self._settings))


def _is_failure(reply: Reply, plugin: str) -> bool:
    """Tells whether an answer says that something is wrong with the plugin, not with the request."""
    if not (reply.code or reply.http_status or reply.content_type or reply.headers):
        return False
    try:
        result_of(reply, plugin)
    except PluginContractError:
        return True
    except PluginError as error:
        return error.code in _FAILURES
    return False
