"""Runs several server processes on the same sockets, and the main process that supervises them.

The main process listens but never accepts. Each server process is a new interpreter that starts its own instances of
all plugins. None is forked, because neither threads nor a library's state survive a fork. The operating system hands
each connection to one of the processes that accept.

A pipe connects the main process to each server process. A server process sends one message: that it serves, or the
exception that prevented it. A message to a server process contains a configuration to switch to, or requests a stop. If
the main process ends, the pipe closes: a server process that serves then shuts down, and one that is already shutting
down ends at once, which is the purpose of a second Ctrl-C. Server processes therefore ignore Ctrl-C, which a terminal
sends to all processes.

A server process that ends unexpectedly is replaced, while the others continue to serve. If one ends before all of them
serve for the first time, startup fails.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shutil
import signal
import sys
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
from backworks.loading.private import new_directory
from backworks.manager.startup import file_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

    from backworks.config import Config

    Prepare = Callable[[], None] | None

__all__ = ["supervise"]

_logger = logging.getLogger("backworks.http")

#: How often to check the processes and the request to stop, in seconds.
_LOOK = 0.1
#: The minimum time between the start of a process and the start of its replacement, in seconds.
_PAUSE = 1.0
#: How many seconds a process has to end beyond ``server.shutdown_timeout``; its plugins get half a second of them.
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
    """Serves in several processes until a stop is requested.

    Args:
        config: The configuration.
        sockets: The listening sockets.
        count: The number of processes.
        stop: The request to stop.
        announce: Called when all processes accept requests.
        prepare: Called first in each process.
        reloads: The request to reload the configuration.

    Raises:
        PluginLoadError, PluginError: A critical plugin does not start.
        WorkerError: A process ended before it accepted requests.
    """
    multiprocessing.allow_connection_pickling()  # sockets as well
    shared = str(new_directory())
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
    """A server process and its replacements, as seen by the main process."""

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
        """Returns whether the process serves; raises the exception that prevents it."""
        end = self._look()
        if self._failure is not None:
            raise self._failure
        if end is not None and not self._serves:
            raise WorkerError(f"server process {end} before it accepted requests")
        return self._serves

    def replace(self) -> None:
        """Starts a replacement if the process has ended."""
        end = self._look()
        if end is not None and time.monotonic() > self._started_at + _PAUSE:
            _logger.error("server process %s; starting a replacement", end)
            try:
                self._start()
            except OSError as error:  # too many processes or too little memory; the next check tries again
                _logger.error("cannot start a server process: %s", error)

    def _look(self) -> str | None:
        """Reads its message, and returns how it ended if it has."""
        code = self._process.exitcode  # read before the pipe, so that an ended process has sent all its messages
        with suppress(EOFError, OSError):  # the process has ended
            if self._pipe.poll():
                self._failure = self._pipe.recv()
                self._serves = self._failure is None
        if code is None:
            return None
        who = f"{self._process.pid}"
        if self._failure is not None:
            return f"{who} did not start: {self._failure}"
        return f"{who} was killed by {_signal_name(-code)}" if code < 0 else f"{who} exited with code {code}"

    def ask(self) -> None:
        """Requests a stop."""
        with suppress(OSError):  # the process has ended
            self._pipe.send(None)

    def reload(self, config: Config) -> None:
        """Requests a switch to another configuration, which a replacement will also use."""
        self._arguments = (config, *self._arguments[1:])
        with suppress(OSError):  # the process has ended
            self._pipe.send(config)

    def close(self, until: float) -> None:
        """Waits until the process ends, and kills it after a deadline.

        Args:
            until: The deadline, by the monotonic clock.
        """
        self._process.join(max(0.0, until - time.monotonic()))
        if self._process.exitcode is None:
            _logger.error("server process %s did not end in time and is killed", self._process.pid)
            self._process.kill()
            self._process.join()
        self._process.close()
        self._pipe.close()


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Blocks SIGINT while starting a process, which inherits the mask and unblocks it when it ignores the signal."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started before, because its start unblocks the signal
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
    """The main function of a server process."""
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
    """Reads the new configuration; the server processes start its plugins."""
    checked = read_config(file_of(reloads.config) if wanted is None else wanted)
    return checked.config, "the server processes switch to it"


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
