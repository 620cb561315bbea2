"""One worker process: its start, its log and its end.

Start: any thread spawns the process and sends START. The supervisor's thread then reads the worker's messages until
``started`` contains the description of the plugin, or the reason why the start failed. End: the holder kills the
worker, or it ends by itself. The supervisor's thread reads the rest of its pipes and reaps it; ``exited`` then contains
how it ended. After that, the holder closes the pipes for requests and replies.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, Protocol

from backworks.errors import BackworksError, PluginContractError, PluginCrashed, PluginTimeout
from backworks.ffi.contract import ContractViolation
from backworks.isolation.channels import mailbox
from backworks.isolation.channels.mailbox import MailboxChannel
from backworks.isolation.pluginlog import PluginLog
from backworks.isolation.process import supervisor as supervision
from backworks.isolation.process.codec import (
    LOG_LIMITS,
    READY,
    REFUSED,
    START,
    FrameError,
    FrameReader,
    Gone,
    Ready,
    Refused,
    decode_log,
    decode_ready,
    decode_refused,
    encode_start,
)
from backworks.isolation.process.lines import LineReader
from backworks.isolation.process.spawn import spawn

if sys.platform == "win32":
    from backworks.isolation.channels.pipe_windows import ThreadChannel as PipeChannel
    from backworks.isolation.process.streams import ThreadStream as PipeStream
else:
    from backworks.isolation.channels.pipe import PipeChannel
    from backworks.isolation.process.streams import DescriptorStream as PipeStream

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from backworks.ffi.contract import Reply
    from backworks.isolation.channels.channel import Channel
    from backworks.isolation.process.exits import Exit
    from backworks.isolation.process.streams import Stream
    from backworks.settings import Settings

__all__ = ["Ended", "Job", "Worker"]


class Job(Protocol):
    """The job of a worker."""

    def path(self) -> str:
        """Returns the path of the library's private copy. Raises ``OSError`` if the copy and the file have changed."""
        ...

    @property
    def config(self) -> bytes:
        """The plugin's configuration, as JSON."""
        ...

    def accept(self, ready: Ready) -> None:
        """Checks the identity that the plugin reports. Raises a ``PluginLoadError`` if it is not valid."""
        ...

    def refusal(self, refused: Refused) -> BackworksError:
        """Creates the exception for a plugin that could not be initialised."""
        ...


class Ended(NamedTuple):
    """How a worker ended, and the last lines that it wrote to stderr."""

    how: Exit
    stderr: tuple[str, ...]


