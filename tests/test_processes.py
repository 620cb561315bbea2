"""Plugins in worker processes: calls, timeouts, crashes and shutdown, over each channel."""

from __future__ import annotations

import asyncio
import contextlib
import dis
import errno
import gc
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin
from unruly import CHILD, CRASHED, UNRULY, Fifo, is_alive, last_words

import backworks
from backworks import (
    Code,
    IdentityError,
    LinkError,
    ManifestError,
    Plugin,
    PluginContractError,
    PluginCrashed,
    PluginError,
    PluginInitError,
    PluginStateError,
    PluginTimeout,
    PluginUnavailable,
)
from backworks.isolation import slots
from backworks.isolation.channels import mailbox
from backworks.isolation.channels.pipe_windows import ThreadChannel
from backworks.isolation.channels.process import ProcessRunner
from backworks.isolation.process import supervisor, worker
from backworks.isolation.process.library import LibraryJob
from backworks.isolation.process.streams import ThreadStream
from backworks.isolation.process.workerset import WorkerSet
from backworks.isolation.slots import Slot, Slots, ThreadWaiter
from backworks.loading.prepared import prepare
from backworks.settings import Limits, Restart

if sys.platform != "win32":
    import resource

#: What ends a process at once.
KILL = signal.SIGTERM if sys.platform == "win32" else signal.SIGKILL
#: Restarts that no test has to wait for.
AT_ONCE = Restart(initial=0.001, maximum=0.002)

#: Who a plugin is that says two things of itself.
TWO_NAMES = r"""
BACKWORKS_PLUGIN_IDENTITY("one", "1.0.0")
BACKWORKS_PLUGIN_MANIFEST("{\"abi\": 1, \"name\": \"two\", \"version\": \"1.0.0\"}")
"""

Load = Callable[..., Plugin]


@pytest.fixture(name="transport", params=["mailbox", "pipes", "threads"] if sys.platform != "win32" else ["threads"])
def _transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Selects the channel to the workers."""
    if request.param != "mailbox":
        monkeypatch.setattr(mailbox, "create", lambda: None)
    if request.param == "threads" and sys.platform != "win32":  # where there is nothing else
        monkeypatch.setattr(worker, "PipeChannel", ThreadChannel)
        monkeypatch.setattr(worker, "PipeStream", ThreadStream)
    return str(request.param)


@pytest.fixture(name="load")
def _load(transport: str, compile_plugin: CompilePlugin) -> Iterator[Load]:
    """Loads an unruly plugin in worker processes, and checks that nothing is left of it at the end."""
    before, threads = descriptors(), set(threading.enumerate())
    loaded: list[Plugin] = []

    def load(source: str = UNRULY, name: str = "unruly", **options: Any) -> Plugin:
        alone: dict[str, Any] = {"restart": AT_ONCE, "start_timeout": PATIENCE, "breaker": None, "timeout": None}
        plugin = backworks.load(compile_plugin(source, name), isolation="process", **alone | options)
        loaded.append(plugin)
        return plugin

    yield load
    for plugin in loaded:
        plugin.close(PATIENCE)
    eventually(lambda: not [one for one in set(threading.enumerate()) - threads if one.name.startswith("backworks-")])
    # The first plugin of a process also locks the directory of private copies.
    eventually(lambda: len(descriptors() - before) <= 1)


def descriptors() -> set[str]:
    """Returns the open descriptors of this process, if the system lists them."""
    return {path.name for path in Path("/proc/self/fd").iterdir()} if sys.platform == "linux" else set()


def eventually(condition: Callable[[], object]) -> None:
    """Waits for a condition that another process or thread fulfils."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.001)


def call(plugin: Plugin, command: str, **options: Any) -> str | None:
    """Makes the plugin perform an action."""
    return plugin.process_endpoint_data("/x", data=command, **options)


class Inside:
    """A context manager that holds a call inside the plugin until it is released."""

    def __init__(self, plugin: Plugin, directory: Path, **options: Any) -> None:
        self.fifo = Fifo(directory)
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, args=(plugin, options))

    def _run(self, plugin: Plugin, options: dict[str, Any]) -> None:
        try:
            self.result = call(plugin, f"!wait {self.fifo.path}", **options)
        except BaseException as error:
            self.result = error

    def __enter__(self) -> Inside:
        self._thread.start()
        self.fifo.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.fifo.close()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


