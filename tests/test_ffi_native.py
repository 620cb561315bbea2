"""Features of the compiled binding beyond the contract: see :mod:`backworks.ffi.native`."""

from __future__ import annotations

import contextlib
import gc
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest
from conftest import ECHO, PATIENCE, CompilePlugin, missing
from sources import EXTENSION
from test_ffi import MANY_ANSWERS

from backworks import BackworksError, ffi, sdk
from backworks.ffi import logs
from backworks.ffi.contract import ContractViolation, Reply
from backworks.loading.loader import DynamicPluginLoader
from backworks.loading.prepared import prepare
from backworks.settings import Settings
from backworks.starting import start

#: Echoes all fields of the request, and logs from free_string and from its own thread.
TALKER = (
    ECHO.replace("BACKWORKS_PLUGIN_FREE_STRING", "")
    .replace("backworks_plugin_process_endpoint_data", "echo_process")
    .replace("int32_t echo_process", "static int32_t echo_process")
    .replace("backworks_plugin_shutdown", "echo_shutdown")
    .replace("int32_t echo_shutdown", "static int32_t echo_shutdown")
    + """
static const backworks_host *last_host;
static int shut_down;

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  backworks_log(last_host, 10, "freed");
  free(data);
}

int32_t backworks_plugin_shutdown(backworks_plugin *plugin) {
  shut_down++;
  return echo_shutdown(plugin);
}

const char *backworks_plugin_description(void) { return shut_down == 1 ? "shut down once" : "other"; }

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  char *all;
  last_host = plugin->host;
  if (!backworks_equal(request->endpoint, request->endpoint_size, "all")) {
    return echo_process(plugin, request, response);
  }
  all = malloc(200);
  return backworks_answer_owned(
      response, all,
      (size_t)snprintf(all, 200, "%.*s|%.*s|%d|%.*s|%.*s", (int)request->method_size, request->method,
                       (int)request->data_size, request->data, (int)request->time_left_ns,
                       (int)request->traceparent_size, request->traceparent ? request->traceparent : "",
                       (int)request->tracestate_size, request->tracestate ? request->tracestate : ""));
}
"""
)

#: Answers OK with an instance and, against the rules, with an error that has a size and no data.
BROKEN_INIT = TALKER.replace("*out = plugin;", "*out = plugin;\n  error->size = 7;")

#: Logs from its own thread until the process exits, including during shutdown.
CHATTERBOX = ECHO.replace(
    "#include <backworks_plugin.h>",
    """
#include <backworks_plugin.h>
#include <pthread.h>

static void *chatter(void *host) {
  for (;;) {
    backworks_log((const backworks_host *)host, 10, "still here");
  }
  return NULL;
}
""",
).replace(
    "*out = plugin;",
    """pthread_t thread;
  if (pthread_create(&thread, NULL, chatter, (void *)(size_t)host) != 0) {
    return BACKWORKS_INTERNAL;
  }
  pthread_detach(thread);
  *out = plugin;""",
)


@pytest.fixture(name="native")
def _native() -> Any:
    """Returns the extension module that ``pip install`` builds."""
    try:
        return importlib.import_module("backworks.ffi._native")
    except ImportError as error:
        missing(f"the extension module ({error})")


@pytest.fixture(name="instance")
def _instance(native: Any, compile_plugin: CompilePlugin) -> Any:
    _, instance = native.open(str(compile_plugin(TALKER, "talker"))).init(b"{}", lambda level, text: None)
    return instance


