"""``isolation: thread``: calls run in threads of the plugin's own.

A call that overruns is given up by its caller, but runs on, since nothing can end a thread; until it returns the
instance takes no other call.

Two runners do so. An instance of the compiled binding has native threads, which never hold the interpreter lock:
``native/fastpath/threadpool.c``. Every other engine, and a Python object above all, has threads of Python's.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast
from weakref import WeakKeyDictionary, ref

from backworks.errors import PluginStateError, PluginTimeout
from backworks.ffi.contract import Engine, Reply
from backworks.isolation.lifecycle import Lifecycle, State, Ticket, deadline, refusal, remaining
from backworks.isolation.runner import Job, JobRunner, called_by_itself, nanoseconds
from backworks.isolation.threadpool import NoThreadLeft, ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from typing_extensions import Buffer

    from backworks.ffi._native import Pool, Waker
    from backworks.isolation.runner import Runner

__all__ = ["NativeThreadRunner", "ThreadRunner", "thread_runner"]


class _PoolEngine(Engine, Protocol):
    """An instance of the binding ``native``."""

    def pool(self, workers: int, problem: Callable[[str, float | None], Exception], /) -> Pool: ...


def thread_runner(plugin: str, engine: Engine, shutdown: Callable[[], object], *, workers: int) -> Runner:
    """Makes the runner that suits the engine.

    Args:
        plugin: The plugin's id, for messages.
        engine: What makes the calls.
        shutdown: Ends the instance; raises nothing.
        workers: How many calls may run at the same time; 1 for a plugin that is not thread-safe.
    """
    if hasattr(engine, "pool"):
        pool = cast("_PoolEngine", engine).pool(workers, partial(_problem, plugin))
        return NativeThreadRunner(plugin, pool, shutdown)
    return ThreadRunner(plugin, engine, shutdown, workers=workers)


class ThreadRunner(JobRunner):
    """A :class:`backworks.isolation.runner.Runner` with threads of Python's.

    Args:
        plugin: The plugin's id, for messages.
        engine: What makes the calls.
        shutdown: Ends the instance; raises nothing.
        workers: How many calls may run at the same time; 1 for a plugin that is not thread-safe.
    """

    def __init__(self, plugin: str, engine: Engine, shutdown: Callable[[], object], *, workers: int) -> None:
        super().__init__(engine)
        self._plugin = plugin
        self._lifecycle = Lifecycle(plugin)
        self._shutdown = shutdown
        self._pool = ThreadPool(workers, f"backworks-{plugin}")

    @property
    def state(self) -> State:
        return self._lifecycle.state

    @property
    def in_flight(self) -> int:
        return self._lifecycle.in_flight

    def run(self, job: Job, timeout: float | None) -> Reply:
        future, ticket = self._start(job, timeout)
        try:
            return future.result(timeout)
        except TimeoutError:
            if future.done():  # the job's own exception, or it made it in the last moment
                return future.result()
            raise self._give_up(future, ticket, timeout) from None

    async def run_async(self, job: Job, timeout: float | None) -> Reply:
        future, ticket = self._start(job, timeout)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_retrieve)
        # wait() leaves the call alone if the waiting task is cancelled: it runs on, and its reply is dropped.
        await asyncio.wait((waiting,), timeout=timeout)
        if future.done():
            return future.result()
        raise self._give_up(future, ticket, timeout)

    def close(self, timeout: float | None) -> bool:
        until = deadline(timeout)
        if self._lifecycle.close(timeout):
            done = False
            try:
                done = _end(self._pool, self._shutdown, until)
            finally:
                self._lifecycle.closed() if done else self._lifecycle.abandon()
        return self._lifecycle.state is State.CLOSED

    def _start(self, job: Job, timeout: float | None) -> tuple[Future[Reply], Ticket]:
        until = deadline(timeout)
        ticket = self._lifecycle.enter()

        def work() -> Reply:
            try:
                left = remaining(until)
                if left == 0.0:
                    raise _problem(self._plugin, "queued", timeout)
                return job(nanoseconds(left))
            finally:
                self._lifecycle.leave(ticket)

        try:
            return self._pool.submit(work), ticket
        except BaseException as error:
            self._lifecycle.leave(ticket)
            if isinstance(error, NoThreadLeft):
                raise called_by_itself(self._plugin) from None
            raise

    def _give_up(self, future: Future[Reply], ticket: Ticket, timeout: float | None) -> Exception:
        if future.cancel():
            self._lifecycle.leave(ticket)
            return _problem(self._plugin, "queued", timeout)
        self._lifecycle.lose(ticket)
        return _problem(self._plugin, "overran", timeout)


class NativeThreadRunner:
    """A :class:`backworks.isolation.runner.Runner` over a ``backworks.ffi._native.Pool``.

    The pool keeps the life cycle as well, under the mutex that a call takes anyway.

    Args:
        plugin: The plugin's id, for messages.
        pool: The pool.
        shutdown: Ends the instance; raises nothing.
    """

    def __init__(self, plugin: str, pool: Pool, shutdown: Callable[[], object]) -> None:
        self._plugin = plugin
        self._pool = pool
        self._shutdown = shutdown
        #: Takes and returns what Runner.process does, without a Python frame.
        self.process = pool.call
        self.health_check = pool.health_check

    @property
    def state(self) -> State:
        return State(self._pool.state)

    @property
    def in_flight(self) -> int:
        return self._pool.in_flight

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        begun = self._pool.begin(endpoint, method, data, timeout, traceparent, tracestate)
        if isinstance(begun, Reply):
            return begun
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not begun.watch(self._waker_of(loop), future):
            return begun.result(timeout)
        timer = None if timeout is None else loop.call_later(timeout, _set, future)
        try:
            await future
            return begun.result(timeout) if timer is None else begun.expire(timeout)
        finally:
            begun.drop()  # if the task was cancelled: the call runs on, and its reply is dropped
            if timer is not None:
                timer.cancel()

    def close(self, timeout: float | None) -> bool:
        until = deadline(timeout)
        if self._pool.drain(timeout):
            done = False
            try:
                # Not in the caller's thread: a shutdown that hangs has to be left behind.
                done = _end(ThreadPool(1, f"backworks-{self._plugin}"), self._shutdown, until)
            finally:
                self._pool.ended(done)
        return self.state is State.CLOSED

    def _waker_of(self, loop: asyncio.AbstractEventLoop) -> Waker:
        waker = _wakers.get(loop)
        if waker is None:
            waker = _wakers[loop] = self._pool.waker()
            try:
                loop.add_reader(waker.fileno(), waker.wake)
            except NotImplementedError:  # the event loop of Windows
                threading.Thread(target=_ring, args=(waker, ref(loop)), name="backworks-waker", daemon=True).start()
        return waker


#: The waker of each event loop: one descriptor for all calls of all plugins.
_wakers: WeakKeyDictionary[asyncio.AbstractEventLoop, Waker] = WeakKeyDictionary()


def _ring(waker: Waker, loop_reference: ref[asyncio.AbstractEventLoop]) -> None:
    """Tells an event loop that cannot watch a descriptor, until it is closed or gone."""
    while True:
        ringing = waker.wait()
        loop = loop_reference()
        if loop is None or loop.is_closed():
            return
        if ringing:
            with contextlib.suppress(RuntimeError):  # it was closed just now
                loop.call_soon_threadsafe(waker.wake)
        del loop


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve(future: asyncio.Future[Reply]) -> None:
    """Has asyncio not complain of an exception that is taken from elsewhere, or that nobody waits for any more."""
    if not future.cancelled():
        future.exception()


def _end(pool: ThreadPool, shutdown: Callable[[], object], until: float | None) -> bool:
    """Runs the shutdown as the last job of the pool; returns whether it returned in time."""
    try:
        ended = pool.submit(shutdown)
    except RuntimeError:  # there is no thread to be had: some Pythons start none for an atexit function
        shutdown()
        return True
    pool.close()
    try:
        ended.result(remaining(until))
    except TimeoutError:
        return False
    return True


def _problem(plugin: str, kind: str, timeout: float | None) -> Exception:
    """Makes the exception for a call that has no reply. The kind is one below, or the state that refuses the call."""
    match kind:
        case "queued":
            return PluginTimeout(f"no thread was free within {timeout:g} s", plugin=plugin)
        case "overran":
            return PluginTimeout(f"no answer within {timeout:g} s", plugin=plugin)
        case "nested":
            return called_by_itself(plugin)
        case "no thread":
            return RuntimeError(f"{plugin}: the system gives it no thread")
        case "forked":
            return PluginStateError(
                f"{plugin}: called in a process that was forked off after it was loaded, and its threads are not "
                "there; load it after the fork",
                plugin=plugin,
            )
    return refusal(plugin, State(kind))