class Worker:
    """One worker process.

    Attributes:
        pid: Its process id.
        channel: The channel to it, after its start.
        begin: The channel's method ``begin``, for faster access.
        dead: Whether it has ended or been killed.
        started: The description of the plugin, or the exception if the start failed.
        exited: How it ended.
        gone: Done when all its resources are released.
        leaving: Whether it has received SHUTDOWN.
        why: Why the host killed it, if not because of a call.
        born: When its start completed, by ``time.monotonic()``.

    Args:
        plugin: The plugin's id.
        job: The job.
        options: The plugin's settings.

    Raises:
        OSError: The process cannot be started, or the library's copy and file have changed.
    """

    __slots__ = (
        "_job",
        "_lines",
        "_log",
        "_logger",
        "_mailbox",
        "_options",
        "_pipes",
        "_plugin",
        "_process",
        "_record",
        "_streams",
        "_supervisor",
        "_ticking",
        "_timer",
        "begin",
        "born",
        "channel",
        "dead",
        "exited",
        "gone",
        "leaving",
        "pid",
        "started",
        "why",
    )

    def __init__(self, plugin: str, job: Job, options: Settings) -> None:
        path = os.fsencode(job.path())
        self._plugin = plugin
        self._job = job
        self._options = options
        self._logger = logging.getLogger(f"backworks.plugin.{plugin}")
        # A warning, because libraries usually write to stderr to report problems.
        self._lines = LineReader(lambda line: self._logger.warning("%s", line))
        self._log = FrameReader(LOG_LIMITS)
        self._record = PluginLog(self._logger)
        self._timer: asyncio.TimerHandle | None = None
        self._ticking: asyncio.TimerHandle | None = None
        self.dead = False
        self.leaving = False
        self.why: str | None = None
        self.born = 0.0
        self.started: Future[Ready] = Future()
        self.exited: Future[Ended] = Future()
        self.gone: Future[None] = Future()
        box = mailbox.create()
        self._mailbox = box
        try:
            if box is None:
                self._process, self._pipes = spawn(options.environment)
            else:
                descriptors = (box.memory_fd, box.event_fd)
                arguments = ("--mailbox", str(box.memory_fd), "--event", str(box.event_fd))
                self._process, self._pipes = spawn(options.environment, arguments, descriptors)
        except BaseException:
            if box is not None:
                box.close()
            raise
        self._supervisor = supervision.acquire()
        self._streams: tuple[Stream, ...] = (
            PipeStream(self._pipes.log, self._take_log),
            PipeStream(self._pipes.stderr, self._take_stderr),
        )
        self.pid = self._process.pid
        pipe = PipeChannel(self._pipes.requests, self._pipes.replies, self._process.fileno(), options.limits)
        pipe.begin_control(START, encode_start(path, job.config, options.limits))
        self.channel: Channel = pipe
        self.begin: Callable[..., Reply | None] = pipe.begin
        self._supervisor.post(self._attach, self._supervisor.loop, pipe)

    def rename(self, plugin: str) -> None:
        """Sets another id of the plugin."""
        self._plugin = plugin
        self._logger = self._record.logger = logging.getLogger(f"backworks.plugin.{plugin}")

    def kill(self, why: str | None = None) -> None:
        """Kills the process and its descendants. Idempotent.

        Args:
            why: The reason for the call in flight, if that call is not the cause.
        """
        if why is not None and not self.dead:
            self.why = why
        self.dead = True
        self._process.kill()

    def read_output(self) -> None:
        """Reads what has arrived on the pipes for stderr and log records, in the supervisor's thread."""
        for stream in self._streams:
            stream.drain()

    def release(self, then: Callable[[], object]) -> None:
        """Ends the worker, closes its resources, and calls a function in the supervisor's thread.

        The holder must call this once, and must not use the worker afterwards.
        """
        self.kill()

        def close(_: object) -> None:
            self.channel.close()
            self._log.close()  # the rest is small and can wait for the garbage collector
            if self._mailbox is not None:
                self._mailbox.close()
            then()
            self._process.finish(self._supervisor.loop, finished)

        def finished() -> None:
            self._process.close()
            self.gone.set_result(None)
            supervision.release(self._supervisor)

        self.exited.add_done_callback(lambda ended: self._supervisor.post(close, ended))

    def forget(self) -> None:
        """Releases the worker without affecting it; for a forked child, because the worker belongs to its parent."""
        self.dead = True
        self._process.forget()
        with contextlib.suppress(OSError):
            self._pipes.close()

    # The following methods run in the supervisor's thread.

    def _attach(self, loop: asyncio.AbstractEventLoop, pipe: PipeChannel) -> None:
        for stream in self._streams:
            stream.attach(loop)
        self._process.watch(loop, lambda: self._reap(loop, pipe))
        self._timer = loop.call_later(self._options.start_timeout, self._late, pipe)
        pipe.watch(loop, lambda: self._greet(pipe))

    def _greet(self, pipe: PipeChannel) -> None:
        """Checks whether the worker has reported the result of its start."""
        if self.started.done():
            return
        try:
            frame = pipe.advance_frame()
            if frame is None:
                return
            if frame.kind == REFUSED:
                refused = decode_refused(frame.payload, self._options.limits.output)
                raise self._job.refusal(refused)
            if frame.kind != READY:
                raise FrameError(f"a frame of kind {frame.kind} instead of READY or REFUSED")
            ready = decode_ready(frame.payload)
            self._job.accept(ready)
        except Gone:
            pipe.unwatch()
            self.exited.add_done_callback(self._crashed)
            if not self.dead:  # its pipe may have closed before the process ends
                self._supervisor.loop.call_later(1.0, self.kill)
        except FrameError as error:
            self._failed(pipe, PluginContractError(f"its worker process sent {error}", plugin=self._plugin))
        except ContractViolation as error:
            self._failed(pipe, PluginContractError(f"init: {error}", plugin=self._plugin))
        except BackworksError as error:
            self._failed(pipe, error)
        else:
            pipe.unwatch()
            self._cancel_timer()
            self.born = time.monotonic()
            if self._mailbox is not None:
                box = MailboxChannel(pipe, self._mailbox, self._options.limits, self._supervisor.loop)
                self._mailbox = None
                self.channel, self.begin = box, box.begin
            self.started.set_result(ready)

    def _late(self, pipe: PipeChannel) -> None:
        if not self.started.done():
            seconds = self._options.start_timeout
            error = PluginTimeout(
                f"it did not start within {seconds:g} s; its worker process was killed", plugin=self._plugin
            )
            self._failed(pipe, error)

    def _failed(self, pipe: PipeChannel, error: BackworksError) -> None:
        pipe.unwatch()
        self._cancel_timer()
        self.kill()
        if not self.started.done():
            self.started.set_exception(error)

    def _crashed(self, exited: Future[Ended]) -> None:
        if not self.started.done():
            how, stderr = exited.result()
            error = PluginCrashed(
                f"its worker process {how} during startup",
                plugin=self._plugin,
                signal=how.signal,
                exit_code=how.code,
                stderr=stderr,
            )
            self._cancel_timer()
            self.started.set_exception(error)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _take_log(self, data: bytes) -> bool:
        """Processes log records of the plugin."""
        view = memoryview(data)
        try:
            while view:
                room = self._log.room()
                count = min(len(room), len(view))
                room[:count], view = view[:count], view[count:]
                self._log.filled(count)
                while (frame := self._log.take()) is not None:
                    level, text = decode_log(frame.payload)
                    self._record(level, text)
        except FrameError as error:
            self._logger.error("its worker process sent %s instead of a log record and is killed", error)
            self.kill()
            return False
        self._report_dropped()
        return True

    def _take_stderr(self, data: bytes) -> bool:
        """Processes output on stderr."""
        self._lines.feed(data)
        self._report_dropped()
        return True

    def _report_dropped(self) -> None:
        """Has dropped lines and records reported when their second is over."""
        if self._ticking is None and (self._lines.dropped or self._record.dropped):
            self._ticking = self._supervisor.loop.call_later(1.0, self._tick)

    def _tick(self) -> None:
        self._ticking = None
        self._lines.tick()
        self._record.report()
        self._report_dropped()

    def _reap(self, loop: asyncio.AbstractEventLoop, pipe: PipeChannel) -> None:
        """Learns how the process has ended and reads the rest of its pipes."""
        self.dead = True
        self._process.unwatch(loop)
        how = self._process.reap()
        for stream in self._streams:
            stream.finish()
        if self._ticking is not None:
            self._ticking.cancel()
        self._lines.end()
        if not self.started.done():
            self._greet(pipe)
        self.channel.notify()
        self._greet(pipe)
        self.exited.set_result(Ended(how, self._lines.last))
