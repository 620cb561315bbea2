"""Starts, restarts and shuts down the worker processes of one plugin."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING
from weakref import WeakSet

from backworks.errors import BackworksError, PluginStateError, PluginTimeout, PluginUnavailable
from backworks.ffi.contract import ContractViolation
from backworks.isolation.admission import Ending, State, refusal
from backworks.isolation.process import supervisor as supervision
from backworks.isolation.process.codec import SHUTDOWN, FrameError, Gone
from backworks.isolation.process.restart import HEALTHY, Backoff, HostShortage
from backworks.isolation.process.worker import Worker
from backworks.isolation.slots import Slots, new_slot
from backworks.isolation.timeouts import remaining
from backworks.reply import code_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from backworks.isolation.process.codec import Ready
    from backworks.isolation.process.worker import Job
    from backworks.isolation.slots import Slot
    from backworks.settings import Settings

__all__ = ["DEADLY", "LAST_BREATH", "WorkerSet"]

#: What the host lacks if a worker process cannot start with this error: no fault of the plugin, and it passes.
_SHORTAGES = {
    errno.EMFILE: "file descriptors (see ulimit -n)",
    errno.ENFILE: "file descriptors (see fs.file-max)",
    errno.EAGAIN: "processes (see ulimit -u and the limit of the container)",
    errno.ENOMEM: "memory",
}

#: How many seconds a call waits if no worker runs; if the next start is later, the call is rejected.
_SOON = 1.0
#: How many seconds a process whose pipe has closed may take to end before it is killed.
LAST_BREATH = 0.2
#: How many seconds to wait for the end of a killed process, which takes longer if it is blocked in the kernel.
DEADLY = 5.0


class WorkerSet:
    """The workers of one plugin. Thread-safe.

    Attributes:
        plugin: The plugin's id.
        logger: The logger of events of the workers.
        supervisor: The supervisor, whose thread watches the workers.
        slots: The slots of the started workers.
        restarts: How many workers have been started as replacements.

    Args:
        plugin: The plugin's id.
        job: The job of each worker.
        settings: The plugin's settings.
        backoff: Determines when to start a replacement.
    """

    def __init__(self, plugin: str, job: Job, settings: Settings, backoff: Backoff | None = None) -> None:
        self.restarts = 0
        self.plugin = plugin
        self.logger = logging.getLogger(f"backworks.plugin.{plugin}")
        self._job = job
        self._settings = settings
        self._backoff = backoff or Backoff(settings.restart, settings.workers)
        self._lock = threading.RLock()  # reentrant, because a finaliser can run at any point
        self.slots = Slots(plugin, self._lock, self._admit, self._retire)
        self._ready: set[Worker] = set()
        self._starting: set[Worker] = set()
        self._closing = False
        self._inherited = False
        self._last: str | None = None  # why no worker runs
        self._failures = 0  # failed starts since the last successful one
        self._is_short = False  # whether the last start failed because of a shortage of the host
        self._pending: list[float] = []  # the times of scheduled starts
        self.supervisor = supervision.acquire()
        _sets.add(self)

    def start(self) -> Ready:
        """Starts one worker and, if that succeeds, the others.

        Raises:
            PluginLoadError, PluginError: The plugin does not start.
            PluginUnavailable: The system cannot start a worker.
        """
        try:
            if self.supervisor.is_current():
                raise PluginStateError(
                    f"{self.plugin}: cannot be loaded by a log handler in the thread that starts worker processes; "
                    "load it from another thread",
                    plugin=self.plugin,
                )
            first = self._launch()
            ready = first.started.result()
            others = [self._launch() for _ in range(self._settings.workers - 1)]
            for worker in others:
                worker.started.result()
        except BaseException:
            self._closing = True
            self._clean_up(())
            raise
        for worker in (first, *others):
            self._enlist(worker)
        return ready

    def rename(self, plugin: str) -> None:
        """Sets another id of the plugin, before its first call."""
        self.plugin = self.slots.plugin = plugin
        self.logger = logging.getLogger(f"backworks.plugin.{plugin}")
        for worker in self._ready:
            worker.rename(plugin)

    @property
    def state(self) -> State:
        """The state while the plugin is open."""
        return State.RUNNING if self._ready else State.RESTARTING

    @property
    def trouble(self) -> str | None:
        """Why no worker runs, and when the next one starts; ``None`` while one runs."""
        with self._lock:
            if self._ready or self._last is None:
                return None
            text = f"no worker process runs: {self._last}"
            if self._failures > 1:
                text += f" (failed starts in a row: {self._failures})"
            if self._pending and not self._starting:
                return f"{text}; the next start is in {self._next_start():.1f} s"
            return f"{text}; one is starting"

    @property
    def in_flight(self) -> int:
        """The number of held slots and waiting calls."""
        return max(0, len(self._ready) - len(self.slots.free)) + len(self.slots.waiting)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers."""
        with self._lock:
            return tuple(worker.pid for worker in self._ready)

    @property
    def ready(self) -> tuple[Worker, ...]:
        """The started workers."""
        with self._lock:
            return tuple(self._ready)

    @property
    def is_inherited(self) -> bool:
        """Whether the workers belong to the parent process from which this one was forked."""
        return self._inherited

    def replace(self, pid: int, why: str) -> None:
        """Ends a worker and starts a replacement.

        Args:
            pid: Its process id; nothing happens if no worker has it.
            why: The reason, for the log.
        """
        with self._lock:
            worker = next((worker for worker in self._ready if worker.pid == pid), None)
            if worker is None or worker.dead:
                return
            worker.kill(why)
            self.slots.doom(worker)
        self.logger.warning("its worker process %d is replaced: %s", pid, why)

    def flush_log(self, timeout: float | None) -> bool:
        """Waits until what the workers have written to stderr and their logs so far has been logged.

        Args:
            timeout: How many seconds to wait at most, or ``None``.

        Returns:
            Whether it has been logged.
        """
        if self.supervisor.is_current():
            self._read_output()
            return True
        done: Future[None] = Future()

        def flush() -> None:
            self._read_output()
            done.set_result(None)

        self.supervisor.post(flush)
        return bool(wait([done], timeout).done)

    def stop(self) -> None:
        """Prevents further starts, and ends the workers that are still starting.

        Raises:
            PluginStateError: The calling thread is the supervisor's, which must end the workers.
        """
        if self.supervisor.is_current():
            raise PluginStateError(
                f"{self.plugin}: cannot be closed by a log handler in the thread that ends worker processes; close it "
                "from another thread",
                plugin=self.plugin,
            )
        with self._lock:
            self._closing = True
            for worker in self._starting:
                worker.kill()
            self._refuse_if_hopeless()

    def end(self, until: float | None) -> Ending:
        """Makes every worker shut its plugin down, after :meth:`stop`; kills those that do not end in time.

        Args:
            until: The deadline by ``time.monotonic()``, or ``None``.
        """
        with self._lock:
            self.slots.close()
        told: set[Slot] = set()
        calm = False
        try:
            self._tell(told, until)
            calm = self._await(told, until)
        finally:
            calm = self._clean_up(told) and calm
        return Ending.PEACEFUL if calm else Ending.KILLED

    # Calls that wait.

    def _admit(self, timeout: float | None, until: float | None) -> None:
        """Raises if a call may not wait for a slot; under the lock."""
        if self._inherited:
            raise PluginStateError(
                f"{self.plugin}: called in a forked process, but the worker processes belong to its parent; load the "
                "plugin after the fork",
                plugin=self.plugin,
            )
        if timeout is not None and not timeout > 0:
            raise PluginTimeout("the timeout expired before the call began", plugin=self.plugin)
        if not self._ready:
            self._expect_worker(until)
        if self.supervisor.is_current() and not self.slots.free:
            raise PluginStateError(
                f"{self.plugin}: no worker is free, and a log handler in the thread that starts worker processes "
                "cannot wait for one; call it from another thread",
                plugin=self.plugin,
            )

    def _expect_worker(self, until: float | None) -> None:
        """Raises unless a worker will start soon."""
        if self._closing:
            raise refusal(self.plugin, State.CLOSING)
        if self._pending and not self._starting:
            left = self._next_start()
            if left > _SOON or (until is not None and time.monotonic() + left >= until):
                raise PluginUnavailable(self.trouble or "", plugin=self.plugin, retry_after=left)

    def _next_start(self) -> float:
        """Returns the number of seconds until the next scheduled start; under the lock."""
        return max(0.0, min(self._pending) - time.monotonic())

    def _refuse_if_hopeless(self) -> None:
        """Rejects waiting calls if no worker will start soon; under the lock."""
        if not self._ready:
            try:
                self._expect_worker(None)
            except (PluginUnavailable, PluginStateError) as error:
                self.slots.refuse(error)

    # Starting and replacing workers.

    def _launch(self) -> Worker:
        try:
            worker = Worker(self.plugin, self._job, self._settings)
        except OSError as error:
            text = f"cannot start a worker process: {error.strerror or error}"
            if error.errno in _SHORTAGES:
                raise HostShortage(f"{text}: the host lacks {_SHORTAGES[error.errno]}", plugin=self.plugin) from error
            raise PluginUnavailable(text, plugin=self.plugin) from error
        with self._lock:
            self._starting.add(worker)
            if self._closing:
                worker.kill()
        return worker

    def _enlist(self, worker: Worker) -> None:
        with self._lock:
            if worker not in self._starting:  # it has already been retired
                return
            self._starting.remove(worker)
            self._ready.add(worker)
        self._offer(worker)
        worker.exited.add_done_callback(lambda _: self._died(worker))

    def _offer(self, worker: Worker) -> None:
        """Gives the calls a slot of a worker that has none."""
        self.slots.give(new_slot(worker, worker.channel.call, self._lost))

    def _lost(self, worker: Worker) -> None:
        """Handles a held slot that has become garbage: an exception of a signal handler has ended its holder."""
        if worker in getattr(self, "_ready", ()):  # the garbage collector may have cleared the attributes
            self.supervisor.post(self._recover, worker)

    def _retire(self, worker: Worker, replied: bool) -> None:
        """Ends and replaces a worker whose slot the caller holds; under the lock."""
        if worker in self._ready:  # otherwise it has already been retired
            self._ready.remove(worker)
            worker.release(lambda: self._replace(worker, replied))
            if self._closing:
                self._refuse_if_hopeless()

    def _retire_unstarted(self, worker: Worker) -> None:
        """Ends a worker that has not started, once, although its failed start and the shutdown may both request it."""
        with self._lock:
            if worker in self._starting:
                self._starting.remove(worker)
                worker.release(lambda: None)

    # Methods that run in the supervisor's thread.

    def _read_output(self) -> None:
        for worker in self.ready:
            worker.read_output()

    def _recover(self, worker: Worker) -> None:
        with self._lock:
            if worker in self._ready:
                self._offer(worker)

    def _died(self, worker: Worker) -> None:
        """Handles the end of a worker; if its slot is held, the holder reports it."""
        with self._lock:
            was_free = worker in self._ready and self.slots.doom(worker)  # or else its holder has retired it
        if was_free and worker.why is None:
            self.logger.warning("its worker process %d %s between calls", worker.pid, worker.exited.result().how)

    def _replace(self, worker: Worker, replied: bool) -> None:
        with self._lock:
            if self._closing:
                return
            self._last = f"the last one {worker.exited.result().how}"
            worked = replied or time.monotonic() - worker.born >= HEALTHY
            self._schedule(self._backoff.worked() if worked else self._backoff.failed())

    def _schedule(self, seconds: float) -> None:
        when = time.monotonic() + seconds
        self._pending.append(when)
        self.supervisor.loop.call_later(seconds, self._restart, when)
        self._refuse_if_hopeless()

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
            self._failures = 0
            self._is_short = False
            self.logger.info("worker process %d started", worker.pid)
            self._enlist(worker)
        else:
            self._retire_unstarted(worker)
            self._not_started(error)

    def _not_started(self, error: BaseException) -> None:
        with self._lock:
            if self._closing:
                return
            is_short = isinstance(error, HostShortage)
            seconds = self._backoff.not_started(error)
            self._failures += not is_short
            report = not (is_short and self._is_short)  # one line for a shortage that lasts
            self._is_short = is_short
            self._last = str(error)
            self._schedule(seconds)
        # Without the lock, here and elsewhere: a log handler may take locks of its own and call the plugin.
        if report:
            self.logger.warning("no new worker process: %s; the next start is in %.1f s", error, seconds)

    # The end.

    def _tell(self, told: set[Slot], until: float | None) -> None:
        """Takes each slot when it is free, adds it to ``told``, and sends SHUTDOWN to its worker."""
        while True:
            with self._lock:
                slot = self.slots.free.pop()
                if slot is None:
                    left = remaining(until)
                    if len(told) == len(self._ready) or left == 0.0:
                        return
                    self.slots.given_back.wait(left)
                    continue
                told.add(slot)
            slot.worker.leaving = True
            slot.worker.channel.begin_control(SHUTDOWN, b"")

    def _await(self, told: Iterable[Slot], until: float | None) -> bool:
        """Waits until the workers that received SHUTDOWN have ended, and logs how. Returns whether none was killed."""
        workers = [slot.worker for slot in told]
        wait([worker.exited for worker in workers], remaining(until))
        late = [worker for worker in workers if not worker.exited.done()]
        for worker in late:
            self.logger.warning("its worker process %d did not shut down in time and is killed", worker.pid)
            worker.kill("the plugin was closed")
        wait([worker.exited for worker in workers], DEADLY)
        for worker in workers:
            if not worker.exited.done() or worker.why is not None:
                continue
            try:
                reply = worker.channel.advance()
            except (Gone, FrameError, ContractViolation):
                self.logger.warning("its worker process %d %s during shutdown", worker.pid, worker.exited.result().how)
            else:
                if reply is not None and reply.code:
                    self.logger.warning("shutdown returned %s", code_of(reply.code).name)
        return not late

    def _clean_up(self, told: Iterable[Slot]) -> bool:
        """Ends all remaining workers and waits until they are gone. Returns whether no call was in flight."""
        with self._lock:
            busy = list(self._ready.difference(slot.worker for slot in told))
            starting = list(self._starting)
            for worker in (*busy, *starting, *(slot.worker for slot in told)):
                worker.kill("the plugin was closed")
            self.slots.refuse(refusal(self.plugin, State.CLOSED))
            for slot in told:
                self.slots.retire(slot)
            for worker in starting:
                self._retire_unstarted(worker)
        if busy:
            self.logger.warning("closed, killing %d worker processes with calls in flight", len(busy))
        wait([*(slot.worker.gone for slot in told), *(worker.gone for worker in starting)], DEADLY)
        wait([worker.gone for worker in busy], LAST_BREATH)
        supervision.release(self.supervisor)
        return not busy

    def _forget(self) -> None:
        """Releases the workers without affecting them; for a forked child, because they belong to its parent."""
        self._inherited = self._closing = True
        self._lock = threading.RLock()
        for worker in (*self._ready, *self._starting):
            worker.forget()
        self._ready.clear()
        self._starting.clear()
        self.slots.free.clear()
        self.slots = Slots(self.plugin, self._lock, self._admit, self._retire)


_sets: WeakSet[WorkerSet] = WeakSet()


def _in_child() -> None:
    for workers in list(_sets):
        workers._forget()  # noqa: SLF001  # defined in this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
