"""The contract of :mod:`backworks.ffi.contract`, with every binding of this installation."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from conftest import ECHO, CompilePlugin

from backworks import ffi
from backworks.ffi.contract import (
    ABI_VERSION,
    MAX_ANSWER,
    OPTIONAL_SYMBOLS,
    REQUIRED_SYMBOLS,
    Binding,
    ContractViolation,
    Instance,
    Reply,
)

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

#: A plugin whose answer depends on the endpoint.
MANY_ANSWERS = (
    ECHO.replace("backworks_plugin_process_endpoint_data", "echo_process")
    .replace("int32_t echo_process", "static int32_t echo_process")
    .replace("BACKWORKS_PLUGIN_FREE_STRING", "")
    + """
static int freed = 0;

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  if (data != NULL) {
    freed++;
    free(data);
  }
}

static int is(const backworks_request *request, const char *endpoint) {
  return backworks_equal(request->endpoint, request->endpoint_size, endpoint);
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  static const char headers[] = "X-One: 1\\r\\nX-Two: 2\\r\\n";
  char text[256];
  if (is(request, "fail")) {
    return backworks_fail(response, BACKWORKS_NOT_FOUND, "no %d", 7);
  }
  if (is(request, "silent")) {
    return BACKWORKS_INTERNAL;
  }
  if (is(request, "strange code")) {
    return -77;
  }
  if (is(request, "not mine")) {
    return backworks_not_mine(response);
  }
  if (is(request, "empty")) {
    return backworks_answer(response, "", 0);
  }
  if (is(request, "null with size")) {
    response->size = 9;
    return BACKWORKS_OK;
  }
  if (is(request, "null headers with size")) {
    backworks_answer(response, "x", 1);
    response->headers_size = 3;
    return BACKWORKS_OK;
  }
  if (is(request, "too large")) {
    backworks_answer(response, "x", 1);
    response->size = ((size_t)1 << 30) + 1;
    return BACKWORKS_OK;
  }
  if (is(request, "freed")) {
    snprintf(text, sizeof text, "%d", freed);
    return backworks_answer(response, text, strlen(text));
  }
  if (is(request, "http")) {
    response->http_status = 201;
    backworks_set_content_type(response, "text/plain");
    response->headers = headers;
    response->headers_size = sizeof headers - 1;
    return backworks_answer(response, "made", 4);
  }
  if (is(request, "log")) {
    plugin->host->log(plugin->host->context, 30, request->data, request->data_size);
    return backworks_not_mine(response);
  }
  if (is(request, "extension")) {
    return plugin->host->get_extension(plugin->host->context, "backworks.metrics/1") == NULL
               ? backworks_not_mine(response)
               : BACKWORKS_INTERNAL;
  }
  if (is(request, "what")) {
    int length = snprintf(text, sizeof text, "%u %u|%.*s|%llu|%.*s|%.*s|%u %u", (unsigned)request->struct_size,
                          (unsigned)response->struct_size, (int)request->method_size, request->method,
                          (unsigned long long)request->time_left_ns, (int)request->traceparent_size,
                          request->traceparent ? request->traceparent : "", (int)request->tracestate_size,
                          request->tracestate ? request->tracestate : "", (unsigned)plugin->host->struct_size,
                          (unsigned)plugin->host->abi_version);
    return backworks_answer(response, text, (size_t)length);
  }
  if (is(request, "pointers")) {
    return request->endpoint && request->method && request->data && !request->traceparent ? backworks_not_mine(response)
                                                                                           : BACKWORKS_INTERNAL;
  }
  return echo_process(plugin, request, response);
}

const char *backworks_plugin_description(void) { return "Answers as it is told"; }

int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  (void)plugin;
  return backworks_fail(response, BACKWORKS_UNAVAILABLE, "tired");
}

int32_t backworks_plugin_reconfigure(backworks_plugin *plugin, const char *config, size_t size,
                                     backworks_response *error) {
  (void)plugin;
  return backworks_fail(error, BACKWORKS_INVALID_ARGUMENT, "no: %.*s", (int)size, config);
}
"""
)

CANNOT_START = ECHO.replace(
    "  (void)config;\n",
    '  return backworks_fail(error, 3, "not with %.*s", (int)config_size, config);\n  (void)config;\n',
)


@pytest.fixture(name="binding", params=list(ffi.BINDINGS))
def _binding(request: pytest.FixtureRequest) -> Binding:
    return ffi.binding_named(request.param)


@pytest.fixture(name="instance")
def _instance(binding: Binding, compile_plugin: CompilePlugin) -> Instance:
    library = binding.open(str(compile_plugin(MANY_ANSWERS, "many")))
    reply, instance = library.init(b"{}", lambda level, text: None)
    assert reply.code == 0
    assert instance is not None
    return instance


class TestLibrary:
    """The functions of an open library."""

    def test_symbols(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """All ABI symbols that a library exports are listed, including optional ones."""
        plain = binding.open(str(compile_plugin()))
        full = binding.open(str(compile_plugin(MANY_ANSWERS, "many")))

        assert plain.symbols() == set(REQUIRED_SYMBOLS)
        assert full.symbols() == {*REQUIRED_SYMBOLS, *OPTIONAL_SYMBOLS}

    def test_identity(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """The functions that need no instance return the library's values."""
        library = binding.open(str(compile_plugin(MANY_ANSWERS, "many")))

        assert library.abi_version() == ABI_VERSION
        assert library.name() == b"echo"
        assert library.version() == b"1.0.0"
        assert library.description() == b"Answers as it is told"

    def test_null_name(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """A NULL name is None, not a crash."""
        source = ECHO.replace(
            'BACKWORKS_PLUGIN(NAME, VERSION, "description": "Answers what it was sent")',
            """
            uint32_t backworks_plugin_abi_version(void) { return 4294967295u; }
            const char *backworks_plugin_name(void) { return NULL; }
            const char *backworks_plugin_version(void) { return "\\xff"; }""",
        )
        library = binding.open(str(compile_plugin(source, "nullname")))

        assert library.name() is None
        assert library.version() == b"\xff"
        assert library.abi_version() == 2**32 - 1

    def test_refused(self, binding: Binding, tmp_path: Path) -> None:
        """A library that the dynamic linker rejects raises OSError."""
        text = tmp_path / "text.so"
        text.write_text("no library")

        with pytest.raises(OSError, match="text.so"):
            binding.open(str(text))

    def test_plain_library(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """A library that is not a plugin has none of the symbols."""
        library = binding.open(str(compile_plugin("int nothing(void);\nint nothing(void) { return 0; }", "plain")))

        assert library.symbols() == frozenset()


class TestInit:
    """Creation of an instance."""

    def test_failure(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """A failed init returns its code and message, and no instance."""
        library = binding.open(str(compile_plugin(CANNOT_START, "cannot")))

        reply, instance = library.init(b'{"a": 1}', lambda level, text: None)

        assert reply == Reply(3, b'not with {"a": 1}', 0, None, None)
        assert instance is None

    def test_null_instance(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """An init that returns OK with a NULL instance yields no instance."""
        source = ECHO.replace("*out = plugin;", "free(plugin);\n  (void)out;")
        reply, instance = binding.open(str(compile_plugin(source, "nullinstance"))).init(b"{}", print)

        assert reply.code == 0
        assert instance is None

    def test_broken_message(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """An instance whose init left an invalid message is shut down, because the caller never receives it."""
        source = ECHO.replace("*out = plugin;", "*out = plugin;\n  error->size = 3;").replace(
            "  free(plugin);\n", '  backworks_log(plugin->host, 20, "shut down");\n  free(plugin);\n'
        )
        heard: list[str] = []
        library = binding.open(str(compile_plugin(source, "brokenmessage")))
        with pytest.raises(ContractViolation, match="data is NULL with a size of 3"):
            library.init(b"{}", lambda level, text: heard.append(text))

        assert heard == ["shut down"]

    def test_two_instances(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """Two instances of one library log to their own functions."""
        library = binding.open(str(compile_plugin(MANY_ANSWERS, "many")))
        heard: list[tuple[str, int, str]] = []
        instances = [
            library.init(b"{}", lambda level, text, who=who: heard.append((who, level, text)))[1] for who in "ab"
        ]

        for instance in instances:
            assert instance is not None
            instance.process(b"log", b"GET", b"hello")
            instance.shutdown()

        assert heard == [("a", 30, "hello"), ("b", 30, "hello")]


class TestProcess:
    """Single calls."""

    @pytest.mark.parametrize("data", [b"", b"x", b"a\0b", bytes(range(256)), "é漢".encode(), b"z" * (1 << 26)])
    def test_bytes(self, instance: Instance, data: bytes) -> None:
        """Any bytes, from none to 64 MiB, are passed in and returned."""
        reply = instance.process(b"/echo", b"POST", data)

        assert reply == Reply(0, data, 0, None, None)

    def test_fields(self, instance: Instance) -> None:
        """The plugin receives the fields of the request, and the sizes of the structures."""
        reply = instance.process(b"what", b"PATCH", b"", 1_500, b"00-aa-bb-01", b"vendor=1")

        assert reply.data == b"96 56|PATCH|1500|00-aa-bb-01|vendor=1|32 1"

    def test_pointers(self, instance: Instance) -> None:
        """Pointers of empty fields are not NULL, but those of an absent trace context are."""
        assert instance.process(b"pointers", b"", b"") == Reply(0, None, 0, None, None)

    def test_http_fields(self, instance: Instance) -> None:
        """Status, content type and headers are returned with the answer."""
        reply = instance.process(b"http", b"GET", b"")

        assert reply == Reply(0, b"made", 201, b"text/plain", b"X-One: 1\r\nX-Two: 2\r\n")

    @pytest.mark.parametrize(
        ("endpoint", "expected"),
        [
            (b"fail", Reply(5, b"no 7", 0, None, None)),
            (b"silent", Reply(13, None, 0, None, None)),
            (b"strange code", Reply(-77, None, 0, None, None)),
            (b"not mine", Reply(0, None, 0, None, None)),
            (b"empty", Reply(0, b"", 0, None, None)),
            (b"extension", Reply(0, None, 0, None, None)),
        ],
    )
    def test_answers(self, instance: Instance, endpoint: bytes, expected: Reply) -> None:
        """Codes and answers are returned unchanged; "not mine" and an empty answer differ."""
        assert instance.process(endpoint, b"GET", b"") == expected

    @pytest.mark.parametrize(
        ("endpoint", "text"),
        [
            (b"null with size", "data is NULL with a size of 9"),
            (b"null headers with size", "headers is NULL with a size of 3"),
            (b"too large", f"claims {MAX_ANSWER + 1} bytes"),
        ],
    )
    def test_violations(self, instance: Instance, endpoint: bytes, text: str) -> None:
        """An answer that breaks the header's rules raises ContractViolation, and the next call works."""
        with pytest.raises(ContractViolation, match=text):
            instance.process(endpoint, b"GET", b"")
        assert instance.process(b"/", b"GET", b"on").data == b"on"

    def test_frees(self, instance: Instance) -> None:
        """Every answer is freed exactly once, including those of errors and invalid ones."""
        before = int(instance.process(b"freed", b"GET", b"").data or b"")
        for endpoint in (b"/", b"empty", b"fail", b"http", b"too large"):
            with contextlib.suppress(ContractViolation):
                instance.process(endpoint, b"GET", b"")
        after = int(instance.process(b"freed", b"GET", b"").data or b"")

        assert after - before == 5 + 1

    def test_threads(self, instance: Instance) -> None:
        """Concurrent calls from 16 threads each get their own answer."""
        wrong: list[object] = []

        def work(number: int) -> None:
            for i in range(200):
                data = b"%d/%d" % (number, i)
                if (reply := instance.process(b"/", b"GET", data)).data != data:
                    wrong.append(reply)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert wrong == []


class TestOthers:
    """The optional functions, the log, and shutdown."""

    def test_health_and_reconfigure(self, instance: Instance) -> None:
        """The optional functions return their codes and messages."""
        assert instance.health_check() == Reply(14, b"tired", 0, None, None)
        assert instance.reconfigure(b"{}") == Reply(3, b"no: {}", 0, None, None)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [(b"a", "a"), (b"", ""), (b"\xff\0\xc3\xa9", "\ufffd\0é"), (b"x" * 100_000, "x" * 65_536)],
    )
    def test_log(self, binding: Binding, compile_plugin: CompilePlugin, text: bytes, expected: str) -> None:
        """A log record arrives with its level; invalid UTF-8 is replaced and a long text is cut off."""
        heard: list[tuple[int, str]] = []
        _, instance = binding.open(str(compile_plugin(MANY_ANSWERS, "many"))).init(
            b"{}", lambda level, text: heard.append((level, text))
        )
        assert instance is not None

        instance.process(b"log", b"GET", text)

        assert heard == [(30, expected)]

    def test_log_raises(self, binding: Binding, compile_plugin: CompilePlugin, monkeypatch: pytest.MonkeyPatch) -> None:
        """An exception in the log function is reported and does not reach the plugin."""
        reported: list[object] = []
        monkeypatch.setattr(sys, "excepthook", lambda *arguments: reported.append(arguments[0]))
        monkeypatch.setattr(sys, "unraisablehook", lambda what: reported.append(what.exc_type))
        _, instance = binding.open(str(compile_plugin(MANY_ANSWERS, "many"))).init(b"{}", lambda level, text: 1 / 0)
        assert instance is not None

        reply = instance.process(b"log", b"GET", b"x")

        assert reply.code == 0
        assert reported == [ZeroDivisionError]

    def test_shutdown(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """Shutdown returns the plugin's code."""
        source = ECHO.replace("free(plugin);\n  return BACKWORKS_OK;", "free(plugin);\n  return 9;")
        _, instance = binding.open(str(compile_plugin(source, "nine"))).init(b"{}", print)
        assert instance is not None

        assert instance.shutdown() == 9

    def test_dropped(self, binding: Binding, compile_plugin: CompilePlugin) -> None:
        """An instance still works when there are no other references to its library."""
        _, instance = binding.open(str(compile_plugin())).init(b"{}", print)
        gc.collect()
        assert instance is not None

        assert instance.process(b"/", b"GET", b"still").data == b"still"


class TestChoice:
    """The choice of the binding."""

    def test_unknown(self) -> None:
        """An unknown name is an error that lists the known ones."""
        with pytest.raises(ValueError, match="the binding must be 'native' or 'cffi' or 'ctypes', not 'swig'"):
            ffi.binding_named("swig")

    @pytest.mark.parametrize("name", list(ffi.BINDINGS))
    def test_environment(self, name: str) -> None:
        """BACKWORKS_FFI selects the binding."""
        done = subprocess.run(
            [sys.executable, "-c", "from backworks import ffi; print(ffi.binding().name)"],
            env={**os.environ, "BACKWORKS_FFI": name},
            capture_output=True,
            text=True,
            check=True,
        )

        assert done.stdout.strip() == name

    def test_environment_unknown(self) -> None:
        """An unknown name in BACKWORKS_FFI is an error that names the variable."""
        done = subprocess.run(
            [sys.executable, "-c", "from backworks import ffi; ffi.binding()"],
            env={**os.environ, "BACKWORKS_FFI": ""},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode != 0
        assert "invalid environment variable BACKWORKS_FFI: the binding must be 'native'" in done.stderr

    def test_default(self) -> None:
        """Without BACKWORKS_FFI, the compiled binding is used if it was built, and cffi otherwise."""
        code = (
            "import sys, importlib.util as util; from backworks import ffi; print(ffi.binding().name);"
            "ffi.binding.cache_clear(); real = util.find_spec;"
            "util.find_spec = lambda name: None if name.endswith('_native') else real(name);"
            "print(ffi.binding().name)"
        )
        environment = {name: value for name, value in os.environ.items() if name != "BACKWORKS_FFI"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["native", "cffi"]


def test_interrupted_request(compile_plugin: CompilePlugin, binding: Binding) -> None:
    """A request that a signal's handler has left half filled is not used for the next call."""
    source = ECHO.replace("request->data, request->data_size", "request->endpoint, request->endpoint_size")
    library = binding.open(str(compile_plugin(source, "endpoint")))
    _, instance = library.init(b"{}", lambda _level, _text: None)
    assert instance is not None
    instance.process(b"/first", b"GET", b"")

    for count in range(1, 20):
        endpoint, calls = f"/{'x' * count}".encode(), 0

        def interrupt(frame: FrameType, event: str, _: object, count: int = count) -> None:
            nonlocal calls
            if frame.f_code.co_name == "fill" and event == "c_return":
                calls += 1
                if calls == count:
                    raise InterruptedError

        sys.setprofile(interrupt)
        with contextlib.suppress(InterruptedError):
            instance.process(endpoint, b"GET", b"")
        sys.setprofile(None)
        assert instance.process(endpoint, b"GET", b"").data == endpoint
    instance.shutdown()
