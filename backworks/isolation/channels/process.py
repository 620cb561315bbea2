"""``isolation: process``: calls run in worker processes, each with one instance and one call at a time.

A call takes a slot, runs in the slot's worker, and gives the slot back. :mod:`backworks.isolation.slots` assigns the
slots; this module handles the slots of calls that fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

from backworks.errors import (
    BackworksError,
    Code,
    PluginContractError,
    PluginCrashed,
    PluginTimeout,
    PluginUnavailable,
)
from backworks.ffi.contract import ContractViolation, Reply
from backworks.isolation.abandoned import AbandonedCall
from backworks.isolation.asyncio_call import AsyncioCall
from backworks.isolation.process.codec import HEALTH, FrameError, Gone, Late
from backworks.isolation.process.exits import Exit
from backworks.isolation.process.worker import Ended
from backworks.isolation.process.workerset import DEADLY, LAST_BREATH, WorkerSet
from backworks.isolation.timeouts import MAX_TIMEOUT
from backworks.printable import printable

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.isolation.admission import Admission, Ending, State
    from backworks.isolation.slots import Slot

__all__ = ["ProcessRunner"]

#: Exceptions after which a channel is unusable.
_LOST = (Late, FrameError, Gone)

#: How many seconds a plugin that was dropped may take to shut down.
_PATIENCE = 5.0

#: The end of a worker that could not be waited for.
_UNKNOWN = Ended(Exit(None, None), ())


class ProcessRunner:
    """A :class:`backworks.isolation.runner.Runner` over worker processes.

    Args:
        workers: The started workers.

    Attributes:
        workers: The workers.
        free: The list of free slots.
    """

    def __init__(self, workers: WorkerSet) -> None:
        self.workers = workers
        self.free = workers.slots.free
        self._begun: set[AsyncioCall] = set()

    @property
    def state(self) -> State:
        return self.workers.state

    @property
    def trouble(self) -> str | None:
        return self.workers.trouble

    @property
    def in_flight(self) -> int:
        return self.workers.in_flight

    @property
    def is_inherited(self) -> bool:
        return self.workers.is_inherited

    @property
    def waiting(self) -> int:
        """How many calls wait for a free worker."""
        return len(self.workers.slots.waiting)

    @property
    def restarts(self) -> int:
        """How many workers have been started as replacements."""
        return self.workers.restarts

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        return self.workers.pids

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        slot: Slot | None = None
        try:
            if timeout is None or 0 < timeout <= MAX_TIMEOUT:
                slot = self.free.take()
            if slot is None:
                self._reclaim()
                slot, timeout = self.workers.slots.wait(timeout)
            reply = slot.call(endpoint, method, data, timeout, traceparent, tracestate)
        except BaseException as error:
            if slot is None:
                raise
            raise self.failure(slot, error, endpoint, timeout) from None
        self.free.give(slot)
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
        if self._begun and not self.free:
            self._gather()
        slot = self.free.take() if timeout is None or 0 < timeout <= MAX_TIMEOUT else None
        if slot is not None:
            try:
                reply = slot.worker.begin(endpoint, method, data, timeout, traceparent, tracestate)
            except BaseException as error:  # noqa: BLE001  # raised again, unchanged or as a described error
                raise await self._failure_async(slot, error, endpoint, timeout) from None
            if reply is not None:
                self.free.give(slot)
                return reply
        asked = (endpoint, method, data, traceparent, tracestate)
        call = AsyncioCall(self.workers.slots, self._begun, asked, timeout, slot)
        try:
            return await call.future
        except BackworksError:  # the call has not begun
            raise
        except Exception as error:  # raised again as a described error
            if call.slot is None:
                raise
            raise await self._failure_async(call.slot, error, endpoint, call.timeout) from None
        except BaseException:
            self._leave(call, endpoint)
            raise
        finally:
            call.end()

    def health_check(self, timeout: float | None) -> Reply:
        """Runs the health check in a free worker. If none is free, all are busy, which counts as healthy."""
        slot = self.free.take()
        return Reply(Code.OK, None, 0, None, None) if slot is None else self._check(slot, timeout)

    def check_workers(self, timeout: float | None) -> list[tuple[int, Reply | Exception]]:
        """Runs the health check in every free worker.

        Args:
            timeout: The timeout of each check in seconds.

        Returns:
            The process id of each worker, and its reply or exception.
        """
        found: list[tuple[int, Reply | Exception]] = []
        for worker in self.workers.ready:
            slot = None if self.free.attentive else self.free.remove(worker)
            if slot is None:  # the worker is busy, or a call waits for it
                continue
            try:
                found.append((worker.pid, self._check(slot, timeout)))
            except (BackworksError, ContractViolation) as error:
                found.append((worker.pid, error))
        return found

    def replace(self, pid: int, why: str) -> None:
        """Replaces a worker; see :meth:`backworks.isolation.process.workerset.WorkerSet.replace`."""
        self.workers.replace(pid, why)

    def flush_log(self, timeout: float | None) -> bool:
        return self.workers.flush_log(timeout)

    def drop(self, admission: Admission) -> None:
        if not self.is_inherited:
            self.workers.supervisor.post(_close_in_background, admission)

    def stop(self) -> None:
        self._reclaim()
        self.workers.stop()

    def end(self, until: float | None, *, empty: bool) -> Ending:
        return self.workers.end(until)

    # Calls that fail.

    def failure(self, slot: Slot, error: BaseException, endpoint: str | bytes, timeout: float | None) -> BaseException:
        """Creates the exception of a call from the exception of its channel, and gives back or retires the slot."""
        ended = _UNKNOWN
        worker = slot.worker
        if isinstance(error, Gone) and not self.workers.supervisor.is_current():
            try:
                for patience in (LAST_BREATH, DEADLY):
                    with contextlib.suppress(TimeoutError):
                        ended = worker.exited.result(patience)
                        break
                    worker.kill()
            except BaseException:  # the handler of a signal has raised
                self._explain(slot, error, ended, endpoint, timeout)
                raise
        return self._explain(slot, error, ended, endpoint, timeout)

    async def _failure_async(
        self, slot: Slot, error: BaseException, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        ended = _UNKNOWN
        worker = slot.worker
        if isinstance(error, Gone):
            try:
                for patience in (LAST_BREATH, DEADLY):
                    exited = asyncio.wrap_future(worker.exited)
                    if (await asyncio.wait((exited,), timeout=patience))[0]:
                        ended = exited.result()
                        break
                    worker.kill()
            except BaseException:  # the task has been cancelled and does not need the description
                self._explain(slot, error, ended, endpoint, timeout)
                raise
        return self._explain(slot, error, ended, endpoint, timeout)

    def _leave(self, call: AsyncioCall, endpoint: str | bytes) -> None:
        """Handles the slot of a cancelled task."""
        if (left := call.leave()) is not None:
            slot, error = left
            if error is None:
                self._abandon(slot, call.until)
            else:
                self._explain(slot, error, _UNKNOWN, endpoint, call.timeout)

    def _gather(self) -> None:
        """Reads replies that have arrived but not reached this event loop yet, to free their slots."""
        loop = asyncio.get_running_loop()
        for call in tuple(self._begun):
            if call.loop is loop and call.is_ready:
                call.look()
        self._reclaim()

    def _reclaim(self) -> None:
        """Takes over the slots of calls whose event loops were closed while they waited for their replies."""
        for call in tuple(self._begun):
            if call.loop.is_closed() and (slot := call.take_slot()) is not None:
                self._abandon(slot, call.until)

    def _abandon(self, slot: Slot, until: float | None) -> None:
        """Lets the supervisor's thread wait for the reply to an abandoned call."""

        def failed(slot: Slot, error: Exception) -> None:
            if isinstance(error, _LOST):
                self._explain(slot, error, _UNKNOWN, "an abandoned call", None)
            else:
                self.workers.slots.give(slot)

        AbandonedCall(self.workers.slots, slot, until, failed).attend(self.workers.supervisor)

    def _explain(
        self, slot: Slot, error: BaseException, ended: Ended, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        worker, plugin, logger = slot.worker, self.workers.plugin, self.workers.logger
        if not isinstance(error, _LOST):
            if worker.channel.is_open:  # the caller was interrupted and has stopped waiting
                self._abandon(slot, None if timeout is None else time.monotonic() + timeout)
            else:  # the arguments could not be sent, or the response is invalid
                self.free.give(slot)
            return error
        where = endpoint if isinstance(endpoint, str) else bytes(endpoint).decode("utf-8", "replace")
        where = printable(where)
        found: Exception = error
        why = worker.why
        if isinstance(error, Late):
            within = "" if timeout is None else f" within {timeout:g} s"
            text = f"no answer{within}; its worker process was killed"
            found = PluginTimeout(text, plugin=plugin)
            logger.warning("%s: %s", where, text)
        elif isinstance(error, FrameError):
            text = f"its worker process sent {error} and was killed"
            found = PluginContractError(text, plugin=plugin)
            logger.warning("%s: %s", where, text)
        elif why is not None:
            found = PluginUnavailable(f"its worker process was stopped during the call: {why}", plugin=plugin)
        else:
            found = PluginCrashed(
                f"its worker process {ended.how} during the call",
                plugin=plugin,
                endpoint=where,
                signal=ended.how.signal,
                exit_code=ended.how.code,
                stderr=ended.stderr,
            )
            logger.warning("%s: its worker process %d %s during the call", where, worker.pid, ended.how)
        self.workers.slots.retire(slot)
        return found

    def _check(self, slot: Slot, timeout: float | None) -> Reply:
        try:
            reply = slot.worker.channel.control(HEALTH, b"", timeout)
        except BaseException as error:  # noqa: BLE001  # raised again, unchanged or as a described error
            raise self.failure(slot, error, "health check", timeout) from None
        self.free.give(slot)
        return reply


def _close_in_background(admission: Admission) -> None:
    """Starts a thread that closes a plugin: the supervisor's must not wait, because it ends the worker processes."""
    threading.Thread(target=admission.close, args=(_PATIENCE,), name="backworks-close", daemon=True).start()
