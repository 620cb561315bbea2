"""The workers of one plugin: who is free, who waits for one, who is started next, and the end.

Theory of operation. A worker that is ready is either in the list of those that are free, or held by exactly one: a
call, a check, who closes the plugin, or the supervisor's thread, which takes over from callers who were interrupted.
Taking it from the list and putting it back are one step each, so that a call takes no lock unless it has to wait. Who
puts a worker back looks after that whether somebody waits, and who waits looks, after joining the queue, whether a
worker is free; so one of the two sees the other. In the same way the supervisor marks a dead worker before it looks in
the list, and who puts a worker back looks at the mark after that. Who closes the plugin waits in the same queue as
calls do, behind those that came before, and takes every worker.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING
from weakref import WeakSet

from backworks.errors import BackworksError, PluginStateError, PluginTimeout, PluginUnavailable
from backworks.ffi.contract import ContractViolation
from backworks.isolation.lifecycle import State, deadline, refusal
from backworks.isolation.process import supervisor as supervision
from backworks.isolation.process.codec import SHUTDOWN, FrameError, Gone
from backworks.isolation.process.restart import Backoff
from backworks.isolation.process.worker import Worker
from backworks.isolation.waiters import Closer, ThreadWaiter
from backworks.reply import code_of

if TYPE_CHECKING:
    from backworks.isolation.process.codec import Ready
    from backworks.isolation.process.worker import Job
    from backworks.isolation.waiters import Waiter
    from backworks.settings import Settings

__all__ = ["DEADLY", "LAST_BREATH", "Crew"]

#: Seconds that a call waits for a plugin of which no worker is alive; if the next one comes later, the call is refused.
_SOON = 1.0
#: Seconds until a process whose pipe has ended must have ended itself; it is killed then.
LAST_BREATH = 0.2
#: Seconds that a killed process may take to end. It takes longer if it is stuck in the system itself.
DEADLY = 5.0
#: What a caller is told who finds the queue full.
_RETRY_AFTER = 1.0


class Crew:
    """The workers of one plugin. Thread-safe.

    Attributes:
        plugin: The plugin's id.
        logger: What tells of them.
        supervisor: Whose thread looks after them.
        free: Those that take the next calls, the last one first: its pages are in the caches.
        waiting: Who waits for one.
        restarts: How many were started after the first ones.

    Args:
        plugin: The plugin's id.
        job: What each worker is started for.
        workers: How many there are.
        options: Their settings.
        backoff: Says when the next one is started after one has ended.
    """

    def __init__(self, plugin: str, job: Job, workers: int, options: Settings, backoff: Backoff | None = None) -> None:
        self.restarts = 0
        self.plugin = plugin
        self._job = job
        self._size = workers
        self._options = options
        self._backoff = backoff or Backoff(options.restart)
        self.logger = logging.getLogger(f"backworks.plugin.{plugin}")
        self.free: list[Worker] = []
        self.waiting: deque[Waiter] = deque()
        # Held by a thread that looks after the rest; re-entered if a finaliser runs in the middle of it.
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._ready: set[Worker] = set()
        self._starting: set[Worker] = set()
        self._closing = False
        self._closed = False
        self._forked = False
        self._calm = True  # whether it has ended in peace
        self._stopped: BaseException | None = None  # why no more workers are started
        self._pending: list[float] = []  # when others will be started
        self.supervisor = supervision.acquire()
        _crews.add(self)

    def start(self) -> Ready:
        """Starts the workers: one, and if that is well, the others.

        Raises:
            PluginLoadError, PluginError: The plugin does not start.
            PluginUnavailable: The system starts no worker.
        """
        try:
            if self.supervisor.is_current():
                raise PluginStateError(
                    f"{self.plugin}: loaded by a log handler, in the thread that would have to start its workers; load "
                    "it from another thread",
                    plugin=self.plugin,
                )
            first = self._launch()
            ready = first.started.result()
            others = [self._launch() for _ in range(self._size - 1)]
            for worker in others:
                worker.started.result()
        except BaseException:
            self._closing = True
            self._clean_up(Closer(self._changed))
            raise
        for worker in (first, *others):
            self._enlist(worker)
        return ready

    def rename(self, plugin: str) -> None:
        """Gives the plugin another id, before it is used."""
        self.plugin = plugin
        self.logger = logging.getLogger(f"backworks.plugin.{plugin}")
        for worker in self._ready:
            worker.rename(plugin)

    @property
    def state(self) -> State:
        """The state at this moment."""
        if self._closed:
            return State.CLOSED
        if self._closing:
            return State.CLOSING
        if self._ready:
            return State.RUNNING
        return State.STOPPED if self._stopped is not None else State.RESTARTING

    @property
    def in_flight(self) -> int:
        """How many workers are held by somebody."""
        return max(0, len(self._ready) - len(self.free))

    @property
    def pids(self) -> tuple[int, ...]:
        """The process numbers of the workers."""
        with self._lock:
            return tuple(worker.pid for worker in self._ready)

    def replace(self, pid: int, why: str) -> None:
        """Ends a worker and starts another.

        Args:
            pid: Its process number; if there is none of that number any more, nothing happens.
            why: The reason, for the log.
        """
        with self._lock:
            found = [worker for worker in self._ready if worker.pid == pid]
        for worker in found:
            self.logger.warning("its worker process %d is replaced: %s", pid, why)
            worker.kill(why)

    def close(self, timeout: float | None) -> bool:
        """Takes every worker as it becomes free, has it shut down, and kills those that do not end in time.

        Args:
            timeout: Seconds for all of it, or ``None``.

        Returns:
            Whether none had to be killed.
        """
        if self._forked:
            return True
        if self.supervisor.is_current():
            raise PluginStateError(
                f"{self.plugin}: closed by a log handler, which runs in the thread that has to end its workers; close "
                "it from another thread",
                plugin=self.plugin,
            )
        until = deadline(timeout)
        with self._lock:
            first = not self._closing
            self._closing = True
            if not first:
                return self._await_closed(until)
            for worker in self._starting:
                worker.kill()
        closer = Closer(self._changed)
        try:
            self._end(self._collect(closer, until), until)
        finally:
            self._clean_up(closer)
        return self._calm

    # Workers for those who want one, where it is not just popped off the list.

    def enter(self, timeout: float | None) -> tuple[Worker, float | None]:
        """Waits for a free worker; returns it with the time that is left."""
        until = deadline(timeout)
        waiter = ThreadWaiter()
        self.join(waiter, timeout, until)
        try:
            waiter.wait(timeout)
        except BaseException:
            self.abandon(waiter)
            raise
        return self._leave(waiter, timeout, until)

    def join(self, waiter: Waiter, timeout: float | None, until: float | None) -> None:
        """Puts one who waits into the queue, and wakes it at once if a worker is free.

        Args:
            waiter: Who waits.
            timeout: The time that it has, in seconds, or ``None``.
            until: When that is over.

        Raises:
            PluginUnavailable, PluginStateError, PluginTimeout: It may not wait.
        """
        with self._lock:
            self._admit(timeout, until)
            self.waiting.append(waiter)
            self._dispatch()

    def abandon(self, waiter: Waiter) -> None:
        """Takes one who does not wait any more out of the queue, or back what it got meanwhile."""
        with self._lock, contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
        if waiter.worker is not None:
            worker, waiter.worker = waiter.worker, None
            self.give_back(worker)

    def nobody_was_free(self, timeout: float | None) -> PluginTimeout:
        """Returns the exception for who has waited in vain."""
        within = "in time" if timeout is None else f"within {timeout:g} s"
        return PluginTimeout(f"no worker process was free {within}", plugin=self.plugin)

    def _admit(self, timeout: float | None, until: float | None) -> None:
        """Says why one may not wait; under the lock."""
        if self._forked:
            raise PluginStateError(
                f"{self.plugin}: called in a process that was forked off after it was loaded, and whose workers are "
                "not its own; load it after the fork",
                plugin=self.plugin,
            )
        if self._closing:
            raise refusal(self.plugin, self.state)
        if timeout is not None and not timeout > 0:
            raise PluginTimeout("the time was over before the call began", plugin=self.plugin)
        if not self._ready:
            self._expect_worker(until)
        if self.supervisor.is_current() and not self.free:
            raise PluginStateError(
                f"{self.plugin}: called by a log handler while no worker is free, in the thread that would have to "
                "start one; call it from another thread",
                plugin=self.plugin,
            )
        if len(self.waiting) >= self._options.queue and not (self.free and not self.waiting):
            raise PluginUnavailable(
                f"all of its {self._size} worker processes are busy, and {len(self.waiting)} calls wait already",
                plugin=self.plugin,
                retry_after=_RETRY_AFTER,
            )

    def _expect_worker(self, until: float | None) -> None:
        """Raises unless a worker is there soon."""
        if self._stopped is not None:
            raise PluginUnavailable(
                f"it was stopped after {self._options.restart.give_up_after} failed starts in a row, the last with: "
                f"{self._stopped}",
                plugin=self.plugin,
            )
        if self._pending and not self._starting:
            now = time.monotonic()
            left = max(0.0, min(self._pending) - now)
            if left > _SOON or (until is not None and now + left >= until):
                raise PluginUnavailable(
                    f"its worker process has ended, and the next one is started in {left:.1f} s",
                    plugin=self.plugin,
                    retry_after=left,
                )

    def _leave(self, waiter: Waiter, timeout: float | None, until: float | None) -> tuple[Worker, float | None]:
        """Takes what one has waited for."""
        with self._lock, contextlib.suppress(ValueError):
            self.waiting.remove(waiter)
        if waiter.error is not None:
            raise waiter.error
        left = None if until is None else until - time.monotonic()
        if waiter.worker is not None and (left is None or left > 0):
            return waiter.worker, left
        if waiter.worker is not None:
            self.give_back(waiter.worker)
        raise self.nobody_was_free(timeout)

    def give_back(self, worker: Worker) -> None:
        """Puts a worker back that can take the next call."""
        self.free.append(worker)
        if self.waiting or worker.dead:
            self.look()

    def look(self) -> None:
        """Gives free workers to those who wait, and takes dead ones out."""
        with self._lock:
            for worker in list(self.free):
                if worker.dead:
                    with contextlib.suppress(ValueError):  # somebody else has it
                        self.free.remove(worker)
                        self.retire(worker)
            self._dispatch()

    def _dispatch(self) -> None:
        """Gives free workers to those who wait; under the lock."""
        while self.waiting:
            try:
                worker = self.free.pop()
            except IndexError:
                return
            if worker.dead:
                self.retire(worker)
                continue
            waiter = self.waiting[0]
            if not isinstance(waiter, Closer):
                self.waiting.popleft()
            waiter.worker = worker
            try:
                waiter.wake()
            except RuntimeError:  # its event loop is closed, and nobody will ever look
                waiter.worker = None
                self.free.append(worker)

    def _refuse(self, error: Exception) -> None:
        """Lets all who wait for a worker wait no more; under the lock."""
        for waiter in list(self.waiting):
            if not isinstance(waiter, Closer):
                self.waiting.remove(waiter)
                waiter.error = error
                with contextlib.suppress(RuntimeError):
                    waiter.wake()

    # Starting workers, and starting others when they have ended.

    def _launch(self) -> Worker:
        try:
            worker = Worker(self.plugin, self._job, self._options)
        except OSError as error:
            raise PluginUnavailable(f"no worker process can be started: {error}", plugin=self.plugin) from error
        with self._lock:
            self._starting.add(worker)
            if self._closing:
                worker.kill()
        return worker

    def _enlist(self, worker: Worker) -> None:
        with self._lock:
            self._starting.discard(worker)
            self._ready.add(worker)
        self.free.append(worker)
        worker.exited.add_done_callback(lambda _: self._died(worker))
        self.look()

    def retire(self, worker: Worker) -> None:
        """Ends a worker that the caller holds; another takes its place. Does nothing if it was retired before.

        A worker that has not started can be retired from two sides: by its failed start, and by the shutdown.
        """
        with self._lock:
            if worker in self._ready:
                self._ready.remove(worker)
                worker.release(lambda: self._replace(worker))
            elif worker in self._starting:
                self._starting.remove(worker)
                worker.release(lambda: None)
            self._changed.notify_all()

    # The rest runs in the supervisor's thread.

    def _died(self, worker: Worker) -> None:
        """Notes that a worker has ended; if somebody holds it, that one will notice."""
        try:
            self.free.remove(worker)
        except ValueError:
            return
        if worker.why is None:
            self.logger.warning("its worker process %d %s between calls", worker.pid, worker.exited.result().how)
        self.retire(worker)

    def _replace(self, worker: Worker) -> None:
        with self._lock:
            if not self._closing and self._stopped is None:
                self._schedule(self._backoff.died(worker.born))

    def _schedule(self, seconds: float) -> None:
        when = time.monotonic() + seconds
        self._pending.append(when)
        self.supervisor.loop.call_later(seconds, self._restart, when)
        self._refuse_if_hopeless()

    def _refuse_if_hopeless(self) -> None:
        """Lets nobody wait for a worker that does not come soon; under the lock."""
        if not self._ready:
            try:
                self._expect_worker(None)
            except PluginUnavailable as error:
                self._refuse(error)

    def _restart(self, when: float) -> None:
        with self._lock:
            self._pending.remove(when)
            if self._closing:
                return
        try:
            worker = self._launch()
        except BackworksError as error:
            self._not_started(error)
            return
        self.restarts += 1
        worker.started.add_done_callback(lambda started: self._restarted(worker, started))

    def _restarted(self, worker: Worker, started: Future[Ready]) -> None:
        error = started.exception()
        if error is None:
            self._backoff.started()
            self.logger.info("worker process %d was started", worker.pid)
            self._enlist(worker)
        else:
            self.retire(worker)
            self._not_started(error)

    def _not_started(self, error: BaseException) -> None:
        with self._lock:
            if self._closing:
                return
            seconds = self._backoff.failed()
            if seconds is not None:
                self.logger.warning("a new worker process did not start: %s", error)
                self._schedule(seconds)
                return
            self._stopped = error
            self.logger.error("stopped after %d failed starts in a row: %s", self._options.restart.give_up_after, error)
            self._refuse_if_hopeless()

    # The end.

    def _collect(self, closer: Closer, until: float | None) -> set[Worker]:
        """Takes every worker as soon as it is free, and tells it to shut down; returns them."""
        told: set[Worker] = set()
        while True:
            with self._lock:
                if closer not in self.waiting:
                    self.waiting.append(closer)
                self._dispatch()
                new = closer.held - told
                if not new:
                    left = None if until is None else until - time.monotonic()
                    if not self._ready - told or (left is not None and left <= 0):
                        return told
                    self._changed.wait(left)
                    continue
            for worker in new:
                worker.leaving = True
                worker.channel.begin_control(SHUTDOWN, b"")
                told.add(worker)

    def _end(self, told: set[Worker], until: float | None) -> None:
        """Waits until those that were told to shut down have ended, and says how."""
        left = None if until is None else max(0.0, until - time.monotonic())
        wait([worker.exited for worker in told], left)
        for worker in told:
            if not worker.exited.done():
                self._calm = False
                self.logger.warning("its worker process %d has not shut down in time, and is killed", worker.pid)
                worker.kill("the plugin was closed")
        wait([worker.exited for worker in told], DEADLY)
        for worker in told:
            if not worker.exited.done() or worker.why is not None:
                continue
            try:
                reply = worker.channel.advance()
            except (Gone, FrameError, ContractViolation):
                self.logger.warning("its worker process %d %s in its shutdown", worker.pid, worker.exited.result().how)
            else:
                if reply is not None and reply.code:
                    self.logger.warning("its shutdown returned %s", code_of(reply.code).name)

    def _clean_up(self, closer: Closer) -> None:
        """Ends what is left, whatever happened, and waits until it is gone."""
        with self._lock:
            busy = self._ready - closer.held
            theirs = closer.held | self._starting
            for worker in busy | theirs:
                worker.kill("the plugin was closed")
            if busy:
                self._calm = False
                self.logger.warning("closed with %d calls inside, whose worker processes were killed", len(busy))
            self._refuse(refusal(self.plugin, State.CLOSED))
            for worker in theirs:
                self.retire(worker)
        wait([worker.gone for worker in theirs], DEADLY)
        wait([worker.gone for worker in busy], LAST_BREATH)
        with self._lock:
            self._closed = True
            self.waiting.clear()
            self._changed.notify_all()
        supervision.release(self.supervisor)

    def _await_closed(self, until: float | None) -> bool:
        while not self._closed:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._changed.wait(left)
        return self._calm

    def _forget(self) -> None:
        """Leaves the workers to the process that started them; in a child that was forked off."""
        self._forked = self._closing = self._closed = True
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self.free.clear()
        self.waiting.clear()
        for worker in self._ready | self._starting:
            worker.forget()


_crews: WeakSet[Crew] = WeakSet()


def _in_child() -> None:
    for crew in list(_crews):
        crew._forget()  # noqa: SLF001  # it is this module's own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
