"""Several processes that serve the same sockets, and the one that looks after them.

The first process listens and never accepts. Each worker is a fresh interpreter that starts its own instances of all
plugins; none is forked, because neither threads nor a library's state survive that. The system gives a connection to
one of those that wait for it.

A pipe leads from the first process to each worker. A worker writes one message to it: that it serves, or the exception
that kept it from it. A message to the worker is a configuration to go over to, or asks it to stop. The pipe's end is
the first process's end: a worker that serves then stops by itself, and one that was stopping already ends at once,
which is what a second Ctrl-C is for. That is why workers ignore Ctrl-C, which a terminal sends to all of them.

A worker that ends without having been asked is replaced; the others serve on meanwhile. One that ends before all of
them serve for the first time ends the start.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from backworks.config.plugins import read_config
from backworks.errors import BackworksError, WorkerError
from backworks.http.reloads import Reloads, attempt
from backworks.http.running import Stop, run
from backworks.http.sharing import Shared
from backworks.loading.staging import private_directory
from backworks.manager.startup import file_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from backworks.config import Config

    Prepare = Callable[[], None] | None

__all__ = ["supervise"]

_logger = logging.getLogger("backworks.http")

#: Seconds from one look at the workers and the wish to stop to the next.
_LOOK = 0.1
#: Seconds from the start of a worker to that of the one that takes its place, at least.
_PAUSE = 1.0
#: Seconds that a worker has to end, above its ``server.shutdown_timeout``: its plugins have half a second of them.
_GRACE = 2.0


def supervise(
    config: Config,
    sockets: list[socket.socket],
    count: int,
    stop: Stop,
    announce: Callable[[], object],
    prepare: Prepare,
    reloads: Reloads,
) -> None:
    """Serves in several processes until it is asked to stop.

    Args:
        config: The configuration.
        sockets: Where to listen.
        count: How many processes.
        stop: The wish that it ends.
        announce: Called as soon as all of them take requests.
        prepare: Called first in each.
        reloads: The wish that the configuration is loaded anew.

    Raises:
        PluginLoadError, PluginError: A critical plugin does not start.
        WorkerError: A worker ended before it served.
    """
    multiprocessing.allow_connection_pickling()  # sockets as well
    shared = tempfile.mkdtemp(dir=private_directory())
    workers: list[_Worker] = []
    try:
        workers.extend(_Worker(config, sockets, Shared(shared, place), prepare) for place in range(count))
        while not stop.asked and sum(worker.serves() for worker in workers) < count:
            time.sleep(_LOOK)
        if not stop.asked:
            announce()
        while not stop.asked:
            time.sleep(_LOOK)
            for worker in workers:
                worker.replace()
            if (wish := reloads.take()) is not None and attempt(reloads, partial(_read, reloads, wish[0])):
                for worker in workers:
                    worker.reload(reloads.config)
    finally:
        for worker in workers:
            worker.ask()
        until = time.monotonic() + config.server.shutdown_timeout + _GRACE
        for worker in workers:
            worker.close(until)
        shutil.rmtree(shared, ignore_errors=True)


class _Worker:
    """One process, and those that take its place, seen from the first."""

    def __init__(self, *arguments: object) -> None:
        self._arguments = arguments
        self._start()

    def _start(self) -> None:
        self._started_at = time.monotonic()
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        with theirs, _interrupts_blocked():
            process = context.Process(target=_work, args=(theirs, *self._arguments), name="backworks-worker")
            process.start()
        self._pipe, self._process = pipe, process
        self._serves = False
        self._failure: BackworksError | None = None

    def serves(self) -> bool:
        """Tells whether it serves; raises what keeps it from that."""
        end = self._look()
        if self._failure is not None:
            raise self._failure
        if end is not None and not self._serves:
            raise WorkerError(f"a worker {end} before it served")
        return self._serves

    def replace(self) -> None:
        """Starts another if it has ended."""
        end = self._look()
        if end is not None and time.monotonic() > self._started_at + _PAUSE:
            _logger.error("a worker %s; another takes its place", end)
            try:
                self._start()
            except OSError as error:  # too many processes, too little memory; it is tried again
                _logger.error("no worker can be started: %s", error)

    def _look(self) -> str | None:
        """Reads what it says, and tells how it ended if it has."""
        code = self._process.exitcode  # before the pipe: what it said first is there
        with suppress(EOFError, OSError):  # it ended
            if self._pipe.poll():
                self._failure = self._pipe.recv()
                self._serves = self._failure is None
        if code is None:
            return None
        who = f"(process {self._process.pid})"
        if self._failure is not None:
            return f"{who} did not start: {self._failure}"
        return f"{who} was ended by {_signal_name(-code)}" if code < 0 else f"{who} ended with the exit code {code}"

    def ask(self) -> None:
        """Asks it to stop."""
        with suppress(OSError):  # it has ended
            self._pipe.send(None)

    def reload(self, config: Config) -> None:
        """Asks it to go over to another configuration, with which one that takes its place will start."""
        self._arguments = (config, *self._arguments[1:])
        with suppress(OSError):  # it has ended
            self._pipe.send(config)

    def close(self, until: float) -> None:
        """Waits for its end, and makes one.

        Args:
            until: The time, by the monotonic clock, when it is killed.
        """
        self._process.join(max(0.0, until - time.monotonic()))
        if self._process.exitcode is None:
            _logger.error("a worker (process %s) did not end in time and is killed", self._process.pid)
            self._process.kill()
            self._process.join()
        self._process.close()
        self._pipe.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Keeps Ctrl-C from a process that begins, until it says itself that it ignores it; what begins inherits this."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own process; starting it unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _work(pipe: Connection, config: Config, sockets: list[socket.socket], shared: Shared, prepare: Prepare) -> None:
    """What a worker does."""
    stop = Stop()
    reloads = Reloads(config)
    for name in ("SIGINT", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, lambda *_: stop.ask())
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: reloads.ask())
    if prepare is not None:
        prepare()
    threading.Thread(target=_obey, args=(pipe, stop, reloads), name="backworks-obey", daemon=True).start()
    try:
        run(config, sockets, stop, lambda: pipe.send(None), shared, reloads)
    except BackworksError as error:
        pipe.send(error)


def _read(reloads: Reloads, wanted: Config | None) -> tuple[Config, object]:
    """Reads the configuration anew, and leaves the plugins to the workers."""
    checked = read_config(file_of(reloads.config) if wanted is None else wanted)
    return checked.config, "the workers go over to it"


def _obey(pipe: Connection, stop: Stop, reloads: Reloads) -> None:
    try:
        while (config := pipe.recv()) is not None:
            reloads.ask(config)
        stop.ask()
        pipe.recv()
    except (EOFError, OSError):
        if stop.asked:
            os._exit(1)
        stop.ask()