class TestSources:
    """The C code of the extension."""

    @pytest.mark.parametrize(
        "api",
        [("-DPy_LIMITED_API=0x030B0000",), (), ("-DPy_GIL_DISABLED=1",)],
        ids=["stable ABI", "one version", "free-threaded"],
    )
    @pytest.mark.parametrize("compiler", ["gcc", "clang"])
    def test_no_warning(self, compiler: str, api: tuple[str, ...]) -> None:
        """It compiles without warnings for the stable ABI, for one Python version, and for free-threaded Python."""
        include = sysconfig.get_path("include")
        if shutil.which(compiler) is None:
            missing(compiler)
        if not Path(include, "Python.h").is_file():
            missing("the headers of Python")
        # Not -Wpedantic: Python's slots store functions in void pointers.
        warnings = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes", "-Wcast-qual", "-Werror")
        paths = ("-isystem", include, f"-I{sdk.path('c')}")
        done = subprocess.run(
            [compiler, "-std=c11", "-fsyntax-only", *warnings, *api, *paths, *map(str, EXTENSION)],
            capture_output=True,
            text=True,
            check=False,
        )

        assert (done.returncode, done.stderr) == (0, "")


class TestArguments:
    """The arguments of ``process`` and ``init``."""

    @pytest.mark.parametrize(
        "value", [b"\xc3\xa9", "é", bytearray(b"\xc3\xa9"), memoryview(b"\xc3\xa9"), memoryview(b"-\xc3\xa9-")[1:-1]]
    )
    def test_kinds(self, native: Any, compile_plugin: CompilePlugin, instance: Any, value: Any) -> None:
        """Every text may be a str, bytes or an object with a buffer."""
        library = native.open(str(compile_plugin(TALKER, "talker")))

        assert instance.process("all", value, value, 7, value, value).data == "é|é|7|é|é".encode()
        assert library.init(value, print)[0] == Reply(0, None, 0, None, None)

    def test_names(self, instance: Any) -> None:
        """Arguments may be passed by keyword, and those of the trace context may be None."""
        reply = instance.process("all", data="d", method="M", tracestate="s", time_left_ns=3, traceparent=None)

        assert reply.data == b"M|d|3||s"

    @pytest.mark.parametrize(
        ("arguments", "names", "error", "text"),
        [
            (("e", "m"), {}, TypeError, "missing required argument 'data'"),
            (("e", "m", "d", 0, None, None, None), {}, TypeError, r"at most 6 positional arguments \(7 given\)"),
            (("e", "m", "d"), {"data": "d"}, TypeError, "multiple values for argument 'data'"),
            (("e", "m", "d"), {"timeout": 1}, TypeError, "unexpected keyword argument 'timeout'"),
            (("e", "m", 5), {}, TypeError, "data must be str, bytes or an object with a buffer, not <class 'int'>"),
            (("e", None, "d"), {}, TypeError, "method must be"),
            (("e", "m", "d", 0, 5), {}, TypeError, "traceparent must be"),
            (("e", "m", "d", "0"), {}, TypeError, "int"),
            (("e", "m", "d", -1), {}, OverflowError, "int"),
            (("e", "m", "d", 1 << 64), {}, OverflowError, "int"),
            (("e", "m", "\ud800"), {}, UnicodeEncodeError, "surrogates"),
            (("e", "m", memoryview(b"abcd")[::2]), {}, BufferError, "contiguous"),
        ],
    )
    def test_wrong(self, instance: Any, arguments: Any, names: Any, error: type[Exception], text: str) -> None:
        """Invalid arguments raise Python's usual errors, and the plugin is not called."""
        with pytest.raises(error, match=text):
            instance.process(*arguments, **names)

    def test_buffer_held(self, native: Any, compile_plugin: CompilePlugin) -> None:
        """A bytearray cannot be resized during a call, but can be afterwards."""
        data = bytearray(b"x" * 10)
        refused: list[BaseException] = []

        def log(level: int, text: str) -> None:
            try:
                data.extend(b"more")
            except BufferError as error:
                refused.append(error)

        source = ECHO.replace("(void)plugin;\n", 'backworks_log(plugin->host, 10, "now");\n')
        _, instance = native.open(str(compile_plugin(source, "logs"))).init("{}", log)
        instance.process("", "", data)
        data.extend(b"more")

        assert len(refused) == 1
        assert len(data) == 14

    @pytest.mark.parametrize(
        ("path", "error", "text"),
        [
            (b"/bytes", TypeError, "must be str"),
            ("/a\0b", ValueError, "null"),
            pytest.param(
                "relative.so",
                ValueError,
                "must be absolute",
                marks=pytest.mark.skipif(sys.platform == "win32", reason="Windows itself rejects it"),
            ),
        ],
    )
    def test_path(self, native: Any, path: Any, error: type[Exception], text: str) -> None:
        """A path must be an absolute str."""
        with pytest.raises(error, match=text):
            native.open(path)