class TestCall:
    """The results of calls."""

    def test_answers(self, load: Load) -> None:
        """A call returns the plugin's response, in each form."""
        plugin = load()

        assert call(plugin, "hello") == "hello"
        assert plugin.process_endpoint_data("/x", data=b"\xff", as_bytes=True) == b"\xff"
        assert plugin.process_endpoint_data("/x", data=memoryview(b"abc")) == "abc"
        assert asyncio.run(plugin.process_endpoint_data_async("/x", data="hello")) == "hello"
        assert plugin.isolation == "process"
        assert (plugin.name, plugin.version, plugin.description) == ("echo", "1.0.0", "Answers what it was sent")

    @pytest.mark.parametrize("size", [0, 1, 65_000, 65_536, 1 << 20, (16 << 20) + 5, 40 << 20])
    def test_sizes(self, load: Load, size: int) -> None:
        """Data of any size comes back complete, synchronously and in an event loop."""
        data = bytes(range(256)) * (size // 256 + 1)
        data = data[:size]
        plugin = load()

        assert plugin.process_endpoint_data("/x", data=data, as_bytes=True) == data
        assert asyncio.run(plugin.process_endpoint_data_async("/x", data=data, as_bytes=True)) == data
        assert call(plugin, "hello") == "hello"

    def test_failures(self, load: Load) -> None:
        """A violation of the ABI raises the same exception as with other isolations, and the worker keeps running."""
        plugin = load()
        pid = call(plugin, "!pid")

        with pytest.raises(PluginError, match="echo: NOT_FOUND: no such thing"):
            call(plugin, "!fail")
        with pytest.raises(PluginContractError, match="the answer's data is NULL with a size of 10"):
            call(plugin, "!null")
        with pytest.raises(ValueError, match="66000"):
            plugin.process_endpoint_data("/" * 66_000)
        with pytest.raises(TypeError):
            plugin.process_endpoint_data("/x", data=3)  # type: ignore[call-overload]
        assert call(plugin, "!pid") == pid

    def test_output_limit(self, load: Load) -> None:
        """A response above the limit is rejected, and the worker keeps running."""
        plugin = load(limits=Limits(output=100))

        with pytest.raises(PluginContractError, match="claims 101 bytes; at most 100 are taken"):
            call(plugin, "x" * 101)
        assert call(plugin, "x" * 100) == "x" * 100

    def test_environment(self, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
        """A worker only has the environment variables that are named."""
        monkeypatch.setenv("WANTED", "yes")
        monkeypatch.setenv("SECRET", "no")
        plugin = load(environment=("WANTED", "ABSENT"))

        assert call(plugin, "!env WANTED") == "yes"
        assert call(plugin, "!env SECRET") is None
        assert call(plugin, "!env PATH") is None

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what another process has open")
    def test_descriptors(self, load: Load) -> None:
        """A worker has none of the host's descriptors."""
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)
        plugin = load()
        pid = call(plugin, "!pid")

        found = {path.readlink() for path in Path(f"/proc/{pid}/fd").iterdir()}
        assert Path(f"/proc/self/fd/{writing}").readlink() not in found
        os.close(reading)
        os.close(writing)

    def test_loops(self, load: Load) -> None:
        """Several event loops can use the same plugin concurrently."""
        plugin = load(workers=2)
        found: list[list[str | bytes | None]] = []

        async def many(name: str) -> None:
            found.append(
                await asyncio.gather(*(plugin.process_endpoint_data_async("/x", data=f"{name}{i}") for i in range(20)))
            )

        threads = [threading.Thread(target=asyncio.run, args=(many(name),)) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(found) == [[f"{name}{i}" for i in range(20)] for name in "abc"]


class TestStart:
    """A plugin that does not start fails with the same message as in the host's process."""

    @pytest.mark.parametrize(
        ("old", "new", "error"),
        [
            ("*out = plugin;", 'return backworks_fail(error, 9, "not today");', PluginInitError),
            ("*out = plugin;", "*out = NULL;", PluginContractError),
            ("*out = plugin;", "error->size = 5; return 3;", PluginContractError),
            ("BACKWORKS_PLUGIN(NAME, VERSION, ", 'BACKWORKS_PLUGIN_IDENTITY("Not A Name", "1")\n//', IdentityError),
            (
                'BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")',
                TWO_NAMES,
                ManifestError,
            ),
            pytest.param(
                "  free(plugin);",
                "  extern int nowhere(void); free(plugin); return nowhere();",
                LinkError,
                marks=pytest.mark.skipif(sys.platform == "win32", reason="there it cannot even be linked"),
            ),
        ],
    )
    def test_same_words(self, compile_plugin: CompilePlugin, old: str, new: str, error: type[Exception]) -> None:
        """A plugin that cannot be loaded fails with the same exception and message as in the host's process."""
        path = compile_plugin(ECHO.replace(old, new), "broken", ["-Wno-error"])
        texts = []
        for isolation in ("none", "process"):
            with pytest.raises(error) as caught:
                backworks.load(path, isolation=isolation)
            texts.append(str(caught.value))

        assert texts[0] == texts[1]

    def test_crash(self, load: Load) -> None:
        """A plugin that crashes during init raises PluginCrashed with its last output."""
        crashes = ECHO.replace("*out = plugin;", '*out = NULL; fputs("oh\\nno", stderr); abort();')

        with pytest.raises(PluginCrashed, match=rf"ended by {CRASHED['abort']}.* during startup") as caught:
            load(crashes, "crashes")
        assert (caught.value.signal, last_words(caught.value.stderr)) == (CRASHED["abort"], ("oh", "no"))

    def test_hang(self, load: Load) -> None:
        """A plugin that does not start in time is killed."""
        hangs = ECHO.replace("*out = plugin;", "*out = plugin; for (;;) { }")

        with pytest.raises(PluginTimeout, match=r"did not start within 0.2 s"):
            load(hangs, "hangs", start_timeout=0.2)

    def test_one_of_many(self, load: Load) -> None:
        """All workers have started when the plugin is loaded."""
        plugin = load(workers=5)

        assert len(set(plugin.runner.pids)) == 5  # type: ignore[attr-defined]

    def test_nameless(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        """A plugin without a manifest has the name that its function returns."""
        source = UNRULY.replace("BACKWORKS_PLUGIN(NAME, VERSION, ", "BACKWORKS_PLUGIN_IDENTITY(NAME, VERSION)\n//")
        plugin = load(source, "nameless")

        assert plugin.id == "echo"
        call(plugin, "!log hello")
        eventually(lambda: [record.name for record in caplog.records] == ["backworks.plugin.echo"])


class TestTime:
    """Timeouts are enforced, whatever the plugin does."""

    @pytest.mark.parametrize("command", ["!hang", "!stop"])
    def test_timeout(self, load: Load, command: str) -> None:
        """A call that times out ends with its process; the next call gets a new one."""
        plugin = load()
        pid = int(call(plugin, "!pid") or 0)
        with pytest.raises(PluginTimeout, match="no answer within 0.1 s"):
            call(plugin, command, timeout=0.1)

        eventually(lambda: not is_alive(pid))
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"

    def test_timeout_async(self, load: Load) -> None:
        """The same holds in an event loop, which is not blocked."""
        plugin = load(timeout=PATIENCE)

        async def main() -> tuple[int, object]:
            ticks = 0
            task = asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data="!hang", timeout=1))
            while not task.done():
                ticks += 1
                await asyncio.sleep(0)
            return ticks, await asyncio.gather(task, return_exceptions=True)

        ticks, [error] = asyncio.run(main())  # type: ignore[misc]
        assert isinstance(error, PluginTimeout)
        assert ticks > 3
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"

    def test_time_left(self, load: Load) -> None:
        """The plugin receives the remaining time."""
        plugin = load(timeout=2000)

        assert 1000e9 < int(call(plugin, "!left") or 0) <= 2000e9
        assert 500e9 < int(call(plugin, "!left", timeout=1000) or 0) <= 1000e9
        assert 1000e9 < int(asyncio.run(plugin.process_endpoint_data_async("/x", data="!left")) or 0) <= 2000e9

    def test_no_time(self, load: Load) -> None:
        """A call with no time left does not begin and kills no worker."""
        plugin = load()
        pid = call(plugin, "!pid")
        with pytest.raises(PluginTimeout, match="expired before the call began"):
            call(plugin, "hello", timeout=0)
        with pytest.raises(PluginTimeout, match="expired before the call began"):
            asyncio.run(plugin.process_endpoint_data_async("/x", timeout=0))

        assert call(plugin, "!pid") == pid

    @pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), 1e300])
    def test_no_timeout(self, load: Load, timeout: float) -> None:
        """An invalid timeout raises a ValueError, as with other isolations, and kills no worker."""
        plugin = load()
        pid = call(plugin, "!pid")
        with pytest.raises(ValueError, match="timeout must be 0 to 4000000 seconds, or None for no limit, not "):
            call(plugin, "hello", timeout=timeout)
        with pytest.raises(ValueError, match="timeout must be"):
            asyncio.run(plugin.process_endpoint_data_async("/x", timeout=timeout))

        assert call(plugin, "!pid") == pid

    def test_queue(self, load: Load, tmp_path: Path) -> None:
        """Calls wait for a worker up to their timeout and up to the size of the queue."""
        plugin = load(queue=1)
        with Inside(plugin, tmp_path) as inside:
            with pytest.raises(PluginTimeout, match="no worker process was free within 0.05 s"):
                call(plugin, "hello", timeout=0.05)
            with pytest.raises(PluginTimeout, match="no worker process was free within 0.05 s"):
                asyncio.run(plugin.process_endpoint_data_async("/x", timeout=0.05))
            waiting = threading.Thread(target=call, args=(plugin, "hello"))
            waiting.start()
            eventually(lambda: plugin.runner.waiting == 1)  # type: ignore[attr-defined]
            with pytest.raises(
                PluginUnavailable, match=r"its queue is full \(calls running: 1, waiting: 1\)"
            ) as caught:
                call(plugin, "hello")
            with pytest.raises(PluginUnavailable, match=r"its queue is full \(calls running: 1, waiting: 1\)"):
                asyncio.run(plugin.process_endpoint_data_async("/x"))
        waiting.join(PATIENCE)

        assert caught.value.retry_after == 1
        assert inside.result == "done"
        assert call(plugin, "hello") == "hello"

    def test_fair(self, load: Load, tmp_path: Path) -> None:
        """Waiting threads and tasks are served in the order of their arrival."""
        plugin = load()
        order: list[int] = []

        def wait(number: int) -> None:
            if number % 2:
                call(plugin, "hello")
            else:
                asyncio.run(plugin.process_endpoint_data_async("/x"))
            order.append(number)

        with Inside(plugin, tmp_path):
            threads = []
            for number in range(6):
                threads.append(threading.Thread(target=wait, args=(number,)))
                threads[-1].start()
                eventually(lambda: plugin.runner.waiting == len(threads))  # type: ignore[attr-defined]
            gate = [plugin.runner.workers.slots.waiting[i] for i in range(6)]  # type: ignore[attr-defined]
        for thread in threads:
            thread.join(PATIENCE)

        assert len(gate) == len(order) == 6

    def test_cancel(self, load: Load, tmp_path: Path) -> None:
        """A cancelled task stops waiting; its call continues, and the worker becomes free after it."""
        plugin = load()
        fifo = Fifo(tmp_path)
        pid = call(plugin, "!pid")

        async def main() -> None:
            task = asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data=f"!wait {fifo.path}"))
            await asyncio.to_thread(fifo.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert plugin.in_flight == 1
        fifo.close()
        assert call(plugin, "!pid", timeout=PATIENCE) == pid

    @pytest.mark.skipif(sys.platform == "win32", reason="the program is the same everywhere, the mailbox is Linux's")
    def test_cancel_while_busy(self, compile_plugin: CompilePlugin) -> None:
        """Calls cancelled while their replies arrive do not affect other calls; see ``isolated/cancelled.py``."""
        sleeps = ECHO.replace("#include", "#define _GNU_SOURCE\n#include <unistd.h>\n#include", 1).replace(
            "(void)plugin;", "(void)plugin;\n  usleep((useconds_t)atoi(request->data));", 1
        )
        path = compile_plugin(sleeps, "sleeps")
        script = Path(__file__).parent / "isolated" / "cancelled.py"
        done = subprocess.run([sys.executable, script, path, "5"], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")

    def test_cancel_late(self, load: Load) -> None:
        """The call of a cancelled task ends with its process if it times out."""
        plugin = load()

        async def main() -> None:
            await asyncio.wait_for(plugin.process_endpoint_data_async("/x", data="!hang", timeout=0.2), 0.05)

        with pytest.raises(TimeoutError):
            asyncio.run(main())
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"
        assert plugin.runner.restarts == 1  # type: ignore[attr-defined]

    def test_cancel_waiting(self, load: Load, tmp_path: Path) -> None:
        """A task cancelled while it waits for a worker leaves the queue."""
        plugin = load()

        async def main() -> None:
            await asyncio.wait_for(plugin.process_endpoint_data_async("/x"), 0.05)

        with Inside(plugin, tmp_path):
            with pytest.raises(TimeoutError):
                asyncio.run(main())
            assert plugin.runner.waiting == 0  # type: ignore[attr-defined]
        assert call(plugin, "hello") == "hello"

    def test_one_loop(self, load: Load, tmp_path: Path) -> None:
        """Queued calls of one event loop each get their own response, whatever happens to the others."""
        plugin = load()

        async def main() -> list[Any]:
            commands: list[Any] = [f"call {number}" for number in range(40)]
            commands[5], commands[10], commands[15], commands[20] = "!fail", object(), "!null", "!crash"
            calls = [asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data=data)) for data in commands]
            await asyncio.sleep(0)
            assert plugin.runner.waiting == len(calls)  # type: ignore[attr-defined]
            calls[25].cancel()
            await asyncio.to_thread(inside.__exit__)
            return await asyncio.gather(*calls, return_exceptions=True)

        inside = Inside(plugin, tmp_path)
        inside.__enter__()
        results = asyncio.run(main())

        kinds = {
            5: PluginError,
            10: TypeError,
            15: PluginContractError,
            20: PluginCrashed,
            25: asyncio.CancelledError,
        }
        assert {number: type(results[number]) for number in kinds} == kinds
        assert all(result == f"call {number}" for number, result in enumerate(results) if number not in kinds)
        assert plugin.in_flight == 0

    @pytest.mark.skipif(sys.platform != "linux", reason="there is a mailbox on Linux only")
    @pytest.mark.parametrize("transport", ["mailbox"], indirect=True)
    def test_reply_that_has_come(self, load: Load, tmp_path: Path) -> None:
        """With a mailbox, a call can use a worker whose reply has arrived but has not been read yet."""
        plugin = load()
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)

        async def main() -> None:
            first = asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data=f"!wait {fifo}"))
            os.close(await asyncio.to_thread(os.open, fifo, os.O_WRONLY))
            (begun,) = plugin.runner._begun  # type: ignore[attr-defined]
            eventually(lambda: begun.is_ready)  # without a turn of the loop
            second = asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data="hello"))
            assert not begun.future.done()
            await asyncio.sleep(0)  # the second has run as far as it can
            assert begun.future.done()
            assert plugin.runner.waiting == 0  # type: ignore[attr-defined]
            assert await asyncio.gather(first, second) == ["done", "hello"]

        asyncio.run(main())


