"""``isolation: thread`` over the compiled binding: what native threads must do that Python threads do by themselves."""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest
from conftest import CompilePlugin, missing
from gate import GATED, PATIENCE, Gate

import backworks
from backworks.isolation.channels.thread import NativeThreadRunner

ROOT = Path(__file__).resolve().parent.parent
FASTPATH = ROOT / "native" / "fastpath"


@pytest.fixture(autouse=True)
def _native(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("backworks.ffi._native") is None:
        missing("the extension module")
    backworks.ffi.binding.cache_clear()
    monkeypatch.setenv("BACKWORKS_FFI", "native")


def run_python(program: str, path: Path, *, expected: int = 0) -> str:
    """Runs a program with ``plugin`` loaded from the path; returns what it printed."""
    text = f"import backworks\nplugin = backworks.load({str(path)!r}, isolation='thread')\n{program}"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)

    assert done.returncode == expected, done.stderr
    return done.stdout


class TestPool:
    """``native/fastpath/threadpool.c`` without Python."""

    @pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
    def test_sanitizers(self, cc: list[str], sanitizer: str, tmp_path: Path) -> None:
        """Waiting for, dropping, abandoning and watching jobs causes no data race, no leak and no lost job."""
        if sys.platform == "win32":
            pytest.skip("no sanitizer for threads on Windows")
        driver = tmp_path / "driver"
        sources = [str(ROOT / "tests" / "pool_driver.c"), str(FASTPATH / "threadpool.c")]
        flags = ["-std=c11", "-O1", "-g", f"-fsanitize={sanitizer}", f"-I{FASTPATH}", "-pthread", "-o", str(driver)]
        if subprocess.run([*cc, *flags, *sources], check=False).returncode:
            missing("a C compiler with sanitizers")
        done = subprocess.run([driver], capture_output=True, text=True, check=False)

        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "16000 of 16000 jobs ended\n"

    @pytest.mark.parametrize("target", ["x86_64-windows-gnu", "aarch64-macos", "x86_64-linux-musl"])
    def test_other_systems(self, target: str, tmp_path: Path) -> None:
        """It compiles without a warning for systems other than this one."""
        if importlib.util.find_spec("ziglang") is None:
            missing("the Python package ziglang")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-std=c11", "-Wall", "-Wextra", "-Werror"]
        source = str(FASTPATH / "threadpool.c")
        subprocess.run([*command, "-c", source, "-o", str(tmp_path / "threadpool.o")], check=True)


