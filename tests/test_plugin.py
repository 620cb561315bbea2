"""One running plugin: calls, time, and the end, in each isolation."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

import pytest
from conftest import ECHO, CompilePlugin
from gate import GATED, GATED_SERIAL, PATIENCE, Gate
from test_ffi import MANY_ANSWERS

import backworks
from backworks import Code, Plugin, PluginResult

if TYPE_CHECKING:
    from collections.abc import Callable

ISOLATIONS = ["none", "thread"]


@pytest.fixture(name="isolation", params=ISOLATIONS)
def _isolation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def in_thread(function: Callable[[], object]) -> Future[object]:
    """Runs a function in a thread of its own."""
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
        """A loaded plugin says who it is."""
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
        """A stem finds the library as this system names it."""
        with backworks.load(compile_plugin().with_name("echo")) as plugin:
            assert plugin.name == "echo"

    def test_config(self, compile_plugin: CompilePlugin) -> None:
        """The configuration reaches the plugin as JSON, and its refusal comes back."""
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
        """A configuration that breaks the manifest's schema is refused before the plugin sees it, every error named."""
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
            (
                {"isolation": "process"},
                "worker processes are not part of this version; use 'thread' or 'none'",
            ),
            ({"isolation": "thraed"}, "isolation 'thraed' is none: 'none' and 'thread' are"),
            ({"isolation": "thread", "workers": 0}, "workers is 0; it takes at least 1"),
        ],
    )
    def test_wrong_use(self, compile_plugin: CompilePlugin, options: dict[str, object], text: str) -> None:
        """An isolation that there is not is an error that says which there are."""
        with pytest.raises(ValueError, match=text):
            backworks.load(compile_plugin(), **options)  # type: ignore[arg-type]

    def test_changed_file(self, compile_plugin: CompilePlugin) -> None:
        """A file that was replaced is loaded anew, while the instance of the old one goes on."""
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
    """Calls and their answers."""

    @pytest.fixture(name="plugin")
    def _plugin(self, compile_plugin: CompilePlugin, isolation: str) -> Plugin:
        with backworks.load(compile_plugin(MANY_ANSWERS, "many"), isolation=isolation) as plugin:
            yield plugin  # type: ignore[misc]

    def test_text_and_bytes(self, plugin: Plugin) -> None:
        """Text and every kind of bytes go in; text comes out, or bytes on request."""
        for data in ("é\0ü", "é\0ü".encode(), bytearray("é\0ü".encode()), memoryview("é\0ü".encode())):
            assert plugin.process_endpoint_data("/", "POST", data) == "é\0ü"
            assert plugin.process_endpoint_data("/", "POST", data, as_bytes=True) == "é\0ü".encode()

    def test_absent_and_empty(self, plugin: Plugin) -> None:
        """An answer "not mine" is None; an empty answer is an empty text."""
        assert plugin.process_endpoint_data("not mine") is None
        assert plugin.process_endpoint_data("empty") == ""
        assert plugin.call("not mine") is None

    def test_not_text(self, plugin: Plugin) -> None:
        """An answer that is no UTF-8 is an error where text is asked for, and fine as bytes."""
        with pytest.raises(backworks.PluginContractError, match=r"not UTF-8 \(byte 1 of 2\).*as_bytes=True"):
            plugin.process_endpoint_data("/", "POST", b"a\xff")

        assert plugin.process_endpoint_data("/", "POST", b"a\xff", as_bytes=True) == b"a\xff"

    def test_http_fields(self, plugin: Plugin) -> None:
        """``call`` brings the HTTP status, the content type and the headers along."""
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
        """A code without a message is an error all the same."""
        with pytest.raises(backworks.PluginError, match="^echo: INTERNAL$"):
            plugin.process_endpoint_data("silent")

    def test_strange_code(self, plugin: Plugin) -> None:
        """A code outside of the table is UNKNOWN, and the message names the number."""
        with pytest.raises(backworks.PluginError, match="UNKNOWN: .code -77, which is none of the ABI's") as caught:
            plugin.process_endpoint_data("strange code")

        assert caught.value.code is Code.UNKNOWN

    def test_trace_and_time(self, plugin: Plugin) -> None:
        """The trace context and the time that is left reach the plugin."""
        answer = plugin.process_endpoint_data("what", timeout=3600, traceparent="00-ab-cd-01", tracestate="a=b")

        assert answer is not None
        _, method, left, parent, state, _ = answer.split("|")
        assert (method, parent, state) == ("GET", "00-ab-cd-01", "a=b")
        assert 3500e9 < int(left) <= 3600e9

    def test_async(self, plugin: Plugin) -> None:
        """The asyncio twin answers alike, many calls at a time."""

        async def main() -> list[str | None]:
            calls = (plugin.process_endpoint_data_async("/", "POST", str(i)) for i in range(50))
            return await asyncio.gather(*calls)

        assert asyncio.run(main()) == [str(i) for i in range(50)]

    def test_health(self, plugin: Plugin) -> None:
        """A plugin that can be asked says how it is."""
        health = plugin.health()

        assert (health.ok, health.state, health.message, health.code) == (
            False,
            "running",
            "tired",
            Code.UNAVAILABLE,
        )

    def test_arguments(self, plugin: Plugin) -> None:
        """Text that is none is a ValueError, and the plugin goes on."""
        with pytest.raises(ValueError, match="surrogates not allowed"):
            plugin.process_endpoint_data("/\ud800")
        with pytest.raises(TypeError):
            plugin.process_endpoint_data("/", "GET", object())  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            plugin.process_endpoint_data("/", "GET", 5)  # type: ignore[call-overload]
        with pytest.raises(TypeError):
            plugin.process_endpoint_data("/", timeout="soon")  # type: ignore[call-overload]

        assert plugin.process_endpoint_data("/", "GET", "on") == "on"


class TestFields:
    """HTTP fields that a plugin may not set."""

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            ("response->http_status = 99;", "http_status is 99; it must be 200 to 599"),
            ("response->http_status = 600;", "http_status is 600"),
            ('backworks_set_content_type(response, "text/plain\\r\\nX: 1");', "is no media type"),
            ('backworks_set_content_type(response, "t\\xc3\\xa9xt");', "is no media type"),
            ('HEADERS("X: 1");', "do not end with CR LF"),
            ('HEADERS("X 1\\r\\n");', "header line b'X 1' is none"),
            ('HEADERS("X: a\\nb\\r\\n");', "header line"),
            ('HEADERS("X : 1\\r\\n");', "header line"),
            ('HEADERS("X: 1\\r\\n\\r\\n");', "header line"),
            ('HEADERS("X: 1\\r\\nContent-Length: 3\\r\\n");', "sets the header field Content-Length"),
            ('HEADERS("transfer-encoding: chunked\\r\\n");', "which is the host's"),
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
        """16 calls are in a thread-safe plugin at the same time."""
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
        """Of 16 calls to a plugin that is not thread-safe one is inside at a time, and all are answered."""
        with (
            backworks.load(compile_plugin(GATED_SERIAL, "serial"), isolation=isolation, workers=16) as plugin,
            Gate() as gate,
        ):
            calls = [in_thread(lambda i=i: plugin.process_endpoint_data("/", "GET", str(i))) for i in range(16)]
            gate.wait()
            gate.open()

            assert [call.result(PATIENCE) for call in calls] == [str(i) for i in range(16)]
            assert gate.most_inside == 1

    def test_called_by_itself(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """A log handler that calls its own plugin does not wait for ever, if that takes one call at a time."""
        caught: list[BaseException] = []

        class CallsBack(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                try:
                    plugin.process_endpoint_data("/")
                except backworks.BackworksError as error:
                    caught.append(error)

        handler = CallsBack(logging.INFO)
        logger = logging.getLogger("backworks.plugin.echo")
        with backworks.load(compile_plugin(GATED_SERIAL, "serial"), isolation=isolation) as plugin:
            logger.setLevel(logging.INFO)
            logger.addHandler(handler)
            try:
                answer = plugin.process_endpoint_data("/", "GET", "outer", timeout=PATIENCE)
            finally:
                logger.removeHandler(handler)

        assert answer == "outer"
        assert [type(error) for error in caught] == [backworks.PluginStateError]
        assert "called from within its own call" in str(caught[0])

    def test_workers(self, compile_plugin: CompilePlugin) -> None:
        """With isolation thread no more calls run at a time than there are workers."""
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


class TestTimeout:
    """``isolation: thread`` and a call that overruns."""

    def test_quarantine(self, compile_plugin: CompilePlugin) -> None:
        """The caller has PluginTimeout; until the lost call returns, others are refused, then served again."""
        with backworks.load(compile_plugin(GATED, "gated"), isolation="thread") as plugin, Gate() as gate:
            with pytest.raises(backworks.PluginTimeout, match="no answer within 0.05 s") as caught:
                plugin.process_endpoint_data("/", "GET", "lost", timeout=0.05)

            assert caught.value.code is Code.DEADLINE_EXCEEDED
            assert plugin.state == "quarantined"
            with pytest.raises(backworks.PluginUnavailable, match="has not returned yet"):
                plugin.process_endpoint_data("/")
            assert not plugin.health().ok

            gate.open()
            wait_until_empty(plugin)

            assert plugin.state == "running"
            assert plugin.process_endpoint_data("/", "GET", "again") == "again"

    def test_async(self, compile_plugin: CompilePlugin) -> None:
        """The asyncio twin has PluginTimeout too, and the event loop goes on meanwhile."""

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
        """A call that never got a thread is given up without quarantine."""
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
        """A task that is cancelled stops waiting; its call ends by itself and disturbs no other."""

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


class TestClose:
    """The end of a plugin."""

    def test_after(self, compile_plugin: CompilePlugin, isolation: str) -> None:
        """A call after close names the plugin and its state; a second close does nothing."""
        plugin = backworks.load(compile_plugin(), isolation=isolation)
        assert plugin.close() is True
        assert plugin.close() is True

        assert plugin.state == "closed"
        with pytest.raises(backworks.PluginStateError, match="echo: called while it is closed") as caught:
            plugin.process_endpoint_data("/")
        assert caught.value.plugin == "echo"

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
        """A close with a time limit leaves a plugin behind whose call does not return, and says so."""
        plugin = backworks.load(compile_plugin(GATED, "gated"), isolation=isolation)
        with Gate() as gate:
            call = in_thread(lambda: plugin.process_endpoint_data("/"))
            gate.wait()

            assert plugin.close(timeout=0.05) is False
            assert plugin.state == "abandoned"
            assert "left behind: it did not end within 0.05 s (1 calls inside)" in caplog.text
            gate.open()
            call.result(PATIENCE)

    def test_shutdown_hangs(self, compile_plugin: CompilePlugin) -> None:
        """With isolation thread a shutdown that does not return is left behind in time."""
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
        assert "its shutdown returned INTERNAL" in caplog.text

    def test_dropped(self, compile_plugin: CompilePlugin) -> None:
        """A plugin that is dropped without a close is reported, and C is left alone."""
        plugin = backworks.load(compile_plugin())
        with pytest.warns(ResourceWarning, match="<Plugin echo 1.0.0 .none, running.> was never closed"):
            del plugin
            gc.collect()


class TestLog:
    """The plugin's log."""

    def test_level_and_logger(self, compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture) -> None:
        """A record arrives at the plugin's own logger with its level, and a per cent sign in it is text."""
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
