"""``isolation: thread``: calls run in worker threads that belong to the plugin.

When a call overruns its timeout, the caller abandons it. It keeps running, because a thread cannot be killed, and
the instance rejects other calls until it returns.

There are two runners. An instance of the compiled binding uses native threads, which never hold the interpreter lock:
``native/fastpath/threadpool.c``. All other engines, including Python objects, use Python threads.
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
from backworks.isolation.admission import QUARANTINE, Ending, State, refusal
from backworks.isolation.runner import called_by_itself, encode
from backworks.isolation.threadpool import NoThreadLeft, ThreadPool
from backworks.isolation.timeouts import deadline, nanoseconds, remaining

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from typing_extensions import Buffer

    from backworks.ffi._native import Pool, Waker
    from backworks.isolation.admission import Admission
    from backworks.isolation.runner import Runner

__all__ = ["NativeThreadRunner", "ThreadRunner", "thread_runner"]


class _PoolEngine(Engine, Protocol):
    """An instance of the binding ``native``."""

    def pool(self, workers: int, make_error: Callable[[str, float | None], Exception], /) -> Pool: ...


def thread_runner(plugin: str, engine: Engine, shutdown: Callable[[], object], *, workers: int) -> Runner:
    """Makes the runner for the engine.

    Args:
        plugin: The plugin's id, for messages.
        engine: Makes the calls.
        shutdown: Shuts the instance down; must not raise.
        workers: The maximum number of concurrent calls; 1 for a plugin that is not thread-safe.
    """
    if hasattr(engine, "pool"):
        pool = cast("_PoolEngine", engine).pool(workers, partial(_error, plugin))
        return NativeThreadRunner(plugin, pool, shutdown)
    return ThreadRunner(plugin, engine, shutdown, workers=workers)


class _Job:
    """One call in a thread: whether it has returned from the plugin, and whether its caller abandoned it.

    Args:
        run: Makes the call, given the nanoseconds left for it; 0 for no limit.
        timeout: Seconds for the whole call, including the queue, or ``None``.
        plugin: The plugin's id, for messages.
    """

    def __init__(self, run: Callable[[int], Reply], timeout: float | None, plugin: str) -> None:
        self.timeout = timeout
        self.is_abandoned = False
        self.has_returned = False
        self._run = run
        self._until = deadline(timeout)
        self._plugin = plugin

    def run(self) -> Reply:
        left = remaining(self._until)
        if left == 0.0:
            raise _error(self._plugin, "queued", self.timeout)
        return self._run(nanoseconds(left))


class ThreadRunner:
    """A :class:`backworks.isolation.runner.Runner` that uses Python threads.

    Args:
        plugin: The plugin's id, for messages.
        engine: Makes the calls.
        shutdown: Shuts the instance down; must not raise.
        workers: The maximum number of concurrent calls; 1 for a plugin that is not thread-safe.
    """

    is_inherited = False

    def __init__(self, plugin: str, engine: Engine, shutdown: Callable[[], object], *, workers: int) -> None:
        self._plugin = plugin
        self._engine = engine
        self._shutdown = shutdown
        self._pool = ThreadPool(workers, f"backworks-{plugin}")
        self._abandoned = 0  # calls that overran and have not returned
        self._lock = threading.Lock()

    @property
    def state(self) -> State:
        return State.QUARANTINED if self._abandoned else State.RUNNING

    @property
    def trouble(self) -> str | None:
        return QUARANTINE if self.state is State.QUARANTINED else None

    @property
    def in_flight(self) -> int:
        return self._pool.pending

    def process(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        return self._wait(self._call(endpoint, method, data, timeout, traceparent, tracestate))

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        job = self._call(endpoint, method, data, timeout, traceparent, tracestate)
        future = self._submit(job)
        waiting = asyncio.wrap_future(future)
        waiting.add_done_callback(_retrieve)
        try:
            await asyncio.wait((waiting,), timeout=timeout)
        except asyncio.CancelledError:
            future.cancel()  # has no effect once the call has started: it keeps running and its reply is dropped
            raise
        if future.done():
            return future.result()
        raise self._abandon(future, job)

    def health_check(self, timeout: float | None) -> Reply:
        return self._wait(_Job(lambda _time_left: self._engine.health_check(), timeout, self._plugin))

    def flush_log(self, timeout: float | None) -> bool:
        return True

    def drop(self, admission: Admission) -> None:
        pass

    def stop(self) -> None:
        pass

    def end(self, until: float | None, *, empty: bool) -> Ending:
        if not empty or not self._pool.wait(remaining(until)):
            return Ending.LEFT_BEHIND
        return _end(self._pool, self._shutdown, until)

    def _call(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> _Job:
        parent = None if traceparent is None else encode(traceparent, "latin-1")
        state = None if tracestate is None else encode(tracestate, "latin-1")
        request = encode(endpoint), encode(method), encode(data)
        return _Job(lambda time_left: self._engine.process(*request, time_left, parent, state), timeout, self._plugin)

    def _wait(self, job: _Job) -> Reply:
        future = self._submit(job)
        try:
            return future.result(job.timeout)
        except TimeoutError:
            if future.done():  # the job raised TimeoutError itself, or ended at the last moment
                return future.result()
            raise self._abandon(future, job) from None
        finally:
            future.cancel()  # if the wait was interrupted before the call started

    def _submit(self, job: _Job) -> Future[Reply]:
        if self._abandoned:
            raise refusal(self._plugin, State.QUARANTINED)
        try:
            return self._pool.submit(partial(self._run, job))
        except NoThreadLeft:
            raise called_by_itself(self._plugin) from None

    def _run(self, job: _Job) -> Reply:
        try:
            return job.run()
        finally:
            with self._lock:
                job.has_returned = True
                self._abandoned -= job.is_abandoned

    def _abandon(self, future: Future[Reply], job: _Job) -> Exception:
        if future.cancel():
            return _error(self._plugin, "queued", job.timeout)
        with self._lock:
            if not job.has_returned:
                job.is_abandoned = True
                self._abandoned += 1
        return _error(self._plugin, "overran", job.timeout)


class NativeThreadRunner:
    """A :class:`backworks.isolation.runner.Runner` over a ``backworks.ffi._native.Pool``.

    Args:
        plugin: The plugin's id, for messages.
        pool: Runs the calls.
        shutdown: Shuts the instance down; must not raise.
    """

    def __init__(self, plugin: str, pool: Pool, shutdown: Callable[[], object]) -> None:
        self._plugin = plugin
        self._pool = pool
        self._shutdown = shutdown
        #: Same signature as Runner.process, without a Python frame.
        self.process = pool.call
        self.health_check = pool.health_check

    @property
    def state(self) -> State:
        if self._pool.is_inherited:
            return State.CLOSED
        return State.QUARANTINED if self._pool.overran else State.RUNNING

    @property
    def trouble(self) -> str | None:
        return QUARANTINE if self.state is State.QUARANTINED else None

    @property
    def in_flight(self) -> int:
        return self._pool.in_flight

    @property
    def is_inherited(self) -> bool:
        return self._pool.is_inherited

    async def process_async(
        self,
        endpoint: str | bytes,
        method: str | bytes,
        data: str | Buffer,
        timeout: float | None,
        traceparent: str | bytes | None,
        tracestate: str | bytes | None,
    ) -> Reply:
        call = self._pool.begin(endpoint, method, data, timeout, traceparent, tracestate)
        if isinstance(call, Reply):
            return call
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        if not call.watch(self._waker_of(loop), future):
            return call.take(timeout)
        timer = None if timeout is None else loop.call_later(timeout, _set, future)
        try:
            await future
            return call.take(timeout)
        finally:
            call.drop()  # if the task was cancelled
            if timer is not None:
                timer.cancel()

    def flush_log(self, timeout: float | None) -> bool:
        return True

    def drop(self, admission: Admission) -> None:
        pass

    def stop(self) -> None:
        pass

    def end(self, until: float | None, *, empty: bool) -> Ending:
        try:
            if not empty or not self._drain(until):
                return Ending.LEFT_BEHIND
            # Not in the caller's thread: a shutdown that hangs must be left behind.
            return _end(ThreadPool(1, f"backworks-{self._plugin}"), self._shutdown, until)
        finally:
            self._pool.close()

    def _drain(self, until: float | None) -> bool:
        while not self._pool.wait(left := remaining(until)):
            if left == 0.0:
                return False
        return True

    def _waker_of(self, loop: asyncio.AbstractEventLoop) -> Waker:
        waker = _wakers.get(loop)
        if waker is None:
            waker = _wakers[loop] = self._pool.waker()
            try:
                loop.add_reader(waker.fileno(), _wake, waker)
            except NotImplementedError:  # the Windows event loop
                threading.Thread(target=_notify, args=(waker, ref(loop)), name="backworks-waker", daemon=True).start()
        return waker


#: The waker of each event loop; one descriptor serves all calls of all plugins.
_wakers: WeakKeyDictionary[asyncio.AbstractEventLoop, Waker] = WeakKeyDictionary()


def _notify(waker: Waker, loop_reference: ref[asyncio.AbstractEventLoop]) -> None:
    """Notifies an event loop that cannot watch a descriptor, until the loop is closed or collected."""
    while True:
        is_ready = waker.wait()
        loop = loop_reference()
        if loop is None or loop.is_closed():
            return
        if is_ready:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(_wake, waker)
        del loop


def _wake(waker: Waker) -> None:
    """Resumes the tasks whose calls are done."""
    waker.clear()
    while (future := waker.take()) is not None:
        _set(future)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _retrieve(future: asyncio.Future[Reply]) -> None:
    """Retrieves the exception, so that asyncio does not log it as never retrieved."""
    if not future.cancelled():
        future.exception()


def _end(pool: ThreadPool, shutdown: Callable[[], object], until: float | None) -> Ending:
    """Runs the shutdown as the pool's last job, and waits for it until the deadline."""
    try:
        ended = pool.submit(shutdown)
    except RuntimeError:  # no thread can be started: some Python versions start none in an atexit function
        shutdown()
        return Ending.PEACEFUL
    pool.close()
    try:
        ended.result(remaining(until))
    except TimeoutError:
        return Ending.LEFT_BEHIND
    return Ending.PEACEFUL


def _error(plugin: str, kind: str, timeout: float | None) -> Exception:
    """Makes the exception for a call without a reply; ``kind`` is one of those below, or a state that rejects calls."""
    match kind:
        case "queued":
            return PluginTimeout(f"no thread was free within {timeout:g} s", plugin=plugin)
        case "overran":
            return PluginTimeout(f"no answer within {timeout:g} s", plugin=plugin)
        case "nested":
            return called_by_itself(plugin)
        case "no thread":
            return RuntimeError(f"{plugin}: the system cannot start another thread")
        case "inherited":
            return PluginStateError(
                f"{plugin}: this process was forked after the plugin was loaded and has none of its threads; load the "
                "plugin after the fork",
                plugin=plugin,
            )
    return refusal(plugin, State(kind))