class TestCrash:
    """A crash only ends one call."""

    def test_signal(self, load: Load) -> None:
        """The error of the call in flight has the signal and the last lines; the next call gets a new worker."""
        plugin = load()
        with pytest.raises(PluginCrashed, match=f"its worker process was ended by {CRASHED['segfault']}") as caught:
            call(plugin, "!crash")

        error = caught.value
        assert (error.signal, error.exit_code, error.endpoint) == (CRASHED["segfault"], None, "/x")
        assert last_words(error.stderr) == ("about to crash",)
        assert (error.code, error.plugin) == (Code.INTERNAL, "echo")
        assert call(plugin, "hello") == "hello"

    @pytest.mark.parametrize("number", [0, 3])
    def test_exit(self, load: Load, number: int) -> None:
        """A plugin that exits with any code has crashed, also in an event loop."""
        plugin = load()
        with pytest.raises(PluginCrashed, match=f"ended with exit code {number} during the call") as caught:
            asyncio.run(plugin.process_endpoint_data_async("/x", data=f"!exit {number}"))

        assert (caught.value.signal, caught.value.exit_code) == (None, number)
        assert asyncio.run(plugin.process_endpoint_data_async("/x", data="hello")) == "hello"

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells without the pipe's end")
    @pytest.mark.parametrize("how", ["sync", "async"])
    def test_pipes_outlive_it(self, load: Load, how: str, transport: str) -> None:
        """A crash is noticed although another process holds the worker's pipes open, and that one is ended, too."""
        if transport == "threads":
            pytest.skip("on Windows a job takes all of its processes along")
        plugin = load()
        ask: Callable[[], object] = {
            "sync": lambda: call(plugin, "!forkcrash", timeout=PATIENCE),
            "async": lambda: asyncio.run(plugin.process_endpoint_data_async("/x", data="!forkcrash", timeout=PATIENCE)),
        }[how]
        with pytest.raises(PluginCrashed, match="SIGSEGV") as caught:
            ask()

        child = int(last_words(caught.value.stderr)[-1])
        eventually(lambda: not is_alive(child))  # although it has left the group, and its parent is gone

    @pytest.mark.skipif(
        sys.platform not in ("linux", "win32"), reason="the system does not tell whose child a process is"
    )
    @pytest.mark.parametrize("kind", ["!child", "!daemon"])
    def test_children(self, load: Load, kind: str) -> None:
        """Processes that a plugin has started end with its worker, even outside its process group."""
        plugin = load()
        child = int(call(plugin, kind + CHILD) or 0)
        assert is_alive(child)
        with pytest.raises(PluginTimeout):
            call(plugin, "!hang", timeout=0.05)

        eventually(lambda: not is_alive(child))

    def test_idle(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        """A worker that ends between calls is replaced, and logged once."""
        plugin = load()
        os.kill(int(call(plugin, "!pid") or 0), KILL)
        eventually(lambda: plugin.runner.restarts == 1)  # type: ignore[attr-defined]

        assert call(plugin, "hello") == "hello"
        assert [record.levelname for record in caplog.records if "between calls" in record.message] == ["WARNING"]
        how = "exit code 15" if sys.platform == "win32" else "SIGKILL (killed)"  # as os.kill says there
        assert f"{how} between calls" in caplog.text

    def test_many(self, load: Load) -> None:
        """After two hundred crashes there are as many descriptors, threads and processes as before."""
        plugin = load(workers=2)

        def count() -> tuple[int, int, int]:
            tasks = Path("/proc/self/task").glob("*/children")
            children = [child for task in tasks for child in task.read_text().split()]
            return len(descriptors()), threading.active_count(), len(children)

        call(plugin, "hello")
        before = count()
        for number in range(200):
            with pytest.raises(PluginCrashed):
                call(plugin, f"!exit {number % 7}", timeout=PATIENCE)
        eventually(lambda: len(plugin.runner.pids) == 2 and plugin.runner.restarts == 200)  # type: ignore[attr-defined]

        if sys.platform == "linux":
            eventually(lambda: count() == before)

    def test_garbage(self, load: Load, transport: str) -> None:
        """A worker that sends an invalid frame is killed, and the call's error gives the reason."""
        plugin = load()
        texts = []
        for _ in range(2):
            try:
                texts.append(call(plugin, "!garbage", timeout=PATIENCE))
            except (PluginContractError, PluginCrashed) as error:
                texts.append(str(error))

        assert any("frame" in (text or "") or "garbage" in (text or "") for text in texts)
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"

    @pytest.mark.skipif(sys.platform == "win32", reason="there nobody can write to a library that is open")
    def test_replaced_copy(self, load: Load, compile_plugin: CompilePlugin) -> None:
        """A modified private copy is not started again, but replaced by a new copy."""
        plugin = load()
        copy = Path(plugin.runner.workers._job.path())  # type: ignore[attr-defined]
        copy.chmod(0o700)
        copy.unlink()
        copy.write_bytes(b"something else")
        with pytest.raises(PluginCrashed):
            call(plugin, "!exit 1")

        assert call(plugin, "hello", timeout=PATIENCE) == "hello"


class TestRestart:
    """Restarts of workers."""

    FLAGGED = UNRULY.replace(
        "*out = plugin;",
        'const char *name = getenv("BACKWORKS_TEST_FLAG");\n'
        'FILE *flag = name == NULL ? NULL : fopen(name, "r");\n'
        'if (flag != NULL) return backworks_fail(error, 9, "there is a flag");\n*out = plugin;',
    )

    def test_outage(
        self, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A plugin that cannot restart says why from the first failure on, and runs again when the cause has passed."""
        flag = tmp_path / "flag"
        monkeypatch.setenv("BACKWORKS_TEST_FLAG", str(flag))
        restart = Restart(initial=0.001, maximum=0.002)
        plugin = load(self.FLAGGED, "flagged", restart=restart, environment=("BACKWORKS_TEST_FLAG",))
        flag.touch()
        with pytest.raises(PluginCrashed):
            call(plugin, "!exit 1")
        eventually(lambda: sum("there is a flag" in text for text in caplog.messages) >= 20)

        health = plugin.health()
        assert (health.ok, health.state, health.code) == (False, "restarting", Code.UNAVAILABLE)
        assert "no worker process runs: " in health.message
        assert "there is a flag" in health.message
        flag.unlink()
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"
        assert plugin.health().ok

    def test_kills(self, load: Load) -> None:
        """Workers that had worked are replaced at once, however often they are killed."""
        plugin = load(workers=2, restart=Restart(initial=PATIENCE, maximum=PATIENCE))
        for _ in range(10):
            pid = int(call(plugin, "!pid", timeout=PATIENCE) or 0)
            os.kill(pid, KILL)
            eventually(lambda pid=pid: pid not in plugin.runner.pids)  # type: ignore[misc]
            assert call(plugin, "hello", timeout=PATIENCE) == "hello"

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors")
    def test_shortage(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        """A host without descriptors is no failure of the plugin: one line says what is short, and it starts later."""
        plugin = load()
        assert call(plugin, "hello") == "hello"
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
        taken = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            os.kill(plugin.runner.pids[0], KILL)
            eventually(lambda: "file descriptors" in plugin.health().message)
        finally:
            for each in taken:
                os.close(each)
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert call(plugin, "hello", timeout=PATIENCE) == "hello"
        assert sum("file descriptors" in text for text in caplog.messages) == 1

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors")
    def test_shortage_while_checking(self, compile_plugin: CompilePlugin) -> None:
        """So is a host that has no descriptor left to check the private copy with."""
        job = LibraryJob(prepare(compile_plugin()), b"{}", "echo")
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
        try:
            with pytest.raises(OSError, match="cannot read the file") as caught:
                job.path()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert caught.value.errno == errno.EMFILE
        assert job.path()

    def test_dropped(self, load: Load) -> None:
        """The worker processes of a plugin that is dropped without close end, with their descriptors and threads."""
        plugin = backworks.load(load().path, isolation="process", workers=2)
        pids = plugin.runner.pids
        with pytest.warns(ResourceWarning, match="was never closed"):
            del plugin
            gc.collect()

        eventually(lambda: not any(map(is_alive, pids)))

    def test_waits(self, load: Load) -> None:
        """Without a running worker, a call that cannot get one in time is rejected with the time of the next start."""
        plugin = load(restart=Restart(initial=2000, maximum=3000))
        with pytest.raises(PluginCrashed):
            call(plugin, "!exit 1")
        with pytest.raises(PluginCrashed):
            call(plugin, "!exit 1")
        eventually(lambda: plugin.state == "restarting")

        with pytest.raises(PluginUnavailable, match="the next start is in") as caught:
            eventually(lambda: call(plugin, "hello", timeout=0.5) and False)
        assert 500 < (caught.value.retry_after or 0) <= 2000


class TestHealth:
    """Health checks of workers."""

    SICK = (
        UNRULY
        + """
int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  return backworks_fail(response, BACKWORKS_UNAVAILABLE, "pid %d", (int)getpid());
}
"""
    )

    def test_health(self, load: Load) -> None:
        """A worker returns the plugin's health; a plugin without a health check is healthy."""
        plugin = load(self.SICK, "sick")

        health = plugin.health()
        assert (health.ok, health.code) == (False, Code.UNAVAILABLE)
        assert health.message.startswith("pid ")
        assert load().health().ok

    def test_busy(self, load: Load, tmp_path: Path) -> None:
        """Busy workers are healthy."""
        plugin = load(self.SICK, "sick")
        with Inside(plugin, tmp_path):
            assert plugin.health().ok

    def test_check_workers(self, load: Load) -> None:
        """Every free worker can be checked and replaced."""
        plugin = load(self.SICK, "sick", workers=3)
        runner: Any = plugin.runner

        found = runner.check_workers(PATIENCE)
        assert sorted(pid for pid, _ in found) == sorted(runner.pids)
        assert {reply.code for _, reply in found} == {14}
        runner.replace(found[0][0], "no good")
        eventually(lambda: runner.restarts == 1 and len(runner.pids) == 3)
        assert found[0][0] not in runner.pids


class TestClose:
    """Closing a plugin."""

    def test_waits(self, load: Load, tmp_path: Path) -> None:
        """Close rejects new calls and waits for calls in flight and in the queue."""
        plugin = load()
        closed: list[bool] = []
        with Inside(plugin, tmp_path) as inside:
            waiting = threading.Thread(target=lambda: closed.append(call(plugin, "hello") == "hello"))
            waiting.start()
            eventually(lambda: plugin.runner.waiting == 1)  # type: ignore[attr-defined]
            closing = threading.Thread(target=lambda: closed.append(plugin.close(PATIENCE)))
            closing.start()
            eventually(lambda: plugin.state == "closing")
            with pytest.raises(PluginStateError, match="called while it is closing"):
                call(plugin, "hello")
        closing.join(PATIENCE)
        waiting.join(PATIENCE)

        assert closed == [True, True]
        assert inside.result == "done"
        assert plugin.state == "closed"
        with pytest.raises(PluginStateError, match="called while it is closed"):
            call(plugin, "hello")
        assert plugin.close()

    def test_call_inside(self, load: Load, tmp_path: Path) -> None:
        """Close kills a call that does not return in time, and its result shows that."""
        plugin = load()
        with Inside(plugin, tmp_path) as inside:
            assert plugin.close(0.05) is False

        assert isinstance(inside.result, PluginUnavailable)
        assert "the plugin was closed" in str(inside.result)

    @pytest.mark.parametrize(("ending", "calm"), [("for (;;) { }", False), ("abort();", True), ("return 13;", True)])
    def test_bad_shutdown(self, load: Load, ending: str, calm: bool, caplog: pytest.LogCaptureFixture) -> None:
        """A shutdown that hangs is killed, and other faults of a shutdown are logged."""
        plugin = load(UNRULY.replace("  free(plugin);", f"  free(plugin);\n  {ending}"), "ending")

        assert plugin.close(0.5 if not calm else PATIENCE) is calm
        eventually(
            lambda: [each.levelname for each in caplog.records if last_words([each.getMessage()])] == ["WARNING"]
        )

    def test_at_once(self, load: Load) -> None:
        """A hundred workers start, respond and end at the same time."""
        plugin = load(workers=100)
        pids: set[str | None] = set()

        async def main() -> None:
            pids.update(
                await asyncio.gather(*(plugin.process_endpoint_data_async("/x", data="!pid") for _ in range(100)))
            )

        asyncio.run(main())
        assert pids <= {str(pid) for pid in plugin.runner.pids}  # type: ignore[attr-defined]
        assert plugin.close(PATIENCE)

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a thread")
    def test_interrupted(self, load: Load, tmp_path: Path) -> None:
        """A close that a signal handler interrupts kills the worker processes before the exception goes on."""
        plugin = load()
        (pid,) = plugin.runner.pids  # type: ignore[attr-defined]
        main = threading.get_ident()

        def interrupt() -> None:
            eventually(lambda: plugin.state == "closing")
            signal.pthread_kill(main, signal.SIGUSR1)

        def raise_it(number: int, frame: FrameType | None) -> None:
            raise InterruptedError

        before = signal.signal(signal.SIGUSR1, raise_it)
        try:
            with Inside(plugin, tmp_path) as inside:
                thread = threading.Thread(target=interrupt)
                thread.start()
                with pytest.raises(InterruptedError):
                    plugin.close()
                thread.join(PATIENCE)
        finally:
            signal.signal(signal.SIGUSR1, before)

        eventually(lambda: not is_alive(pid))
        assert plugin.state == "closed"
        assert isinstance(inside.result, PluginUnavailable)

    def test_abandoned_call_that_crashes(self, load: Load, tmp_path: Path) -> None:
        """A close without a limit does not wait for a worker that dies in a call that no task waits for."""
        plugin = load()
        fifo = Fifo(tmp_path)

        async def main() -> None:
            task = asyncio.ensure_future(plugin.process_endpoint_data_async("/x", data=f"!wait {fifo.path}"))
            await asyncio.to_thread(fifo.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        (pid,) = plugin.runner.pids  # type: ignore[attr-defined]
        closing = threading.Thread(target=plugin.close)
        closing.start()
        eventually(lambda: plugin.state == "closing")
        os.kill(pid, KILL)
        closing.join(PATIENCE)

        assert (closing.is_alive(), plugin.state) == (False, "closed")
        fifo.close()

    @pytest.mark.skipif(sys.platform == "win32", reason="a FIFO holds the start up")
    def test_while_restarting(self, load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """A worker that is starting when the plugin is closed is ended once."""
        held = tmp_path / "held"
        source = UNRULY.replace(
            "*out = plugin;", f'if (access("{held}", F_OK) == 0) (void)open("{held}", O_RDONLY);\n*out = plugin;'
        )
        plugin = load(source, "held")
        os.mkfifo(held)
        with pytest.raises(PluginCrashed):
            call(plugin, "!exit 1")
        eventually(lambda: plugin.runner.restarts == 1)  # type: ignore[attr-defined]

        plugin.close(PATIENCE)
        assert not [record for record in caplog.records if record.name == "asyncio"]

    def test_interpreter_ends(self, compile_plugin: CompilePlugin, tmp_path: Path) -> None:
        """Workers end when their host exits or is killed."""
        import subprocess

        for end in ("", f"import os; os.kill(os.getpid(), {KILL:d})"):
            script = (
                "import backworks, sys\n"
                f"plugin = backworks.load({str(compile_plugin(UNRULY, 'unruly'))!r}, isolation='process')\n"
                f"print(plugin.process_endpoint_data('/x', data={'!daemon' + CHILD!r}))\n"
                "print(plugin.process_endpoint_data('/x', data='!pid'), flush=True)\n" + end
            )
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.PIPE, timeout=PATIENCE, check=False
            )
            daemon, pid = (int(line) for line in done.stdout.split())

            eventually(lambda: not is_alive(pid) and not is_alive(daemon))  # noqa: B023


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
class TestFork:
    """Forked children and workers."""

    def test_fork(self, load: Load) -> None:
        """A forked child can neither use nor end its parent's workers, but can load its own plugins."""
        plugin = load()
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            text = "?"
            try:
                with pytest.raises(PluginStateError, match="load the plugin after the fork"):
                    call(plugin, "hello")
                plugin.close()
                with backworks.load(plugin.path or "", isolation="process") as own:
                    text = str(call(own, "from the child"))
            except BaseException as error:
                text = repr(error)
            finally:
                os.write(writing, text.encode())
                os._exit(0)
        os.close(writing)
        os.waitpid(child, 0)
        found = os.read(reading, 1000).decode()
        os.close(reading)

        assert found == "from the child"
        assert call(plugin, "hello") == "hello"


class TestLog:
    """Log records and output of plugins."""

    def test_records(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        """Log records and lines on stderr reach the plugin's logger."""
        plugin = load()
        call(plugin, "!log one % two")
        call(plugin, "!stderr a partial ")
        call(plugin, "!stderr line\n")
        eventually(lambda: len(caplog.records) == 2)

        assert {(record.name, record.levelno, record.getMessage()) for record in caplog.records} == {
            ("backworks.plugin.echo", logging.WARNING, "one % two"),
            ("backworks.plugin.echo", logging.WARNING, "a partial line"),
        }

    def test_flood(self, load: Load, caplog: pytest.LogCaptureFixture) -> None:
        """A flood on stderr neither blocks the plugin nor fills the log."""
        plugin = load()
        assert call(plugin, "!flood 100000") == "!flood 100000"
        with pytest.raises(PluginCrashed) as caught:
            call(plugin, "!crash")

        assert last_words(caught.value.stderr)[-2:] == ("line 99999", "about to crash")
        assert len(caught.value.stderr) == 20
        assert len(caplog.records) < 700
        assert "more lines on stderr were dropped" in caplog.text

    def test_handler_calls(self, load: Load) -> None:
        """A log handler may call the plugin that logs, and gets an error if that is impossible."""
        plugin = load(workers=2)
        found: list[object] = []

        class Handler(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                try:
                    found.append(call(plugin, "hello"))
                    plugin.close()
                except PluginStateError as error:
                    found.append(error)

        logger = logging.getLogger("backworks.plugin.echo")
        handler = Handler()
        logger.addHandler(handler)
        try:
            call(plugin, "!log now")
            eventually(lambda: len(found) == 2)
        finally:
            logger.removeHandler(handler)

        assert found[0] == "hello"
        assert isinstance(found[1], PluginStateError)


def test_supervisor_of_nobody(load: Load) -> None:
    """The supervisor's thread ends with the last plugin and starts again with the next."""
    for _ in range(3):
        plugin = load()
        assert call(plugin, "hello") == "hello"
        plugin.close()
    assert supervisor._shared.current is None


def test_late_call_leaves_nothing(load: Load) -> None:
    """A worker that was killed for a late call is forgotten when it has ended, and its successor is asked how it is."""
    plugin = load(workers=1)
    runner = plugin.runner
    assert isinstance(runner, ProcessRunner)
    ended = runner.workers.ready[0].gone
    with pytest.raises(PluginTimeout):
        plugin.process_endpoint_data("/", "POST", "!hang", timeout=0.1)
    ended.result(PATIENCE)

    assert plugin.process_endpoint_data("/", "POST", "again", timeout=PATIENCE) == "again"
    assert not runner.free.attentive
    assert [pid for pid, _ in runner.check_workers(PATIENCE)] == list(runner.pids)


def test_interrupted_wait(load: Load) -> None:
    """A signal's handler that raises on any line of the wait for a slot costs no slot."""
    plugin = load(workers=1)
    runner = plugin.runner
    assert isinstance(runner, ProcessRunner)
    code = Slots.wait.__code__
    lines = sorted({line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno})
    interrupted = 0

    for line in lines:

        def interrupt(frame: FrameType, event: str, _: object, line: int = line) -> Any:
            if frame.f_code is not code:
                return None
            if event == "line" and frame.f_lineno == line:
                raise InterruptedError
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            slot, _ = runner.workers.slots.wait(PATIENCE)
        except InterruptedError:
            interrupted += 1
        else:
            runner.free.give(slot)
        finally:
            sys.settrace(before)
        assert len(runner.free) == 1, line
    assert interrupted


def _interruptible(code: CodeType) -> set[int]:
    """Returns where signal handlers can run: at the start of the function, after calls and after backward jumps."""
    found, after = set(), False
    for instruction in dis.get_instructions(code):
        if after and not instruction.opname.startswith(("RESUME", "CACHE")):
            found.add(instruction.offset)
        after = instruction.opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))
    return found


class _Interrupter:
    """Raises ``InterruptedError`` at one of the places where a signal handler can run in some functions.

    Args:
        number: The number of the place in the order of execution, from 0.
        functions: The functions.
    """

    def __init__(self, number: int, *functions: Callable[..., object]) -> None:
        self._left = number
        self._places = {function.__code__: _interruptible(function.__code__) for function in functions}

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        places = self._places.get(frame.f_code)
        if places is None:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in places:
            self._left -= 1
            if self._left < 0:
                sys.settrace(None)
                raise InterruptedError
        return self._trace


def _interrupts() -> Iterator[int]:
    """Yields numbers until :func:`_interrupted` has found nothing to interrupt."""
    yield from range(1000)
    pytest.fail("the interruptions do not end")


def test_interrupted_while_it_waits(load: Load) -> None:
    """A signal handler that raises anywhere in a call that waits for a worker costs no worker."""
    plugin = load(workers=1)
    runner = plugin.runner
    assert isinstance(runner, ProcessRunner)
    functions = (ProcessRunner.process, Slots.wait, Slots.join, Slots._dispatch, Slots._attend, WorkerSet._admit)
    for number in _interrupts():
        slot = runner.free.take()
        assert slot is not None
        interrupted = threading.Event()

        def give(slot: Slot, interrupted: threading.Event) -> None:
            while not runner.waiting and not interrupted.is_set():
                time.sleep(0)
            runner.free.give(slot)

        giver = threading.Thread(target=give, args=(slot, interrupted))
        giver.start()
        del slot
        try:
            with _Interrupter(number, *functions):
                runner.process("/", "POST", "x", PATIENCE, None, None)
        except InterruptedError:
            interrupted.set()
            giver.join()
        else:
            giver.join()
            break
        assert runner.process("/", "POST", "again", PATIENCE, None, None).data == b"again"
    assert number


def test_interrupted_while_it_gives_back(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler that raises anywhere in giving a worker back costs neither the worker nor the waiting call."""
    monkeypatch.setattr(slots, "_CHECK", 0.01)
    plugin = load(workers=1)
    runner = plugin.runner
    assert isinstance(runner, ProcessRunner)
    functions = (Slots.look, Slots._dispatch, Slots._attend, ThreadWaiter.wake)
    with ThreadPoolExecutor(1) as pool:
        for number in _interrupts():
            slot = runner.free.take()
            assert slot is not None
            waiting = pool.submit(runner.process, "/", "POST", "x", PATIENCE, None, None)
            while not runner.waiting:
                time.sleep(0)
            try:
                with _Interrupter(number, *functions):
                    runner.free.give(slot)
            except InterruptedError:
                del slot
            else:
                break
            assert waiting.result(PATIENCE).data == b"x"
            assert runner.process("/", "POST", "again", PATIENCE, None, None).data == b"again"
    assert number


def test_closed_event_loop(load: Load, tmp_path: Path) -> None:
    """An event loop that is closed while its call waits for the reply costs no worker."""
    plugin = load(workers=1)
    fifo = Fifo(tmp_path)
    loop = asyncio.new_event_loop()
    task = loop.create_task(plugin.process_endpoint_data_async("/", "POST", f"!wait {fifo.path}"))
    loop.run_until_complete(loop.run_in_executor(None, fifo.wait))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    fifo.close()

    assert plugin.process_endpoint_data("/", "POST", "again", timeout=PATIENCE) == "again"
    del task
    gc.collect()
    assert plugin.process_endpoint_data("/", "POST", "again", timeout=PATIENCE) == "again"


def test_interrupted_last_words(load: Load) -> None:
    """A signal's handler that raises while a call waits for the end of its worker costs no worker."""
    plugin = load(workers=1)

    def interrupt(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code is Future.result.__code__:
            raise InterruptedError

    before = sys.gettrace()
    sys.settrace(interrupt)
    try:
        with pytest.raises(InterruptedError):
            plugin.process_endpoint_data("/", "POST", "!exit 3", timeout=PATIENCE)
    finally:
        sys.settrace(before)

    assert plugin.process_endpoint_data("/", "POST", "again", timeout=PATIENCE) == "again"