class TestCalls:
    """Calls in native threads."""

    def test_no_wake_up_is_lost(self, compile_plugin: CompilePlugin) -> None:
        """Each of 100,000 calls from threads and tasks gets its own reply."""
        threads, tasks, calls = 4, 4, 12_500
        wrong: list[object] = []

        def check(asked: str, answered: str | None) -> None:
            if answered != asked:
                wrong.append((asked, answered))

        def ask(who: int) -> None:
            for i in range(calls):
                check(f"{who}.{i}", plugin.process_endpoint_data("/", "GET", f"{who}.{i}"))

        async def ask_async(who: int) -> None:
            for i in range(calls):
                check(f"{who}.{i}", await plugin.process_endpoint_data_async("/", "GET", f"{who}.{i}", timeout=60))

        async def main() -> None:
            await asyncio.gather(*(ask_async(100 + i) for i in range(tasks)))

        with backworks.load(compile_plugin(), isolation="thread", workers=3) as plugin:
            assert isinstance(plugin.runner, NativeThreadRunner)
            callers = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(threads)]
            for caller in callers:
                caller.start()
            asyncio.run(main())
            for caller in callers:
                caller.join(PATIENCE)

            assert not any(caller.is_alive() for caller in callers)
            assert wrong == []
            assert plugin.in_flight == 0

    def test_event_loop_waits(self, compile_plugin: CompilePlugin) -> None:
        """Slow calls do not block the event loop, and each task gets its own reply."""

        async def main() -> list[str | None]:
            calls = [asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", str(i))) for i in range(8)]
            for _ in calls:
                await asyncio.to_thread(gate.wait)
            gate.open()
            return await asyncio.wait_for(asyncio.gather(*calls), PATIENCE)

        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread", workers=8) as plugin, Gate() as gate:
            assert asyncio.run(main()) == [str(i) for i in range(8)]

    def test_event_loop_without_descriptors(self, compile_plugin: CompilePlugin) -> None:
        """An event loop that cannot watch descriptors, such as that of Windows, is notified too."""

        class Loop(asyncio.SelectorEventLoop):
            def add_reader(self, *arguments: object) -> None:
                raise NotImplementedError

        async def main() -> str | None:
            call = asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", "here"))
            await asyncio.to_thread(gate.wait)
            gate.open()
            return await asyncio.wait_for(call, PATIENCE)

        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            with asyncio.Runner(loop_factory=Loop) as runner:
                assert runner.run(main()) == "here"

    def test_loop_is_left(self, compile_plugin: CompilePlugin) -> None:
        """A loop that is closed during a call is freed, and calls work in the next loop."""

        async def leave() -> None:
            loops.append(weakref.ref(asyncio.get_running_loop()))
            call = asyncio.create_task(plugin.process_endpoint_data_async("/"))
            await asyncio.to_thread(gate.wait)
            call.cancel()

        async def main() -> str | None:
            return await plugin.process_endpoint_data_async("/", "GET", "next")

        loops: list[weakref.ref[asyncio.AbstractEventLoop]] = []
        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            asyncio.run(leave())
            gc.collect()
            assert loops[0]() is None
            gate.open()

            assert asyncio.run(main()) == "next"

    def test_data_is_the_call_s_own(self, compile_plugin: CompilePlugin) -> None:
        """Changing a buffer while its call is queued does not change what the plugin receives."""

        async def main() -> tuple[str | None, str | None]:
            first = asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", "first"))
            await asyncio.to_thread(gate.wait)
            data = bytearray(b"before")
            second = asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", data))
            await asyncio.sleep(0)  # lets it begin
            assert plugin.in_flight == 2
            data[:] = b"afterwards"
            gate.open()
            return await first, await second

        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread", workers=1) as plugin, Gate() as gate:
            assert asyncio.run(main()) == ("first", "before")

    def test_abandoned_call_is_freed(self, compile_plugin: CompilePlugin) -> None:
        """The data of an abandoned call is released once the call has returned."""
        data = b"abandoned".ljust(100)
        references = sys.getrefcount(data)
        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            with pytest.raises(backworks.PluginTimeout):
                plugin.process_endpoint_data("/", "GET", data, timeout=0.05)
            assert sys.getrefcount(data) > references
            gate.open()
            assert plugin.close(PATIENCE)

        assert sys.getrefcount(data) == references


class TestProcess:
    """The process around the threads."""

    def test_interrupt(self, compile_plugin: CompilePlugin) -> None:
        """Ctrl-C interrupts the main thread's wait; the call keeps running."""
        if sys.platform == "win32":
            pytest.skip("a process cannot send itself this signal there")
        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:

            def interrupt() -> None:
                gate.wait()
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=interrupt, daemon=True).start()
            with pytest.raises(KeyboardInterrupt):
                plugin.process_endpoint_data("/")

            assert (plugin.in_flight, plugin.state) == (1, "running")
            gate.open()

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_fork(self, compile_plugin: CompilePlugin) -> None:
        """In a forked child calls fail, the plugin can be loaded again, and the child can exit."""
        program = f"""
import os
print(plugin.process_endpoint_data("/", "GET", "before"), flush=True)
child = os.fork()
if child == 0:
    try:
        plugin.process_endpoint_data("/")
    except backworks.PluginStateError as error:
        print(error, plugin.state, plugin.close(), flush=True)
    with backworks.load({str(compile_plugin())!r}, isolation="thread") as own:
        print(own.process_endpoint_data("/", "GET", "own"), flush=True)
else:
    assert os.waitpid(child, 0)[1] == 0
    print(plugin.process_endpoint_data("/", "GET", "after"), flush=True)
    plugin.close()
"""
        refused = (
            "echo: this process was forked after the plugin was loaded and has none of its threads; "
            "load the plugin after the fork"
        )
        assert run_python(program, compile_plugin()).splitlines() == [
            "before",
            refused + " closed True",
            "own",
            "after",
        ]

    def test_end(self, compile_plugin: CompilePlugin) -> None:
        """A process with an unclosed plugin can exit while calls are queued, running and arriving."""
        program = """
import threading, warnings
warnings.simplefilter("ignore")
many = threading.Semaphore(0)
def ask():
    while True:
        plugin.process_endpoint_data("/", "GET", "x" * 10_000)
        many.release()
for _ in range(8):
    threading.Thread(target=ask, daemon=True).start()
for _ in range(100):
    many.acquire()
print("end")
"""
        assert run_python(program, compile_plugin()) == "end\n"

    @pytest.mark.parametrize("binding", list(backworks.ffi.BINDINGS))
    def test_close_at_exit(self, compile_plugin: CompilePlugin, monkeypatch: pytest.MonkeyPatch, binding: str) -> None:
        """A plugin can be closed at interpreter exit, where some Python versions cannot start threads."""
        program = """
import atexit
plugin.process_endpoint_data("/")
atexit.register(lambda: print(plugin.close(), plugin.state))
"""
        monkeypatch.setenv("BACKWORKS_FFI", binding)

        assert run_python(program, compile_plugin()) == "True closed\n"

    @pytest.mark.parametrize("where", ["in C", "in Python"])
    @pytest.mark.parametrize("binding", list(backworks.ffi.BINDINGS))
    def test_end_with_a_call_that_hangs(
        self, compile_plugin: CompilePlugin, monkeypatch: pytest.MonkeyPatch, binding: str, where: str
    ) -> None:
        """A process can exit although a call never returns, whether its caller still waits or has abandoned it."""
        program = f"""
import logging, threading
class Hangs(logging.Handler):
    def handle(self, record):
        if record.getMessage() == "inside":
            inside.release()
            if {where == "in Python"}:
                threading.Event().wait()
inside = threading.Semaphore(0)
logger = logging.getLogger("backworks.plugin.echo")
logger.addHandler(Hangs())
logger.setLevel(logging.INFO)
threading.Thread(target=plugin.process_endpoint_data, args=("/",), daemon=True).start()
inside.acquire()
try:
    plugin.process_endpoint_data("/", timeout=0.05)
except backworks.PluginTimeout as error:
    print(error)
print(plugin.close(0.05), plugin.state)
"""
        source = GATED
        if where == "in C":
            source = "#ifdef _WIN32\n#include <windows.h>\n#else\n#include <unistd.h>\n#endif\n" + GATED.replace(
                "  return backworks_answer(",
                "#ifdef _WIN32\n  Sleep(INFINITE);\n#else\n  while (pause()) {}\n#endif\n  return backworks_answer(",
            )
        monkeypatch.setenv("BACKWORKS_FFI", binding)

        assert run_python(program, compile_plugin(source, "hangs")).splitlines() == [
            "echo: DEADLINE_EXCEEDED: no answer within 0.05 s",
            "False abandoned",
        ]


def test_python_threads() -> None:
    """Python threads, which serve the other bindings, pass the same tests."""
    tests = [f"{ROOT / 'tests' / 'test_plugin.py'}::{name}" for name in ("TestThreads", "TestTimeout", "TestClose")]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    binding = "cffi" if importlib.util.find_spec("cffi") else "ctypes"
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"BACKWORKS_FFI": binding},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout
