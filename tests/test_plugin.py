"""One running plugin: calls, timeouts and shutdown, with each isolation."""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import signal
import sys
import threading
import weakref
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ECHO, CompilePlugin
from gate import GATED, GATED_SERIAL, PATIENCE, Gate
from test_ffi import MANY_ANSWERS

import backworks
from backworks import Code, Plugin, PluginResult, ffi
from backworks.loading.loader import DynamicPluginLoader
from backworks.loading.prepared import prepare
from backworks.settings import Isolation, Settings
from backworks.starting import start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ISOLATIONS = ["none", "thread"]

#: The ways to make a call: binding and isolation.
WAYS = [(binding, isolation) for binding in ffi.BINDINGS for isolation in ISOLATIONS]

#: Logs the data of each request from inside of the call, and is not thread-safe.
TALKS = ECHO.replace(
    "  (void)plugin;\n  return backworks_answer(",
    '  backworks_log(plugin->host, 20, "%.*s", (int)request->data_size, request->data);\n  return backworks_answer(',
)
TALKS_SERIAL = TALKS.replace('"description": ', '"thread_safe": false, "description": ')

#: Counts its calls, and those that are inside while or after its instance is shut down; says so as its description.
COUNTS = (
    ECHO.replace("(void)config;", "(void)config;\n  __atomic_store_n(&ended, 0, __ATOMIC_SEQ_CST);")
    .replace(', "description": "Answers what it was sent")', ', "license": "MIT")')
    .replace(
        "struct backworks_plugin {",
        """
static int ended, inside, calls, wrong;

static void look(void) {
  if (__atomic_load_n(&ended, __ATOMIC_SEQ_CST)) {
    __atomic_fetch_add(&wrong, 1, __ATOMIC_SEQ_CST);
  }
}

const char *backworks_plugin_description(void) {
  static char text[64];
  snprintf(text, sizeof text, "%d calls, %d wrong", calls, wrong);
  return text;
}

struct backworks_plugin {""",
    )
    .replace(
        "  (void)plugin;\n  return backworks_answer(response, request->data, request->data_size);",
        """  int32_t code;
  (void)plugin;
  __atomic_fetch_add(&inside, 1, __ATOMIC_SEQ_CST);
  look();
  code = backworks_answer(response, request->data, request->data_size);
  __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
  look();
  __atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
  return code;""",
    )
    .replace(
        "  free(plugin);\n",
        """  __atomic_store_n(&ended, 1, __ATOMIC_SEQ_CST);
  wrong += __atomic_load_n(&inside, __ATOMIC_SEQ_CST);
  free(plugin);
""",
    )
)


@pytest.fixture(name="isolation", params=ISOLATIONS)
def _isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(name="way", params=WAYS, ids="-".join)
def _way(request: pytest.FixtureRequest) -> tuple[str, str]:
    binding, isolation = request.param
    return str(binding), str(isolation)


def load_by(way: tuple[str, str], path: Path, **options: Any) -> Plugin:
    """Like ``backworks.load``, with a binding chosen by the test."""
    loader = DynamicPluginLoader(ffi.binding_named(way[0]))
    return start(prepare(path), Settings(isolation=way[1], **options), loader=loader)  # type: ignore[arg-type]


def in_thread(function: Callable[[], object]) -> Future[object]:
    """Runs a function in a new thread."""
    future: Future[object] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


class TestLoad:
    """``backworks.load``."""

    def test_identity(self, compile_plugin: CompilePlugin) -> None:
        """A loaded plugin reports its name, version and description."""
        path = compile_plugin()

        with backworks.load(path) as plugin:
            assert (plugin.name, plugin.version, plugin.description) == (
                "echo",
                "1.0.0",
                "Answers what it was sent",
            )
            assert plugin.manifest is not None
            assert plugin.manifest["abi"] == 1
            assert plugin.path == path
            assert (plugin.state, plugin.isolation) == ("running", "none")
            assert repr(plugin) == "<Plugin echo 1.0.0 (none, running)>"

    def test_stem(self, compile_plugin: CompilePlugin) -> None:
        """A stem finds the library under this system's file name."""
        with backworks.load(compile_plugin().with_name("echo")) as plugin:
            assert plugin.name == "echo"

    def test_config(self, compile_plugin: CompilePlugin) -> None:
        """The configuration reaches the plugin as JSON, and the plugin's error comes back."""
        source = ECHO.replace(
            "  (void)config;\n",
            '  if (config_size != 2) { return backworks_fail(error, 3, "got %.*s", (int)config_size, config); }\n',
        )
        path = compile_plugin(source, "picky")
        backworks.load(path).close()

        with pytest.raises(backworks.PluginInitError) as caught:
            backworks.load(path, {"a": ["é", None, 1.5]})

        assert caught.value.code is Code.INVALID_ARGUMENT
        assert caught.value.message == 'got {"a": ["é", null, 1.5]}'
        assert str(caught.value) == 'echo: INVALID_ARGUMENT: got {"a": ["é", null, 1.5]}'
        assert caught.value.plugin == "echo"

    def test_schema(self, compile_plugin: CompilePlugin) -> None:
        """A configuration that violates the manifest's schema is rejected before init, with all errors."""
        source = ECHO.replace(
            '"description"',
            '"config_schema": {"type": "object", "properties": {"port": {"type": "integer"}},'
            ' "required": ["host"]}, "description"',
        )
        with pytest.raises(backworks.ConfigError) as caught:
            backworks.load(compile_plugin(source, "schema"), {"port": "x"})

        assert caught.value.errors == (
            "config: 'host' is a required property",
            "config.port: 'x' is not of type 'integer'",
        )

    @pytest.mark.parametrize(
        ("options", "text"),
        [
            ({"isolation": "thraed"}, "isolation must be 'none', 'thread' or 'process', not 'thraed'"),
            ({"isolation": "thread", "workers": 0}, "workers must be at least 1, not 0"),
            ({"timeout": float("nan")}, "timeout must be 0 to 4000000 seconds, or None for no limit, not nan"),
        ],
    )
    def test_wrong_use(self, compile_plugin: CompilePlugin, options: dict[str, object], text: str) -> None:
        """An invalid isolation is an error that names the valid ones."""
        with pytest.raises(ValueError, match=text):
            backworks.load(compile_plugin(), **options)  # type: ignore[arg-type]

    def test_changed_file(self, compile_plugin: CompilePlugin) -> None:
        """A replaced file is loaded again, while the instance of the old file keeps running."""
        path = compile_plugin(name="replaced")
        newer = compile_plugin(name="newer", flags=['-DVERSION="2.0.0"'])
        original = path.read_bytes()
        old = backworks.load(path)
        path.write_bytes(newer.read_bytes())

        try:
            with backworks.load(path) as new:
                assert (old.version, new.version) == ("1.0.0", "2.0.0")
                assert old.process_endpoint_data("/", "GET", "old") == "old"
        finally:
            old.close()
            path.write_bytes(original)


class TestCall:
    """Calls and their responses."""

    @pytest.fixture(name="plugin")
    def _plugin(self, compile_plugin: CompilePlugin, way: tuple[str, str]) -> Plugin:
        with load_by(way, compile_plugin(MANY_ANSWERS, "many")) as plugin:
            yield plugin  # type: ignore[misc]

    def test_signature(self, plugin: Plugin) -> None:
        """All implementations of a call have the arguments of the class."""
        for name in ("process_endpoint_data", "process_endpoint_data_async", "answer", "answer_async", "call"):
            wanted = inspect.signature(getattr(Plugin, name)).parameters.values()
            found = inspect.signature(getattr(plugin, name)).parameters.values()
            assert [(p.name, p.kind, p.default) for p in found] == [
                (p.name, p.kind, p.default) for p in wanted if p.name != "self"
            ]
            assert getattr(plugin, name).__name__ == name

    def test_by_name(self, plugin: Plugin) -> None:
        """Arguments may be given by name, in any order."""
        answer = plugin.process_endpoint_data(data=b"\xc3\xa9", as_bytes=True, method="PUT", endpoint="/")

        assert answer == b"\xc3\xa9"
        assert plugin.answer(data="d", tracestate=None, endpoint="/", method="GET", timeout=5) == b"d"

    def test_answer(self, plugin: Plugin) -> None:
        """``answer`` brings bytes, or a PluginResult where there are HTTP fields; text may be given as bytes."""
        made = PluginResult(b"made", 201, "text/plain", (("X-One", "1"), ("X-Two", "2")))

        assert plugin.answer(b"/", b"GET", "text") == b"text"
        assert plugin.answer("empty", "GET", b"") == b""
        assert plugin.answer("not mine", "GET", b"") is None
        assert plugin.answer(b"http", b"GET", b"", None, b"00-ab-cd-01", None) == made
        assert asyncio.run(plugin.answer_async(b"http", b"GET", b"")) == made
        assert asyncio.run(plugin.answer_async("/", "GET", memoryview(b"ab"))) == b"ab"
        assert plugin.call("/", "GET", "x") == PluginResult(b"x")
        assert plugin.process_endpoint_data("http") == "made"
        with pytest.raises(backworks.PluginError, match="no 7"):
            plugin.answer(b"fail", b"GET", b"")

    @pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 1 << 20])
    def test_sizes(self, plugin: Plugin, size: int) -> None:
        """Answers of every size are whole: text of any alphabet, bytes, and what is not text after all."""
        for text in ("x" * size, "x" * (size - 1) + "é", "漢" * size):
            assert plugin.process_endpoint_data("/", "POST", text) == text
            assert plugin.process_endpoint_data("/", "POST", text, as_bytes=True) == text.encode()
            assert plugin.answer("/", "POST", text) == text.encode()
        with pytest.raises(backworks.PluginContractError, match=f"byte {size} of {size + 1}"):
            plugin.process_endpoint_data("/", "POST", b"x" * size + b"\xff")

    def test_violation(self, plugin: Plugin) -> None:
        """An answer that breaks the rules of the header is a PluginContractError with the plugin's name."""
        for call in (plugin.process_endpoint_data, plugin.call):
            with pytest.raises(backworks.PluginContractError, match="^echo: .*data is NULL with a size of 9") as caught:
                call("null with size")
            assert caught.value.__cause__ is None

    def test_scattered(self, plugin: Plugin) -> None:
        """Data may come from a buffer that is not contiguous."""
        assert plugin.process_endpoint_data("/", "POST", memoryview(b"a-b-c-")[::2]) == "abc"

    def test_latin_trace(self, plugin: Plugin) -> None:
        """A trace context is sent as HTTP has it, in Latin-1."""
        answer = plugin.process_endpoint_data("what", traceparent="é", tracestate="ü", as_bytes=True)

        assert answer is not None
        assert answer.split(b"|")[3:5] == [b"\xe9", b"\xfc"]
        with pytest.raises(UnicodeEncodeError):
            plugin.process_endpoint_data("what", traceparent="漢")

    def test_text_and_bytes(self, plugin: Plugin) -> None:
        """Text and every kind of bytes go in; text comes out, or bytes on request."""
        for data in ("é\0ü", "é\0ü".encode(), bytearray("é\0ü".encode()), memoryview("é\0ü".encode())):
            assert plugin.process_endpoint_data("/", "POST", data) == "é\0ü"
            assert plugin.process_endpoint_data("/", "POST", data, as_bytes=True) == "é\0ü".encode()

    def test_absent_and_empty(self, plugin: Plugin) -> None:
        """A response "not mine" is None; an empty response is an empty string."""
        assert plugin.process_endpoint_data("not mine") is None
        assert plugin.process_endpoint_data("empty") == ""
        assert plugin.call("not mine") is None

    def test_not_text(self, plugin: Plugin) -> None:
        """A response that is not UTF-8 is an error as a string, but valid as bytes."""
        with pytest.raises(backworks.PluginContractError, match=r"not UTF-8 \(byte 1 of 2\).*as_bytes=True"):
            plugin.process_endpoint_data("/", "POST", b"a\xff")

        assert plugin.process_endpoint_data("/", "POST", b"a\xff", as_bytes=True) == b"a\xff"

    def test_http_fields(self, plugin: Plugin) -> None:
        """``call`` also returns the HTTP status, the content type and the headers."""
        expected = PluginResult(b"made", 201, "text/plain", (("X-One", "1"), ("X-Two", "2")))

        assert plugin.call("http") == expected
        assert asyncio.run(plugin.call_async("http")) == expected

    def test_error(self, plugin: Plugin) -> None:
        """A code other than OK is a PluginError with the code's name, the message and the plugin."""
        with pytest.raises(backworks.PluginError, match="^echo: NOT_FOUND: no 7$") as caught:
            plugin.process_endpoint_data("fail")

        assert (caught.value.code, caught.value.message, caught.value.plugin) == (
            Code.NOT_FOUND,
            "no 7",
            "echo",
        )

    def test_silent_error(self, plugin: Plugin) -> None:
        """A code without a message is an error as well."""
        with pytest.raises(backworks.PluginError, match="^echo: INTERNAL$"):
            plugin.process_endpoint_data("silent")

    def test_strange_code(self, plugin: Plugin) -> None:
        """A code outside the table becomes UNKNOWN, and the message names the number."""
        with pytest.raises(backworks.PluginError, match="UNKNOWN: .code -77, which the ABI does not define") as caught:
            plugin.process_endpoint_data("strange code")

        assert caught.value.code is Code.UNKNOWN

    def test_trace_and_time(self, plugin: Plugin) -> None:
        """The trace context and the remaining time reach the plugin."""
        answer = plugin.process_endpoint_data("what", timeout=3600, traceparent="00-ab-cd-01", tracestate="a=b")

        assert answer is not None
        _, method, left, parent, state, _ = answer.split("|")
        assert (method, parent, state) == ("GET", "00-ab-cd-01", "a=b")
        assert 3500e9 < int(left) <= 3600e9

    def test_async(self, plugin: Plugin) -> None:
        """The async method returns the same responses, also for concurrent calls."""

        async def main() -> list[str | None]:
            calls = (plugin.process_endpoint_data_async("/", "POST", str(i)) for i in range(50))
            return await asyncio.gather(*calls)

        assert asyncio.run(main()) == [str(i) for i in range(50)]

    def test_health(self, plugin: Plugin) -> None:
        """A plugin with a health check reports its health."""
        health = plugin.health()

        assert (health.ok, health.state, health.message, health.code) == (
            False,
            "running",
            "tired",
            Code.UNAVAILABLE,
        )

    def test_arguments(self, plugin: Plugin) -> None:
        """Text that cannot be encoded raises a ValueError, and the plugin keeps running."""
        with pytest.raises(ValueError, match="surrogates not allowed"):
            plugin.process_endpoint_data("/\ud800")
        wrong: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
            (("/", "GET", object()), {}),
            (("/", "GET", 5), {}),
            ((5,), {}),
            (("/", None), {}),
            ((), {}),
            (("/", "GET", "", True), {}),
            (("/",), {"endpoint": "/"}),
            (("/",), {"nonsense": 1}),
            (("/",), {"timeout": "soon"}),
            (("/",), {"traceparent": 5}),
        )
        for arguments, options in wrong:
            with pytest.raises(TypeError):
                plugin.process_endpoint_data(*arguments, **options)

        assert plugin.process_endpoint_data("/", "GET", "on") == "on"

    @pytest.mark.parametrize(
        "timeout",
        [float("nan"), float("inf"), float("-inf"), -1, -1e-9, 4_000_001, 1e10, 1.9e19, 1e300, 10**400],
        ids=lambda timeout: str(timeout)[:9],
    )
    def test_no_timeout(self, plugin: Plugin, timeout: float) -> None:
        """An invalid timeout raises the same error everywhere, and the plugin keeps running."""
        calls: tuple[Callable[[], object], ...] = (
            lambda: plugin.process_endpoint_data("/", timeout=timeout),
            lambda: plugin.answer("/", "GET", "", timeout),
            lambda: asyncio.run(plugin.process_endpoint_data_async("/", timeout=timeout)),
            lambda: plugin.health(timeout),
            lambda: plugin.close(timeout),
        )
        for call in calls:
            with pytest.raises(
                ValueError, match=r"^timeout must be 0 to 4000000 seconds, or None for no limit, not .*$"
            ):
                call()

        assert (plugin.state, plugin.in_flight) == ("running", 0)
        assert plugin.process_endpoint_data("/", "GET", "on") == "on"

    @pytest.mark.parametrize("timeout", [None, 60, 86_400.5, 4_000_000])
    def test_timeout(self, plugin: Plugin, timeout: float | None) -> None:
        """A timeout is any number of seconds up to 46 days."""
        assert plugin.process_endpoint_data("/", "GET", "x", timeout=timeout) == "x"
        assert asyncio.run(plugin.process_endpoint_data_async("/", "GET", "y", timeout=timeout)) == "y"
        assert plugin.close(timeout) is True

    @pytest.mark.parametrize("timeout", [0, 0.0, -0.0, 1e-12])
    def test_no_time(self, plugin: Plugin, timeout: float) -> None:
        """A timeout of 0 raises PluginTimeout if the isolation can enforce it; otherwise the plugin receives 1 ns."""
        if plugin.isolation == "none":
            answer = plugin.process_endpoint_data("what", timeout=timeout)
            assert answer is not None
            assert answer.split("|")[2] == "1"
        else:
            with pytest.raises(backworks.PluginTimeout, match="no thread was free within|no answer within"):
                plugin.process_endpoint_data("/", timeout=timeout)


class TestFields:
    """HTTP fields that a plugin may not set."""

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ("response->http_status = 99;", "http_status must be 200 to 599 or 0, not 99"),
            ("response->http_status = 600;", "http_status must be 200 to 599 or 0, not 600"),
            ('backworks_set_content_type(response, "text/plain\\r\\nX: 1");', "must be visible ASCII and spaces"),
            ('backworks_set_content_type(response, "t\\xc3\\xa9xt");', "must be visible ASCII and spaces"),
            ('HEADERS("X: 1");', "must end with CR LF"),
            ('HEADERS("X 1\\r\\n");', "header line must be 'Name: value', ended by CR LF, not b'X 1'"),
            ('HEADERS("X: a\\nb\\r\\n");', "header line"),
            ('HEADERS("X : 1\\r\\n");', "header line"),
            ('HEADERS("X: 1\\r\\n\\r\\n");', "header line"),
            ('HEADERS("X: 1\\r\\nContent-Length: 3\\r\\n");', "sets the header field Content-Length"),
            ('HEADERS("transfer-encoding: chunked\\r\\n");', "which only the host may set"),
        ],
    )
    def test_refused(self, compile_plugin: CompilePlugin, change: str, text: str) -> None:
        """A field that could break or forge an HTTP message is a PluginContractError."""
        source = "#define HEADERS(text) response->headers = text; response->headers_size = sizeof(text) - 1\n" + (
            ECHO.replace("  return backworks_answer(", f"  {change}\n  return backworks_answer(")
        )
        with backworks.load(compile_plugin(source, "fields")) as plugin:
            with pytest.raises(backworks.PluginContractError, match=text):
                plugin.call("/")


class TestThreads:
    """Calls from many threads at once."""

    def test_thread_safe(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """A thread-safe plugin runs 16 calls at the same time."""
        with (
            backworks.load(compile_plugin(GATED, "gated"), isolation=isolation, workers=16) as plugin,
            Gate() as gate,
        ):
            calls = [in_thread(lambda i=i: plugin.process_endpoint_data("/", "GET", str(i))) for i in range(16)]
            for _ in calls:
                gate.wait()
            gate.open()

            assert [call.result(PATIENCE) for call in calls] == [str(i) for i in range(16)]
            assert gate.most_inside == 16

    def test_not_thread_safe(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """A plugin that is not thread-safe runs 16 calls one at a time, and all get responses."""
        with (
            backworks.load(compile_plugin(GATED_SERIAL, "serial"), isolation=isolation, workers=16) as plugin,
            Gate() as gate,
        ):
            calls = [in_thread(lambda i=i: plugin.process_endpoint_data("/", "GET", str(i))) for i in range(16)]
            gate.wait()
            gate.open()

            assert [call.result(PATIENCE) for call in calls] == [str(i) for i in range(16)]
            assert gate.most_inside == 1

    def test_called_by_itself(self, compile_plugin: CompilePlugin, way: tuple[str, str]) -> None:
        """A log handler that calls its own single-threaded plugin gets an error instead of a deadlock."""
        caught: list[BaseException] = []

        class CallsBack(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                try:
                    plugin.process_endpoint_data("/")
                except backworks.BackworksError as error:
                    caught.append(error)

        handler = CallsBack(logging.INFO)
        logger = logging.getLogger("backworks.plugin.echo")
        with load_by(way, compile_plugin(GATED_SERIAL, "serial")) as plugin:
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
            try:
                answer = plugin.process_endpoint_data("/", "GET", "outer", timeout=PATIENCE)
            finally:
                logger.removeHandler(handler)

        assert answer == "outer"
        assert [type(error) for error in caught] == [backworks.PluginStateError]
        assert "called from within its own call" in str(caught[0])

    @pytest.mark.parametrize("workers", [1, 2, 4])
    def test_all_call_themselves(self, compile_plugin: CompilePlugin, way: tuple[str, str], workers: int) -> None:
        """Of calls that each call their plugin from its log handler only one is refused: all others get a thread."""
        together = threading.Barrier(workers)

        class CallsBack(logging.Handler):
            def handle(self, record: logging.LogRecord) -> bool:
                if record.getMessage() == "outer":
                    together.wait(PATIENCE)
                    try:
                        inner.append(plugin.process_endpoint_data("/", "GET", "inner", timeout=PATIENCE))
                    except backworks.PluginStateError as error:
                        inner.append(str(error))
                return True

        inner: list[object] = []
        handler = CallsBack()
        logger = logging.getLogger("backworks.plugin.echo")
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with load_by(way, compile_plugin(TALKS, "talks"), workers=workers) as plugin:
                calls = [in_thread(lambda: plugin.process_endpoint_data("/", "GET", "outer")) for _ in range(workers)]
                assert [call.result(PATIENCE) for call in calls] == ["outer"] * workers
        finally:
            logger.removeHandler(handler)

        refused = [answer for answer in inner if answer != "inner"]
        assert len(inner) == workers
        assert len(refused) == (1 if way[1] == "thread" else 0)
        assert all("called from within its own call" in str(answer) for answer in refused)

    def test_workers(self, compile_plugin: CompilePlugin) -> None:
        """With isolation thread, no more calls run at the same time than there are workers."""
        with (
            backworks.load(compile_plugin(GATED, "gated"), isolation="thread", workers=2) as plugin,
            Gate() as gate,
        ):
            calls = [in_thread(lambda i=i: plugin.process_endpoint_data("/", "GET", str(i))) for i in range(8)]
            gate.wait()
            gate.wait()
            gate.open()

            assert [call.result(PATIENCE) for call in calls] == [str(i) for i in range(8)]
            assert gate.most_inside == 2


#: A plugin that answers with the content type before the first ``|`` of its data, and the headers after it.
FIELDS = ECHO.replace(
    "return backworks_answer(",
    """const char *bar = memchr(request->data, '|', request->data_size);
  if (bar != NULL) {
    response->content_type = request->data;
    response->content_type_size = (size_t)(bar - request->data);
    response->headers = bar + 1;
    response->headers_size = request->data_size - response->content_type_size - 1;
  }
  return backworks_answer(""",
).replace("#include <backworks_plugin.h>", "#include <backworks_plugin.h>\n#include <string.h>")


#: A plugin that answers with its endpoint as the content type, and logs when it gets an answer's memory back.
TYPED_TALKS = ECHO.replace(
    "(void)plugin;\n  return backworks_answer(",
    """host_of_all = plugin->host;
  response->content_type = request->endpoint;
  response->content_type_size = request->endpoint_size;
  return backworks_answer(""",
).replace(
    "BACKWORKS_PLUGIN_FREE_STRING",
    """static const backworks_host *host_of_all;

void backworks_plugin_free_string(char *data, size_t size) {
  (void)size;
  free(data);
  backworks_log(host_of_all, 20, "freed");
}""",
)


class TestKnownFields:
    """HTTP fields are checked once and remembered."""

    @pytest.mark.parametrize("isolation", ["none", "thread", "process"])
    def test_repeated(self, compile_plugin: CompilePlugin, isolation: Isolation) -> None:
        """The same fields give the same result each time, others their own, and broken ones an error each time."""
        long = "text/" + "x" * 300
        with backworks.load(compile_plugin(FIELDS, "fields"), isolation=isolation, breaker=None) as plugin:
            for _ in range(3):
                for kind, lines, headers in (
                    ("text/plain", "", ()),
                    ("text/plain", "A: b\r\n", (("A", "b"),)),
                    ("text/html", "A: c\r\nD: e\r\n", (("A", "c"), ("D", "e"))),
                    (long, "", ()),
                    ("", "", ()),
                ):
                    data = f"{kind}|{lines}"
                    for _ in range(2):
                        result = plugin.call("/", "POST", data)
                        assert result == (data.encode(), None, kind or None, headers)
                        assert isinstance(result, backworks.PluginResult)
                        assert plugin.process_endpoint_data("/", "POST", data) == data
                for data in ("text/\n|", "text/plain|A: b", "text/plain|Server: x\r\n"):
                    with pytest.raises(backworks.PluginContractError):
                        plugin.call("/", "POST", data)
                    with pytest.raises(backworks.PluginContractError):
                        plugin.process_endpoint_data("/", "POST", data)
            plain = plugin.call("/", "POST", "plain")
            assert plain == (b"plain", None, None, ())

    def test_replaced_meanwhile(self, compile_plugin: CompilePlugin) -> None:
        """A large answer keeps its own fields if another call brings others while its result is made."""
        inner: list[PluginResult | None] = []

        class Handler(logging.Handler):
            """Makes another call when the second answer's memory has been given back."""

            records = 0

            def handle(self, record: logging.LogRecord) -> bool:
                self.records += 1
                if self.records == 2:
                    inner.append(plugin.call("text/inner", "POST", "inner"))
                return True

        logger, handler = logging.getLogger("backworks.plugin.echo"), Handler()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            with backworks.load(compile_plugin(TYPED_TALKS, "typed")) as plugin:
                first, second = (plugin.call("text/outer", "POST", "x" * 10_000) for _ in range(2))
        finally:
            logger.setLevel(logging.NOTSET)
            logger.removeHandler(handler)

        types = [result and result.content_type for result in (first, *inner, second)]
        assert types == ["text/outer", "text/inner", "text/outer"]


class TestTimeout:
    """Calls that time out with ``isolation: thread``."""

    def test_quarantine(self, compile_plugin: CompilePlugin) -> None:
        """The caller gets PluginTimeout; further calls are rejected until the call returns."""
        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            with pytest.raises(backworks.PluginTimeout, match="no answer within 2 s") as caught:
                plugin.process_endpoint_data("/", "GET", "lost", timeout=2)

            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert plugin.state == "quarantined"
            with pytest.raises(backworks.PluginUnavailable, match="exceeded its timeout returns"):
                plugin.process_endpoint_data("/")
            assert not plugin.health().ok

            gate.open()
            wait_until_empty(plugin)

            assert plugin.state == "running"
            assert plugin.process_endpoint_data("/", "GET", "again") == "again"

    def test_async(self, compile_plugin: CompilePlugin) -> None:
        """The async method raises PluginTimeout, too, without blocking the event loop."""

        async def main() -> None:
            with pytest.raises(backworks.PluginTimeout):
                await plugin.process_endpoint_data_async("/", timeout=0.05)

        with (
            backworks.load(compile_plugin(GATED, "gated"), isolation="thread", timeout=60) as plugin,
            Gate() as gate,
        ):
            asyncio.run(main())
            assert plugin.state == "quarantined"
            gate.open()

    def test_no_thread_free(self, compile_plugin: CompilePlugin) -> None:
        """A call that gets no thread in time times out without a quarantine."""
        path = compile_plugin(GATED, "gated")
        with backworks.load(path, isolation="thread", workers=1) as plugin, Gate() as gate:
            first = in_thread(lambda: plugin.process_endpoint_data("/", "GET", "1"))
            gate.wait()
            with pytest.raises(backworks.PluginTimeout, match="no thread was free within 0.05 s"):
                plugin.process_endpoint_data("/", timeout=0.05)

            assert plugin.state == "running"
            gate.open()
            assert first.result(PATIENCE) == "1"

    def test_cancelled_task(self, compile_plugin: CompilePlugin) -> None:
        """A cancelled task stops waiting; its call completes and does not affect others."""

        async def main() -> None:
            task = asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", "dropped"))
            await asyncio.to_thread(gate.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            gate.open()
            assert await plugin.process_endpoint_data_async("/", "GET", "next") == "next"

        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            asyncio.run(main())
            assert plugin.state == "running"

    def test_cancelled_before_it_began(self, compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture) -> None:
        """A call whose task is cancelled while it waits for a thread never begins."""

        async def main() -> str | None:
            first = asyncio.create_task(plugin.process_endpoint_data_async("/", "GET", "first"))
            await asyncio.to_thread(gate.wait)
            others = [asyncio.create_task(plugin.process_endpoint_data_async("/")) for _ in range(8)]
            await asyncio.sleep(0)  # each of them begins to wait
            assert plugin.in_flight == 9
            for task in others:
                task.cancel()
            await asyncio.wait(others)
            gate.open()
            assert await first == "first"
            return await plugin.process_endpoint_data_async("/", "GET", "last")

        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread", workers=1) as plugin, Gate() as gate:
            assert asyncio.run(main()) == "last"
        assert caplog.messages.count("inside") == 2


class TestClose:
    """Closing a plugin."""

    def test_after(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """The error of a call after close names the plugin and its state; a second close does nothing."""
        plugin = backworks.load(compile_plugin(), isolation=isolation)
        assert plugin.close() is True
        assert plugin.close() is True

        assert plugin.state == "closed"
        with pytest.raises(backworks.PluginStateError, match="echo: called while it is closed") as caught:
            plugin.process_endpoint_data("/")
        assert caught.value.plugin == "echo"

    @pytest.mark.parametrize("thread_safe", ["true", "false"])
    def test_under_load(self, compile_plugin: CompilePlugin, way: tuple[str, str], thread_safe: str) -> None:
        """Of the calls of 16 threads none is lost by a close in their midst, and none runs beside or after shutdown."""
        path = compile_plugin(COUNTS.replace('"license"', f'"thread_safe": {thread_safe}, "license"'), "counts")
        binding = ffi.binding_named(way[0])
        for _ in range(5):
            loader = DynamicPluginLoader(binding)
            loaded = loader.load(path)
            before = int((loaded.library.description() or b"").split()[0])
            plugin = start(prepare(path), Settings(isolation=way[1]), loader=loader)  # type: ignore[arg-type]
            busy = threading.Semaphore(0)
            answered: list[int] = []

            def work(plugin: Plugin = plugin, busy: threading.Semaphore = busy, answered: list[int] = answered) -> None:
                count = 0
                try:
                    while plugin.process_endpoint_data("/", "POST", str(count)) == str(count):
                        count += 1
                        busy.release()
                except backworks.PluginStateError:
                    answered.append(count)

            threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
            for thread in threads:
                thread.start()
            for _ in range(200):
                assert busy.acquire(timeout=PATIENCE)
            assert plugin.close(PATIENCE) is True
            for thread in threads:
                thread.join(PATIENCE)

            assert len(answered) == 16
            assert plugin.in_flight == 0
            assert loaded.library.description() == b"%d calls, 0 wrong" % (before + sum(answered))

    def test_during_a_call(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """A close during a call waits for it; calls that come meanwhile are refused; shutdown runs once, after it."""
        shut = GATED.replace("  free(plugin);\n", '  backworks_log(plugin->host, 20, "shut down");\n  free(plugin);\n')
        plugin = backworks.load(compile_plugin(shut, "shut"), isolation=isolation)
        heard: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("backworks.plugin.echo").addHandler(handler)
        with Gate() as gate:
            call = in_thread(lambda: plugin.process_endpoint_data("/", "GET", "last"))
            gate.wait()
            closes = [in_thread(plugin.close) for _ in range(4)]
            while plugin.state != "closing":
                pass
            with pytest.raises(backworks.PluginStateError, match="closing"):
                plugin.process_endpoint_data("/")
            assert "shut down" not in heard
            gate.open()

            assert call.result(PATIENCE) == "last"
            assert [close.result(PATIENCE) for close in closes] == [True] * 4
        logging.getLogger("backworks.plugin.echo").removeHandler(handler)
        assert heard.count("shut down") == 1

    def test_gives_up(self, compile_plugin: CompilePlugin, isolation: str, caplog: pytest.LogCaptureFixture) -> None:
        """A close with a timeout abandons a plugin whose call does not return, and logs it."""
        plugin = backworks.load(compile_plugin(GATED, "gated"), isolation=isolation)
        with Gate() as gate:
            call = in_thread(lambda: plugin.process_endpoint_data("/"))
            gate.wait()

            assert plugin.close(timeout=0.05) is False
            assert plugin.state == "abandoned"
            assert "abandoned: it did not stop within 0.05 s (calls in flight: 1)" in caplog.text
            gate.open()
            call.result(PATIENCE)

    def test_shutdown_hangs(self, compile_plugin: CompilePlugin) -> None:
        """With isolation thread, a shutdown that does not return is abandoned at the timeout."""
        hangs = GATED.replace(
            "  free(plugin);\n", '  backworks_log(plugin->host, BACKWORKS_INFO, "inside");\n  free(plugin);\n'
        )
        plugin = backworks.load(compile_plugin(hangs, "hangs"), isolation="thread")
        with Gate() as gate:
            assert plugin.close(timeout=0.05) is False
            assert plugin.state == "abandoned"
            gate.open()

    def test_shutdown_fails(self, compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture) -> None:
        """A shutdown that returns an error is logged, and the plugin is closed."""
        source = ECHO.replace("free(plugin);\n  return BACKWORKS_OK;", "free(plugin);\n  return BACKWORKS_INTERNAL;")
        plugin = backworks.load(compile_plugin(source, "badend"))

        assert plugin.close() is True
        assert "shutdown returned INTERNAL" in caplog.text

    def test_dropped(self, compile_plugin: CompilePlugin) -> None:
        """A plugin that is dropped without a close causes a warning, and C is not called."""
        plugin = backworks.load(compile_plugin())
        with pytest.warns(ResourceWarning, match="<Plugin echo 1.0.0 .none, running.> was never closed"):
            del plugin
            gc.collect()

    def test_method_keeps_it(self, compile_plugin: CompilePlugin, way: tuple[str, str]) -> None:
        """A method that was taken from a plugin keeps it, as any method does; with the last one it is gone."""
        plugin = load_by(way, compile_plugin())
        process = plugin.process_endpoint_data
        gone = weakref.ref(plugin)
        del plugin
        gc.collect()

        assert process("/", "GET", "kept") == "kept"
        with pytest.warns(ResourceWarning, match="never closed"):
            del process
            gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("serial", [False, True])
    def test_closed_is_freed(self, compile_plugin: CompilePlugin, way: tuple[str, str], serial: bool) -> None:
        """A plugin that was closed and dropped is collected."""
        plugin = load_by(way, compile_plugin(TALKS_SERIAL if serial else TALKS, "talks"))
        gone = weakref.ref(plugin)
        plugin.close()
        del plugin
        gc.collect()

        assert gone() is None


class TestSignals:
    """Signals such as Ctrl-C."""

    @pytest.mark.skipif(sys.platform == "win32", reason="there is no signal for one thread there")
    @pytest.mark.parametrize("wait", ["turn", "close"])
    @pytest.mark.parametrize("binding", list(ffi.BINDINGS))
    def test_while_waiting(self, compile_plugin: CompilePlugin, binding: str, wait: str) -> None:
        """A signal's handler runs while its thread waits for another's call, and may end the waiting."""

        class Enough(Exception):
            """The exception of the handler."""

        def handler(number: int, frame: object) -> None:
            raise Enough

        plugin = load_by((binding, "none"), compile_plugin(GATED_SERIAL, "serial"))
        old = signal.signal(signal.SIGUSR1, handler)
        main = threading.get_ident()
        with Gate() as gate:
            first = in_thread(lambda: plugin.process_endpoint_data("/", "GET", "first"))
            gate.wait()
            # Until the main thread is inside as well, or closes, and again in case it was just about to wait.
            entered = threading.Event()

            def poke() -> None:
                while plugin.in_flight < 2 and plugin.state == "running":
                    pass
                while not entered.wait(0.01):
                    signal.pthread_kill(main, signal.SIGUSR1)

            poker = in_thread(poke)
            try:
                with pytest.raises(Enough):
                    plugin.close() if wait == "close" else plugin.process_endpoint_data("/")
            finally:
                entered.set()
                poker.result(PATIENCE)
                signal.signal(signal.SIGUSR1, old)
            gate.open()

            assert first.result(PATIENCE) == "first"
            assert plugin.in_flight == 0
        assert plugin.close() is (wait == "turn")  # a close that was interrupted has left the plugin behind


class TestReentrancy:
    """A log handler that calls the plugin whose record it handles."""

    class Handler(logging.Handler):
        """Calls the plugin once for each record."""

        plugin: Plugin

        def __init__(self) -> None:
            super().__init__()
            self.answers: list[object] = []

        def handle(self, record: logging.LogRecord) -> bool:
            if record.getMessage() == "outer":
                try:
                    self.answers.append(self.plugin.process_endpoint_data("/", "GET", "inner"))
                except backworks.BackworksError as error:
                    self.answers.append(error)
            return True

    @pytest.fixture(name="handler")
    def _handler(self) -> Handler:
        handler = self.Handler()
        logging.getLogger("backworks.plugin.echo").addHandler(handler)
        yield handler  # type: ignore[misc]
        logging.getLogger("backworks.plugin.echo").removeHandler(handler)

    def test_thread_safe(self, compile_plugin: CompilePlugin, way: tuple[str, str], handler: Handler) -> None:
        """A thread-safe plugin responds."""
        with load_by(way, compile_plugin(TALKS, "talks")) as handler.plugin:
            assert handler.plugin.process_endpoint_data("/", "GET", "outer") == "outer"
        assert handler.answers == ["inner"]

    @pytest.mark.parametrize("binding", list(ffi.BINDINGS))
    def test_serial(self, compile_plugin: CompilePlugin, binding: str, handler: Handler) -> None:
        """A plugin that is not thread-safe rejects the inner call, because it would wait for the outer one."""
        with load_by((binding, "none"), compile_plugin(TALKS_SERIAL, "serialtalks")) as handler.plugin:
            assert handler.plugin.process_endpoint_data("/", "GET", "outer") == "outer"
            assert handler.plugin.process_endpoint_data("/", "GET", "on") == "on"
        (error,) = handler.answers

        assert isinstance(error, backworks.PluginStateError)
        assert "called from within its own call" in str(error)


class TestLog:
    """The plugin's log."""

    def test_level_and_logger(self, compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture) -> None:
        """A record reaches the plugin's logger with its level, and a percent sign in it stays unchanged."""
        with backworks.load(compile_plugin(MANY_ANSWERS, "many")) as plugin:
            plugin.process_endpoint_data("log", "GET", "100 %s")

        assert ("backworks.plugin.echo", logging.WARNING, "100 %s") in caplog.record_tuples


def wait_until_empty(plugin: Plugin) -> None:
    """Waits until the last call has left: a bounded wait for another thread's few instructions."""
    deadline = threading.Event()
    timer = threading.Timer(PATIENCE, deadline.set)
    timer.start()
    while plugin.in_flight and not deadline.is_set():
        pass
    timer.cancel()
    assert not deadline.is_set()
