"""``isolation: process``: calls run in worker processes, each of which holds one instance and takes one call at a time.

Here is what a call is; which worker it gets, and what becomes of that, is :mod:`backworks.isolation.slots`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, NoReturn

from backworks.errors import (
    BackworksError,
    Code,
    PluginContractError,
    PluginCrashed,
    PluginTimeout,
    PluginUnavailable,
)
from backworks.ffi.contract import ContractViolation, Reply
from backworks.isolation.asyncio_call import TaskCall
from backworks.isolation.channels.mailbox import native
from backworks.isolation.lifecycle import MAX_TIMEOUT
from backworks.isolation.process.codec import HEALTH, FrameError, Gone, Late
from backworks.isolation.process.exits import Exit
from backworks.isolation.process.worker import Ended, Worker
from backworks.isolation.slots import DEADLY, LAST_BREATH, Crew

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from backworks.isolation.lifecycle import State

__all__ = ["ProcessRunner"]

#: After these a channel cannot be used again.
_LOST = (Late, FrameError, Gone)


class ProcessRunner:
    """A :class:`backworks.isolation.runner.Runner` over worker processes.

    Args:
        crew: The workers, which were started.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._free = crew.free
        self._waiting = crew.waiting
        self._begun: set[TaskCall] = set()
        if (lane := native("lane")) is not None:  # the first lines of process(), and faster
            made = lane(self._free, self._waiting, self.process, self._fail, crew.look)
            self.process = made.process  # type: ignore[method-assign]

    @property
    def state(self) -> State:
        return self._crew.state

    @property
    def in_flight(self) -> int:
        return self._crew.in_flight

    @property
    def waiting(self) -> int:
        """How many calls wait for a free worker."""
        return len(self._waiting)

    @property
    def restarts(self) -> int:
        """How many workers were started after the first ones."""
        return self._crew.restarts

    @property
    def pids(self) -> tuple[int, ...]:
        """The process numbers of the workers."""
        return self._crew.pids

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        if self._waiting or not self._free or (timeout is not None and not 0 < timeout <= MAX_TIMEOUT):
            worker, timeout = self._crew.enter(timeout)
        else:
            try:
                worker = self._free.pop()
            except IndexError:
                worker, timeout = self._crew.enter(timeout)
        try:
            reply = worker.call(endpoint, method, data, timeout, traceparent, tracestate)
        except BaseException as error:  # noqa: BLE001  # it is raised again, as itself or in words
            self._fail(worker, error, endpoint, timeout)
        self._free.append(worker)
        if self._waiting or worker.dead:
            self._crew.look()
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
        if not self._free and self._begun:
            self._gather()
        asked = (endpoint, method, data, traceparent, tracestate)
        if self._waiting or not self._free or (timeout is not None and not 0 < timeout <= MAX_TIMEOUT):
            return await self._finish(TaskCall(self._crew, self._begun, asked, timeout), endpoint)
        try:
            worker = self._free.pop()
        except IndexError:
            return await self._finish(TaskCall(self._crew, self._begun, asked, timeout), endpoint)
        try:
            reply = worker.begin(endpoint, method, data, timeout, traceparent, tracestate)
        except BaseException as error:  # noqa: BLE001  # it is raised again, as itself or in words
            raise await self._failure_async(worker, error, endpoint, timeout) from None
        if reply is None:
            return await self._finish(TaskCall(self._crew, self._begun, asked, timeout, worker), endpoint)
        self._crew.give_back(worker)
        return reply

    def health_check(self, timeout: float | None) -> Reply:
        """Asks a worker that is free. If none is, they are all at work, which is an answer, too."""
        try:
            worker = self._free.pop()
        except IndexError:
            return Reply(Code.OK, None, 0, None, None)
        return self._check(worker, timeout)

    def check_workers(self, timeout: float | None) -> list[tuple[int, Reply | Exception]]:
        """Asks every worker that is free how it is.

        Args:
            timeout: Seconds that each of them may take.

        Returns:
            The process number of each, and what it answered or why it did not.
        """
        found: list[tuple[int, Reply | Exception]] = []
        for worker in list(self._free):
            try:
                self._free.remove(worker)
            except ValueError:  # it has got work meanwhile
                continue
            try:
                found.append((worker.pid, self._check(worker, timeout)))
            except (BackworksError, ContractViolation) as error:
                found.append((worker.pid, error))
        return found

    def replace(self, pid: int, why: str) -> None:
        """Ends a worker and starts another; see :meth:`backworks.isolation.slots.Crew.replace`."""
        self._crew.replace(pid, why)

    def close(self, timeout: float | None) -> bool:
        return self._crew.close(timeout)

    # What becomes of a call that was not answered.

    async def _finish(self, call: TaskCall, endpoint: str | bytes) -> Reply:
        """Waits for the reply to a call that waits for a worker or has begun."""
        try:
            return await call.future
        except BackworksError:  # it has not begun
            raise
        except Exception as error:  # it is raised again in words
            if call.worker is None:
                raise
            raise await self._failure_async(call.worker, error, endpoint, call.timeout) from None
        except BaseException:
            if (left := call.leave()) is not None:
                worker, found = left
                if found is None:
                    self._adopt(worker, call.until)
                else:
                    self._explain(worker, found, Ended(Exit(None, None), ()), endpoint, call.timeout)
            raise
        finally:
            call.end()

    def _gather(self) -> None:
        """Takes the replies that have come and that this event loop was not told of yet, to have the workers back."""
        loop = asyncio.get_running_loop()
        for call in tuple(self._begun):
            if call.loop is loop and call.is_ready:
                call.look()

    def _adopt(self, worker: Worker, until: float | None) -> None:
        """Has the supervisor's thread wait for a reply that nobody wants any more."""
        self._crew.supervisor.post(self._attend, worker, until)

    def _attend(self, worker: Worker, until: float | None) -> None:
        loop = self._crew.supervisor.loop
        channel = worker.channel
        timer: asyncio.TimerHandle | None = None
        over = False

        def end(found: Exception | None) -> None:
            nonlocal over
            over = True
            channel.unwatch()
            if timer is not None:
                timer.cancel()
            if isinstance(found, _LOST):
                self._explain(worker, found, Ended(Exit(None, None), ()), "a call that nobody waits for any more", None)
            elif channel.is_open:
                self._crew.retire(worker)
            else:
                self._crew.give_back(worker)

        def look() -> None:
            if not over:
                try:
                    reply = channel.advance()
                except Exception as error:  # noqa: BLE001  # it ends here
                    end(error)
                else:
                    if reply is not None:
                        end(None)

        def late() -> None:
            look()
            if not over:
                end(Late())

        channel.watch(loop, look)
        if until is not None:
            timer = loop.call_later(max(0.0, until - time.monotonic()), late)
        look()

    def _fail(self, worker: Worker, error: BaseException, endpoint: str | bytes, timeout: float | None) -> NoReturn:
        raise self._failure(worker, error, endpoint, timeout) from None

    def _failure(
        self, worker: Worker, error: BaseException, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        """Makes the exception of a call from what the channel has raised, and sees to the worker."""
        ended = Ended(Exit(None, None), ())
        if isinstance(error, Gone) and not self._crew.supervisor.is_current():
            for patience in (LAST_BREATH, DEADLY):
                with contextlib.suppress(TimeoutError):
                    ended = worker.exited.result(patience)
                    break
                worker.kill()
        return self._explain(worker, error, ended, endpoint, timeout)

    async def _failure_async(
        self, worker: Worker, error: BaseException, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        ended = Ended(Exit(None, None), ())
        if isinstance(error, Gone):
            try:
                for patience in (LAST_BREATH, DEADLY):
                    exited = asyncio.wrap_future(worker.exited)
                    if (await asyncio.wait((exited,), timeout=patience))[0]:
                        ended = exited.result()
                        break
                    worker.kill()
            except BaseException:  # nobody waits for the words any more
                self._explain(worker, error, ended, endpoint, timeout)
                raise
        return self._explain(worker, error, ended, endpoint, timeout)

    def _explain(
        self, worker: Worker, error: BaseException, ended: Ended, endpoint: str | bytes, timeout: float | None
    ) -> BaseException:
        if not isinstance(error, _LOST):
            if worker.channel.is_open:  # the caller was interrupted, and does not wait any more
                self._adopt(worker, None if timeout is None else time.monotonic() + timeout)
            else:  # the arguments are at fault, and were not sent, or the answer is
                self._crew.give_back(worker)
            return error
        where = endpoint if isinstance(endpoint, str) else bytes(endpoint).decode("utf-8", "replace")
        found: Exception = error
        why = worker.why
        if isinstance(error, Late):
            within = "" if timeout is None else f" within {timeout:g} s"
            text = f"no answer{within}; its worker process was killed"
            found = PluginTimeout(text, plugin=self._crew.plugin)
            self._crew.logger.warning("%s: %s", where, text)
        elif isinstance(error, FrameError):
            text = f"its worker process sent {error}, and was killed"
            found = PluginContractError(text, plugin=self._crew.plugin)
            self._crew.logger.warning("%s: %s", where, text)
        elif why is not None:
            found = PluginUnavailable(f"its worker process was ended during the call: {why}", plugin=self._crew.plugin)
        else:
            found = PluginCrashed(
                f"its worker process {ended.how} during the call",
                plugin=self._crew.plugin,
                endpoint=where,
                signal=ended.how.signal,
                exit_code=ended.how.code,
                stderr=ended.stderr,
            )
            self._crew.logger.warning("%s: its worker process %d %s during the call", where, worker.pid, ended.how)
        self._crew.retire(worker)
        return found

    def _check(self, worker: Worker, timeout: float | None) -> Reply:
        try:
            reply = worker.channel.control(HEALTH, b"", timeout)
        except BaseException as error:  # noqa: BLE001  # it is raised again, as itself or in words
            raise self._failure(worker, error, "health check", timeout) from None
        self._crew.give_back(worker)
        return reply
