"""``isolation: process``: calls run in worker processes, each of which holds one instance and takes one call at a time.

A call takes a slot, has the slot's worker make it, and gives the slot back. Which slot it gets is decided by
:mod:`backworks.isolation.slots`; what becomes of one whose call was not answered is decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
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

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.isolation.admission import Ending, State
    from backworks.isolation.slots import Slot

__all__ = ["ProcessRunner"]

#: After these a channel cannot be used again.
_LOST = (Late, FrameError, Gone)

#: How a worker ended that nobody could wait for.
_UNKNOWN = Ended(Exit(None, None), ())


class ProcessRunner:
    """A :class:`backworks.isolation.runner.Runner` over worker processes.

    Args:
        workers: The workers, which were started.

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
        """How many workers were started after the first ones."""
        return self.workers.restarts

    @property
    def pids(self) -> tuple[int, ...]:
        """The process numbers of the workers."""
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
            except BaseException as error:  # noqa: BLE001  # it is raised again, as itself or in words
                raise await self._failure_async(slot, error, endpoint, timeout) from None
            if reply is not None:
                self.free.give(slot)
                return reply
        asked = (endpoint, method, data, traceparent, tracestate)
        call = AsyncioCall(self.workers.slots, self._begun, asked, timeout, slot)
        try:
            return await call.future
        except BackworksError:  # it has not begun
            raise
        except Exception as error:  # it is raised again in words
            if call.slot is None:
                raise
            raise await self._failure_async(call.slot, error, endpoint, call.timeout) from None
        except BaseException:
            self._leave(call, endpoint)
            raise
        finally:
            call.end()

    def health_check(self, timeout: float | None) -> Reply:
        """Asks a worker that is free. If none is, they are all at work, which is an answer, too."""
        slot = self.free.take()
        return Reply(Code.OK, None, 0, None, None) if slot is None else self._check(slot, timeout)

    def check_workers(self, timeout: float | None) -> list[tuple[int, Reply | Exception]]:
        """Asks every worker that is free how it is.

        Args:
            timeout: Seconds that each of them may take.

        Returns:
            The process number of each, and what it answered or why it did not.
        """
        found: list[tuple[int, Reply | Exception]] = []
        for slot in self.workers.ready:
            if self.free.attentive or not self.free.remove(slot):  # it is at work, or a call waits for it
                continue
            try:
                found.append((slot.worker.pid, self._check(slot, timeout)))
            except (BackworksError, ContractViolation) as error:
                found.append((slot.worker.pid, error))
        return found

    def replace(self, pid: int, why: str) -> None:
        """Ends a worker and starts another; see :meth:`backworks.isolation.process.workerset.WorkerSet.replace`."""
        self.workers.replace(pid, why)

    def stop(self) -> None:
        self.workers.stop()

    def end(self, until: float | None, *, empty: bool) -> Ending:
        return self.workers.end(until)

    # What becomes of a call that was not answered.

    def failure(self, slot: Slot, error: BaseException, endpoint: str | bytes, timeout: float | None) -> BaseException:
        """Makes the exception of a call from what the channel has raised, and sees to the slot."""
        ended = _UNKNOWN
        worker = slot.worker
        if isinstance(error, Gone) and not self.workers.supervisor.is_current():
            for patience in (LAST_BREATH, DEADLY):
                with contextlib.suppress(TimeoutError):
                    ended = worker.exited.result(patience)
                    break
                worker.kill()
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
            except BaseException:  # no task waits for the words any more
                self._explain(slot, error, ended, endpoint, timeout)
                raise
        return self._explain(slot, error, ended, endpoint, timeout)

    def _leave(self, call: AsyncioCall, endpoint: str | bytes) -> None:
        """Sees to the slot of a task that was cancelled."""
        if (left := call.leave()) is not None:
            slot, error = left
            if error is None:
                self._abandon(slot, call.until)
            else:
                self._explain(slot, error, _UNKNOWN, endpoint, call.timeout)

    def _gather(self) -> None:
        """Takes the replies that have come and that this event loop was not told of yet, to have the slots back."""
        loop = asyncio.get_running_loop()
        for call in tuple(self._begun):
            if call.loop is loop and call.is_ready:
                call.look()

    def _abandon(self, slot: Slot, until: float | None) -> None:
        """Has the supervisor's thread wait for a reply that no caller wants any more."""

        def failed(slot: Slot, error: Exception) -> None:
            if isinstance(error, _LOST):
                self._explain(slot, error, _UNKNOWN, "a call that nobody waits for any more", None)
            else:
                self.workers.slots.give(slot)

        AbandonedCall(self.workers.slots, slot, until, failed).attend(self.workers.supervisor)

    def _explain(
        self, slot: Slot, error: BaseException, ended: Ended, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        worker, plugin, logger = slot.worker, self.workers.plugin, self.workers.logger
        if not isinstance(error, _LOST):
            if worker.channel.is_open:  # the caller was interrupted, and does not wait any more
                self._abandon(slot, None if timeout is None else time.monotonic() + timeout)
            else:  # the arguments are at fault, and were not sent, or the answer is
                self.free.give(slot)
            return error
        where = endpoint if isinstance(endpoint, str) else bytes(endpoint).decode("utf-8", "replace")
        found: Exception = error
        why = worker.why
        if isinstance(error, Late):
            within = "" if timeout is None else f" within {timeout:g} s"
            text = f"no answer{within}; its worker process was killed"
            found = PluginTimeout(text, plugin=plugin)
            logger.warning("%s: %s", where, text)
        elif isinstance(error, FrameError):
            text = f"its worker process sent {error}, and was killed"
            found = PluginContractError(text, plugin=plugin)
            logger.warning("%s: %s", where, text)
        elif why is not None:
            found = PluginUnavailable(f"its worker process was ended during the call: {why}", plugin=plugin)
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
        except BaseException as error:  # noqa: BLE001  # it is raised again, as itself or in words
            raise self.failure(slot, error, "health check", timeout) from None
        self.free.give(slot)
        return reply