class TestReply:
    """The replies."""

    def test_type(self, instance: Any) -> None:
        """A Reply has the contract's own type, although it is created without its constructor, and hashes like one."""
        reply = instance.process("all", "", "")

        assert type(reply) is Reply
        assert hash(reply) == hash(Reply(*reply))
        assert reply.http_status == 0

    @pytest.mark.parametrize("size", [4095, 4096, 4097, 100_000])
    def test_around_the_small_answer(self, native: Any, compile_plugin: CompilePlugin, size: int) -> None:
        """Answers just above and below the size that is copied twice are complete, and freed once."""
        heard: list[str] = []
        _, instance = native.open(str(compile_plugin(TALKER, "talker"))).init(
            "{}", lambda level, text: heard.append(text)
        )
        data = bytes(range(256)) * (size // 256 + 1)

        assert instance.process("", "", data[:size]).data == data[:size]
        assert heard == ["freed"]


class TestLife:
    """The end of an instance."""

    def test_after_shutdown(self, instance: Any) -> None:
        """After shutdown every method raises, without calling the plugin."""
        instance.shutdown()

        for call in (instance.shutdown, instance.health_check, lambda: instance.process("", "", "")):
            with pytest.raises(RuntimeError, match="the instance was shut down"):
                call()

    def test_absent_functions(self, native: Any, compile_plugin: CompilePlugin, instance: Any) -> None:
        """The error names a function that the library lacks."""
        plain = native.open(str(compile_plugin("int one(void);\nint one(void) { return 1; }", "plain")))

        for call, name in (
            (plain.abi_version, "abi_version"),
            (plain.name, "name"),
            (plain.version, "version"),
            (plain.description, "description"),
            (lambda: plain.init("{}", print), "init"),
            (instance.health_check, "health_check"),
            (lambda: instance.reconfigure("{}"), "reconfigure"),
        ):
            with pytest.raises(LookupError, match=f"the library has no backworks_plugin_{name}"):
                call()

    def test_broken_init(self, native: Any, compile_plugin: CompilePlugin) -> None:
        """An instance whose init broke the rules is shut down, because the caller never receives it."""
        library = native.open(str(compile_plugin(BROKEN_INIT, "brokeninit")))

        with pytest.raises(ContractViolation, match="data is NULL with a size of 7"):
            library.init("{}", print)
        assert library.description() == b"shut down once"

    def test_collected(self, native: Any, compile_plugin: CompilePlugin) -> None:
        """Garbage collection never calls the plugin, and an instance releases its log function at shutdown."""
        library = native.open(str(compile_plugin(TALKER, "collected")))

        class Log:
            instance: Any = None

            def __call__(self, level: int, text: str) -> None: ...

        log = Log()
        _, log.instance = library.init("{}", log)
        log.instance.shutdown()
        gone = weakref.ref(log)
        del log
        gc.collect()
        _, forgotten = library.init("{}", print)
        del forgotten
        gc.collect()

        assert gone() is None
        assert library.description() == b"shut down once"

    def test_types_are_closed(self, native: Any) -> None:
        """The types can be neither called nor changed from Python."""
        for kind in (native.Library, native.Instance):
            with pytest.raises(TypeError, match="cannot create"):
                kind()
        for kind in (native.Library, native.Instance, native.Gate, native.Turn, native.Calls, native.Slot):
            with pytest.raises(TypeError, match="immutable"):
                kind.process = None


class TestCalls:
    """The hot path of a plugin."""

    @pytest.fixture(name="plugin")
    def _plugin(self, compile_plugin: CompilePlugin) -> Any:
        loader = DynamicPluginLoader(ffi.binding_named("native"))
        prepared = prepare(compile_plugin(MANY_ANSWERS, "many"))
        with start(prepared, Settings(isolation="none"), loader=loader) as plugin:
            yield plugin

    def test_no_frame(self, plugin: Any) -> None:
        """The methods of the plugin are the extension's own, and have docstrings."""
        for name in ("process_endpoint_data", "answer"):
            method = getattr(plugin, name)
            assert inspect.isbuiltin(method)
            assert name not in vars(plugin)
            assert f"backworks.Plugin.{name}" in method.__doc__

    def test_references(self, plugin: Any) -> None:
        """Calls keep no reference to their arguments, whatever their outcome."""
        text, data, small = "é" * 1000, bytearray(b"\xff" * 100), memoryview(b"-a-b")[::2]
        endpoint, options = "/" * 100, {"timeout": 1e6, "traceparent": "é" * 50, "tracestate": "x" * 50}
        watched = (text, data, small, endpoint, plugin, *options.values(), None, True)

        def calls() -> None:
            for answer in (plugin.process_endpoint_data, plugin.answer):
                answer(endpoint, "POST", text, **options)
                for other in ("http", "not mine", "empty"):
                    answer(other, "GET", small, **options)
                for other in ("fail", "null with size", "what"):
                    with contextlib.suppress(BackworksError):
                        answer(other, "GET", data)
                with contextlib.suppress(BackworksError):
                    answer(endpoint, "GET", data)
                with contextlib.suppress(TypeError):
                    answer(endpoint, "GET", data, traceparent=plugin)
                with contextlib.suppress(TypeError):
                    answer(endpoint, "GET", data, 1.0, "", "", "", "")
                with contextlib.suppress(TypeError):
                    answer(endpoint, nonsense=text)

        calls()
        gc.collect()
        before = [sys.getrefcount(value) for value in watched]
        for _ in range(100):
            calls()
        gc.collect()
        after = [sys.getrefcount(value) for value in watched]

        assert [more - less for less, more in zip(before[:-2], after[:-2], strict=True)] == [0] * (len(watched) - 2)
        assert all(abs(more - less) < 50 for less, more in zip(before[-2:], after[-2:], strict=True))
        data.append(1)  # its buffer is released

    def test_subclasses(self, plugin: Any) -> None:
        """Subclasses of str and bytes are accepted, and keywords need not be interned."""

        class Text(str):
            __slots__ = ()

        class Data(bytes):
            pass

        name = b"as_bytes".decode()

        assert plugin.process_endpoint_data(Text("/"), Text("GET"), Data(b"x")) == "x"
        assert plugin.process_endpoint_data("/", data=Text("é"), **{name: 1}) == "é".encode()

    def test_as_bytes_raises(self, plugin: Any) -> None:
        """An exception raised in ``__bool__`` of an argument is passed on."""

        class Neither:
            def __bool__(self) -> bool:
                raise ArithmeticError

        with pytest.raises(ArithmeticError):
            plugin.process_endpoint_data("/", as_bytes=Neither())

    def test_shut_down_behind_its_back(self, plugin: Any) -> None:
        """A call to an instance that was shut down directly is an error, not a crash."""
        plugin.runner.engine.shutdown()

        with pytest.raises(RuntimeError, match="was shut down"):
            plugin.process_endpoint_data("/")
        assert plugin.in_flight == 0

    def test_attach(self, native: Any, instance: Any) -> None:
        """Calls that were not attached, or are given something else than what they need, raise and do not crash."""
        calls = native.Calls()
        for call in (calls.process_endpoint_data, calls.answer):
            with pytest.raises(RuntimeError, match="not attached"):
                call("/", "GET", b"")
        with pytest.raises(ValueError, match="not attached"):
            calls._use_instance(instance, None)
        with pytest.raises(TypeError, match="must be a Gate"):
            calls._attach(instance, print, print, print, print, None, False)
        with pytest.raises(TypeError):
            calls._attach(native.Gate(None), print, print, print, print, "soon", False)
        calls._attach(native.Gate(None), print, print, print, print, 1.0, False)
        with pytest.raises(ValueError, match="attached before"):
            calls._attach(native.Gate(None), print, print, print, print, None, False)
        for wrong in (lambda: calls._use_instance(1, None), lambda: calls._use_slots(1, 2, 3)):
            with pytest.raises(TypeError):
                wrong()
        with pytest.raises(TypeError, match="must be a Turn"):
            calls._use_instance(instance, 1)
        calls._use_function(lambda *arguments: arguments)
        with pytest.raises(ValueError, match="has something"):
            calls._use_function(print)

        assert calls.answer("/e", "GET", b"x") is None  # not a reply: print settles it

    def test_turn(self, native: Any) -> None:
        """A turn is taken by one thread at a time, and a second time by the same one never."""
        turn = native.Turn(lambda: ArithmeticError("nested"))
        with pytest.raises(RuntimeError, match="another thread's"):
            turn.__exit__(None, None, None)
        with turn, pytest.raises(ArithmeticError, match="nested"), turn:
            pass
        order: list[str] = []

        def wait() -> None:
            with turn:
                order.append("second")

        with turn:
            thread = threading.Thread(target=wait)
            thread.start()
            order.append("first")
        thread.join()

        assert order == ["first", "second"]

    def test_two_threads(self, plugin: Any) -> None:
        """Concurrent calls from 16 threads each get their own answer, whether or not the plugin is thread-safe."""
        wrong: list[object] = []

        def work(number: int) -> None:
            for i in range(300):
                data = f"{number}/{i}" * (1 + 1000 * (i % 3))
                if plugin.process_endpoint_data("/", "GET", data) != data:
                    wrong.append(data)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []
        assert plugin.in_flight == 0

    @pytest.mark.skipif(sys.platform == "win32", reason="the script asks POSIX how much memory it has used")
    def test_leaks(self, compile_plugin: CompilePlugin) -> None:
        """Hundreds of thousands of calls of every kind do not grow the process's memory."""
        script = Path(__file__).parent / "isolated" / "leaks.py"
        count = os.environ.get("SOAK_CALLS", "300000")  # set by `make soak`
        done = subprocess.run(
            [sys.executable, str(script), str(compile_plugin(MANY_ANSWERS, "many")), count],
            capture_output=True,
            text=True,
            check=False,
        )

        print(done.stdout)
        assert (done.returncode, done.stderr) == (0, "")


class TestLog:
    """Log records, from any thread and at any time."""

    def test_foreign_thread_at_exit(self, native: Any, compile_plugin: CompilePlugin) -> None:
        """A plugin's thread that logs while the interpreter shuts down does not crash or hang the process."""
        if sys.platform == "win32":
            pytest.skip("the plugin of this test is written with POSIX threads")
        library = compile_plugin(CHATTERBOX, "chatterbox", ["-pthread"])
        program = (
            "import sys, threading\n"
            "from backworks.ffi import native\n"
            "heard = threading.Event()\n"
            "reply, keep = native.create().open(sys.argv[1]).init('{}', lambda level, text: heard.set())\n"
            f"assert heard.wait({PATIENCE})\n"
            "print('end')\n"
        )
        for _ in range(5):
            done = subprocess.run(
                [sys.executable, "-c", program, str(library)], capture_output=True, text=True, check=False
            )

            assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")

    def test_threads(self, native: Any, compile_plugin: CompilePlugin) -> None:
        """If calls from many threads each log a record, every caller gets its answer and every record is logged."""
        heard: list[str] = []
        _, instance = native.open(str(compile_plugin(TALKER, "talker"))).init(
            "{}", lambda level, text: heard.append(text)
        )
        wrong: list[Reply] = []

        def work(number: int) -> None:
            for i in range(100):
                data = b"%d/%d" % (number, i)
                if (reply := instance.process("", "", data)).data != data:
                    wrong.append(reply)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []
        assert len(heard) == 800

    def test_unregistered(self, instance: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A record with a number that is no longer registered is dropped."""
        monkeypatch.setattr(logs, "_functions", {})

        assert instance.process("", "", "x").data == b"x"
