"""The ASGI application, with compiled plugins behind it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import ECHO, CompilePlugin
from gate import GATED, PATIENCE, Gate

import backworks
from backworks.config import parse_config
from backworks.errors import BackworksError, Code, ConfigError, PluginError, PluginStateError, PluginUnavailable
from backworks.http import HttpApp, create_app
from backworks.http.problems import STATUS_OF_CODE, problem_of
from backworks.manager import PluginManager
from backworks.plugin import Plugin

PROBE = (
    ECHO.replace("backworks_plugin_process_endpoint_data", "echo_process").replace(
        "int32_t echo_process", "static int32_t echo_process"
    )
    + """
static int says(const backworks_request *request, const char *text) {
  return backworks_equal(request->data, request->data_size, text);
}

int32_t backworks_plugin_process_endpoint_data(backworks_plugin *plugin, const backworks_request *request,
                                               backworks_response *response) {
  static const char headers[] = "Location: /made\\r\\nX-Two: 2\\r\\n";
  char text[512];
  int code;
  memcpy(text, request->data, request->data_size < 20 ? request->data_size : 20);
  text[request->data_size < 20 ? request->data_size : 20] = 0;
  if (sscanf(text, "fail %d", &code) == 1) {
    return backworks_fail(response, code, "it is so: %d", code);
  }
  if (sscanf(text, "status %d", &code) == 1) {
    response->http_status = (uint32_t)code;
    return backworks_answer(response, "{}", 2);
  }
  if (sscanf(text, "teapot %d", &code) == 1) {
    response->http_status = 418;
    return code;
  }
  if (says(request, "none")) {
    return backworks_not_mine(response);
  }
  if (says(request, "broken")) {
    response->size = 9;
    return BACKWORKS_OK;
  }
  if (says(request, "created")) {
    response->http_status = 201;
    backworks_set_content_type(response, "text/plain; charset=utf-8");
    response->headers = headers;
    response->headers_size = sizeof headers - 1;
    return backworks_answer(response, "made", 4);
  }
  if (says(request, "what")) {
    int length = snprintf(text, sizeof text, "%.*s %.*s %d %.*s %.*s", (int)request->method_size, request->method,
                          (int)request->endpoint_size, request->endpoint, request->time_left_ns > 0,
                          (int)request->traceparent_size, request->traceparent ? request->traceparent : "",
                          (int)request->tracestate_size, request->tracestate ? request->tracestate : "");
    return backworks_answer(response, text, (size_t)length);
  }
  return echo_process(plugin, request, response);
}
"""
)

ENDPOINTS = {
    "/echo/{name}": {"methods": ["GET", "POST"], "runtime": {"handler": "probe"}},
    "/probe/{x}": {"methods": ["POST", "PUT"], "data": "body", "timeout": "5s", "runtime": {"handler": "probe"}},
    "/gated": {"runtime": {"handler": "echo"}},
    "/soon": {"timeout": "50ms", "runtime": {"handler": "echo"}},
    "/absent": {"runtime": {"handler": "absent"}},
    "/options": {"methods": ["OPTIONS", "HEAD", "PURGE"], "runtime": {"handler": "probe"}},
}


def config(compile_plugin: CompilePlugin, **server: Any) -> dict[str, Any]:
    """Creates a configuration with a scriptable plugin, one whose calls can be held, and one that does not start."""
    probe = compile_plugin(PROBE, "probe", ['-DNAME="probe"'])
    return {
        "server": {"max_body": 1000, **server},
        "plugins": {
            "probe": {"path": str(probe)},
            # A gate holds calls of threads; the log of a worker process is not its own.
            "echo": {"path": str(compile_plugin(GATED, "gated")), "isolation": "thread"},
            "absent": {"path": str(probe.with_name("absent.so")), "critical": False},
        },
        "endpoints": ENDPOINTS,
    }


def open_client(app: HttpApp) -> httpx.AsyncClient:
    """Opens a client that calls an application without a network."""
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


class Client:
    """Sends requests to an application, each in a new event loop."""

    def __init__(self, app: HttpApp) -> None:
        self.app = app

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with open_client(self.app) as client:
                return await client.request(method, path, **options)

        return asyncio.run(ask())


@pytest.fixture(scope="module", name="manager")
def _manager(compile_plugin: CompilePlugin) -> Iterator[PluginManager]:
    with PluginManager.from_config(config(compile_plugin)) as manager:
        yield manager


@pytest.fixture(name="ask")
def _ask(compile_plugin: CompilePlugin, manager: PluginManager) -> Client:
    return Client(create_app(config(compile_plugin), manager=manager))


def test_allowed_hosts(compile_plugin: CompilePlugin, manager: PluginManager) -> None:
    """The application checks Host and Origin if it has allowed hosts, and when a reload changes them."""
    app = create_app(config(compile_plugin, allowed_hosts=["example.com"]), manager=manager)
    ask = Client(app)

    assert ask("GET", "/healthz").status_code == 421
    assert ask("GET", "/healthz", headers={"host": "example.com"}).status_code == 200
    assert "server.allowed_hosts" in ask("GET", "/healthz").json()["detail"]
    fields = {"host": "example.com", "origin": "https://evil.example"}
    assert ask("POST", "/healthz", headers=fields).status_code == 403
    app.switch(app.prepare(parse_config(config(compile_plugin, allowed_hosts=["test"]))))
    assert ask("GET", "/healthz").status_code == 200
    app.switch(app.prepare(parse_config(config(compile_plugin))))
    assert ask("GET", "/healthz", headers={"host": "evil.example"}).status_code == 200


def is_problem(answer: httpx.Response, status: int, **members: Any) -> None:
    """Asserts that a response is a problem with a status, a title and the given members only."""
    problem = answer.json()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert isinstance(problem.pop("title"), str)
    assert problem == {"type": "about:blank", "status": status, **members}


class TestRequest:
    """The data that the plugin receives."""

    def test_request_json(self, ask: Client) -> None:
        """By default the plugin receives the request as JSON, and its response is sent unchanged as JSON."""
        answer = ask("POST", "/echo/a%2Fb?x=1&x=2", json={"n": 1.5}, headers={"X-A": "ü".encode("latin-1")})
        data = answer.json()

        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["content-length"] == str(len(answer.content))
        assert data["method"] == "POST"
        assert data["path"] == "/echo/a/b"
        assert data["path_params"] == {"name": "a/b"}
        assert data["query"] == {"x": ["1", "2"]}
        assert data["headers"]["x-a"] == "ü"
        assert data["body"] == {"n": 1.5}

    def test_body(self, ask: Client) -> None:
        """With ``data: body`` the plugin receives the unchanged bytes of the body."""
        every = bytes(range(256))

        assert ask("POST", "/probe/1", content=every).content == every
        assert ask("POST", "/probe/1").content == b""

    def test_method_endpoint_time_and_trace(self, ask: Client) -> None:
        """The plugin receives the method, the configured endpoint, the deadline, and the trace context."""
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = ask("PUT", "/probe/1", content="what", headers={"traceparent": parent, "tracestate": "a=1"})

        assert answer.text == f"PUT /probe/{{x}} 1 {parent} a=1"

    def test_body_too_large(self, ask: Client) -> None:
        """A body above ``server.max_body`` is rejected with 413; one of exactly that size is accepted."""
        assert ask("POST", "/probe/1", content=b"x" * 1000).status_code == 200
        answer = ask("POST", "/probe/1", content=b"x" * 1001)

        assert answer.headers["connection"] == "close"
        is_problem(answer, 413, detail="the body must not exceed 1000 bytes")

    def test_not_json(self, ask: Client) -> None:
        """An invalid JSON body is rejected with 400, and the detail names the position of the error."""
        answer = ask("POST", "/echo/a", content='{"a": }', headers={"content-type": "application/json"})

        assert "line 1 column 7" in answer.json()["detail"]
        is_problem(answer, 400, detail=answer.json()["detail"])

    @pytest.mark.parametrize("path", ["/echo/%ff", "/echo/a?x=%ff"])
    def test_not_utf8(self, ask: Client, path: str) -> None:
        """A path or a query that is not UTF-8 is rejected with 400."""
        assert ask("GET", path).status_code == 400


class TestAnswer:
    """Conversion of the plugin's response."""

    def test_status_type_and_headers(self, ask: Client) -> None:
        """The plugin's status, content type and header fields are sent."""
        answer = ask("POST", "/probe/1", content="created")

        assert (answer.status_code, answer.text) == (201, "made")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["location"] == "/made"
        assert answer.headers["x-two"] == "2"

    @pytest.mark.parametrize("status", [204, 205, 304])
    def test_no_content(self, ask: Client, status: int) -> None:
        """A response whose status allows no content has neither content nor content type."""
        answer = ask("POST", "/probe/1", content=f"status {status}")

        assert (answer.status_code, answer.content) == (status, b"")
        assert "content-type" not in answer.headers
        assert answer.headers.get("content-length") == ("0" if status == 205 else None)

    def test_empty(self, ask: Client) -> None:
        """An empty response is 200 without a content type, because empty content is not valid JSON."""
        answer = ask("POST", "/probe/1")

        assert (answer.status_code, answer.headers["content-length"]) == (200, "0")
        assert "content-type" not in answer.headers

    def test_none(self, ask: Client) -> None:
        """A request that the plugin does not handle is 404."""
        detail = "the plugin has no answer for POST /probe/{x}"

        is_problem(ask("POST", "/probe/1", content="none"), 404, detail=detail, plugin="probe")


class TestMethods:
    """Methods other than the configured ones."""

    def test_head(self, ask: Client) -> None:
        """HEAD has the response of GET, including its length, without the content."""
        get = ask("GET", "/echo/a")
        head = ask("HEAD", "/echo/a")

        assert (head.status_code, head.content) == (200, b"")
        assert get.headers == head.headers

    def test_head_of_a_problem(self, ask: Client) -> None:
        """A problem in response to HEAD has no content either."""
        answer = ask("HEAD", "/nowhere")

        assert (answer.status_code, answer.content) == (404, b"")

    def test_options(self, ask: Client) -> None:
        """OPTIONS is 204 and lists the methods."""
        answer = ask("OPTIONS", "/echo/a")

        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")

    @pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "TRACE", "NONSENSE"])
    def test_wrong_method(self, ask: Client, method: str) -> None:
        """Any other method is 405 and lists the allowed methods."""
        answer = ask(method, "/probe/1")

        assert (answer.status_code, answer.headers["allow"]) == (405, "OPTIONS, POST, PUT")
        if method != "HEAD":
            is_problem(answer, 405, detail=f"/probe/{{x}} does not allow {method}; it allows OPTIONS, POST, PUT")

    @pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "PURGE"])
    def test_configured(self, ask: Client, method: str) -> None:
        """A configured method goes to the plugin, even one that the server usually handles itself or does not know."""
        answer = ask(method, "/options")

        assert answer.status_code == 200
        assert method == "HEAD" or answer.json()["method"] == method

    @pytest.mark.parametrize("path", ["/", "/echo", "/echo/", "/echo/a/", "/echo/a/b", "/echo//a", "/Echo/a"])
    def test_unknown_route(self, ask: Client, path: str) -> None:
        """An unknown path is 404; a trailing slash makes a different path."""
        is_problem(ask("GET", path), 404, detail=f"no endpoint matches {path}")


class TestErrors:
    """Conversion of the plugin's errors."""

    @pytest.mark.parametrize("code", [code for code in Code if code is not Code.OK])
    def test_codes(self, ask: Client, code: Code) -> None:
        """Every code maps to the status in the C header, with the plugin's name and message."""
        answer = ask("POST", "/probe/1", content=f"fail {code.value}")

        is_problem(answer, STATUS_OF_CODE[code], detail=f"it is so: {code.value}", plugin="probe", code=code.name)

    def test_table(self) -> None:
        """The table matches the C header."""
        header = (backworks.sdk.path("c") / "backworks_plugin.h").read_text(encoding="utf-8")

        for code, status in STATUS_OF_CODE.items():
            line = next(line for line in header.splitlines() if f"BACKWORKS_{code.name} = {code.value}" in line)
            assert f"({status})" in line

    def test_unknown_code(self, ask: Client) -> None:
        """An unknown code becomes UNKNOWN."""
        answer = ask("POST", "/probe/1", content="fail 99")

        assert (answer.status_code, answer.json()["code"]) == (500, "UNKNOWN")

    def test_plugins_own_status(self, ask: Client) -> None:
        """The plugin may choose the status of its error; an error without a message gets a default detail."""
        answer = ask("POST", "/probe/1", content="teapot 5")

        is_problem(
            answer, 418, detail="the plugin did not find the requested resource", plugin="probe", code="NOT_FOUND"
        )

    @pytest.mark.parametrize("data", ["broken", "status 99"])
    def test_broken_contract(self, ask: Client, data: str, caplog: pytest.LogCaptureFixture) -> None:
        """A response that violates the ABI is 502, and is logged without a stack trace."""
        answer = ask("POST", "/probe/1", content=data)

        assert (answer.status_code, answer.json()["code"]) == (502, "INTERNAL")
        assert [record.exc_info for record in caplog.records if record.name == "backworks.http"] == [None]

    def test_timeout(self, ask: Client) -> None:
        """A call that times out is 504; until it returns, further requests to the plugin are 503."""
        with Gate() as gate:
            late = ask("GET", "/soon")
            gate.wait()
            busy = ask("GET", "/soon")

        is_problem(late, 504, detail="no answer within 0.05 s", plugin="echo", code="DEADLINE_EXCEEDED")
        assert (busy.status_code, busy.json()["code"]) == (503, "UNAVAILABLE")

    def test_not_started(self, ask: Client) -> None:
        """The endpoints of a plugin that failed to start and is not critical are 503 with the reason."""
        answer = ask("GET", "/absent")

        assert answer.status_code == 503
        assert "absent.so" in answer.json()["detail"]

    @pytest.mark.parametrize(("seconds", "field"), [(0.2, "1"), (7.1, "8"), (None, None)])
    def test_retry_after(self, seconds: float | None, field: str | None) -> None:
        """Retry-After is set, in whole seconds, if it is known when a retry makes sense."""
        answer = problem_of(PluginUnavailable("", plugin="p", retry_after=seconds))

        assert (answer.status, dict(answer.headers).get(b"retry-after", b"").decode() or None) == (503, field)

    def test_closed(self) -> None:
        """A plugin that is closing is 503, with the host's message."""
        answer = problem_of(PluginStateError("p: called while it is closing", plugin="p"))

        assert (answer.status, json.loads(answer.body)["detail"]) == (503, "p: called while it is closing")

    def test_no_stack_trace(self, compile_plugin: CompilePlugin, caplog: pytest.LogCaptureFixture) -> None:
        """An unexpected exception is 500 without details, and is logged completely."""

        class Broken(PluginManager):
            def current(self, plugin_id: str) -> Plugin:
                raise ZeroDivisionError("secret")

        with Broken() as manager:
            answer = Client(create_app(config(compile_plugin), manager=manager))("GET", "/echo/a")

        assert (answer.status_code, "secret" in answer.text) == (500, False)
        assert "ZeroDivisionError: secret" in caplog.text


class TestHangUp:
    """Clients that disconnect."""

    def test_during_the_call(self, ask: Client, manager: PluginManager, caplog: pytest.LogCaptureFixture) -> None:
        """The call is abandoned without an error, and its response is discarded."""
        sent: list[MutableMapping[str, Any]] = []
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": "GET",
            "path": "/gated",
            "raw_path": b"/gated",
            "query_string": b"",
            "headers": [],
        }

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        with Gate() as gate:
            asyncio.run(asyncio.wait_for(ask.app(scope, receive, send), PATIENCE))
            gate.wait()

            assert manager.plugins["echo"].in_flight == 1
        assert sent == []
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
        assert ask("GET", "/gated").status_code == 200
        assert 'route="/gated",status="499"' in ask("GET", "/metrics").text

    def test_task_cancelled(self, ask: Client) -> None:
        """A cancellation by the server propagates."""

        async def main() -> None:
            task = asyncio.create_task(open_client(ask.app).get("/gated"))
            await asyncio.to_thread(gate.wait)
            task.cancel()
            await task

        with Gate() as gate, pytest.raises(asyncio.CancelledError):
            asyncio.run(main())

    def test_server_stops(self, ask: Client) -> None:
        """A request that still waits when the shutdown timeout expires is 503."""

        async def main() -> httpx.Response:
            async with open_client(ask.app) as client:
                task = asyncio.create_task(client.get("/gated"))
                await asyncio.to_thread(gate.wait)
                ask.app.give_up()
                return await task

        with Gate() as gate:
            answer = asyncio.run(main())

        is_problem(
            answer,
            503,
            detail="the server shut down before the plugin responded",
            plugin="echo",
            code="UNAVAILABLE",
        )


class Lifespan:
    """A server's side of the lifespan protocol."""

    def __init__(self, app: HttpApp) -> None:
        self.sent: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.events: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(app({"type": "lifespan"}, self.events.get, self.sent.put))

    async def ask(self, kind: str) -> MutableMapping[str, Any]:
        await self.events.put({"type": kind})
        return await asyncio.wait_for(self.sent.get(), PATIENCE)


class TestLifespan:
    """The lifecycle of an application's plugins."""

    def test_owned(self, compile_plugin: CompilePlugin) -> None:
        """The plugins start and stop with the server; before and after that the endpoints are 503."""
        app = create_app(config(compile_plugin))
        ask = Client(app)

        async def main() -> list[int]:
            lifespan = Lifespan(app)
            assert await lifespan.ask("lifespan.startup") == {"type": "lifespan.startup.complete"}
            running = await asyncio.to_thread(ask, "GET", "/echo/a")
            assert await lifespan.ask("lifespan.shutdown") == {"type": "lifespan.shutdown.complete"}
            await lifespan.task
            return [running.status_code, (await asyncio.to_thread(ask, "GET", "/echo/a")).status_code]

        before = ask("GET", "/echo/a")

        assert before.status_code == 503
        assert "lifespan" in before.json()["detail"]
        assert asyncio.run(main()) == [200, 503]

    def test_not_owned(self, compile_plugin: CompilePlugin) -> None:
        """A manager that is passed to the application is not closed by it."""

        async def main() -> None:
            lifespan = Lifespan(create_app(config(compile_plugin), manager=manager))
            assert (await lifespan.ask("lifespan.startup"))["type"] == "lifespan.startup.complete"
            assert (await lifespan.ask("lifespan.shutdown"))["type"] == "lifespan.shutdown.complete"

        with PluginManager.from_config(config(compile_plugin)) as manager:
            asyncio.run(main())

            assert manager.plugins["probe"].state == "running"

    def test_leaves_no_threads(self, compile_plugin: CompilePlugin) -> None:
        """An application that has ended leaves no thread, however often its own pages were requested."""
        echo = {"plugins": {"echo": {"path": str(compile_plugin())}}, "endpoints": {}}

        async def run() -> None:
            app = create_app(echo)
            lifespan = Lifespan(app)
            await lifespan.ask("lifespan.startup")
            async with open_client(app) as client:
                for page in ("/metrics", "/readyz", "/metrics"):
                    assert (await client.get(page)).status_code == 200
            await lifespan.ask("lifespan.shutdown")
            await lifespan.task

        before = set(threading.enumerate())
        for _ in range(3):
            asyncio.run(run())
        until = time.monotonic() + PATIENCE
        while [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("backworks-")]:
            assert time.monotonic() < until
            threading.Event().wait(0.001)

    def test_critical_plugin(self, compile_plugin: CompilePlugin) -> None:
        """If a critical plugin does not start, startup fails with the reason."""
        broken = config(compile_plugin)
        del broken["plugins"]["absent"]["critical"]

        async def main() -> MutableMapping[str, Any]:
            lifespan = Lifespan(create_app(broken))
            answer = await lifespan.ask("lifespan.startup")
            await lifespan.task
            return answer

        answer = asyncio.run(main())

        assert answer["type"] == "lifespan.startup.failed"
        assert "absent.so" in answer["message"]


class TestCreate:
    """Creating an application."""

    def test_from_manager(self, manager: PluginManager) -> None:
        """A running manager supplies the endpoints of its configuration."""
        assert Client(create_app(manager))("GET", "/echo/a").status_code == 200

    def test_from_bare_manager(self) -> None:
        """A manager without a configuration is an error that names the fix."""
        with PluginManager() as bare, pytest.raises(ValueError, match=r"create_app\(config, manager=manager\)"):
            create_app(bare)

    def test_from_model(self, compile_plugin: CompilePlugin, manager: PluginManager) -> None:
        """The configuration may be a model."""
        app = backworks.create_app(parse_config(config(compile_plugin)), manager=manager)

        assert Client(app)("GET", "/echo/a").status_code == 200

    def test_errors(self, tmp_path: Path) -> None:
        """An invalid configuration raises an error when the application is created."""
        path = tmp_path / "backworks.yaml"
        path.write_text("endpoints: {/a: {runtime: {handler: nobody}}}", encoding="utf-8")

        for wrong in (path, str(path), {"server": {"port": "x"}}):
            with pytest.raises(ConfigError):
                create_app(wrong)

    def test_other_protocols(self, ask: Client) -> None:
        """A WebSocket is rejected, and an unknown protocol is an error."""
        sent: list[MutableMapping[str, Any]] = []

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "websocket.connect"}

        asyncio.run(ask.app({"type": "websocket"}, receive, send))
        with pytest.raises(RuntimeError, match="'smtp'"):
            asyncio.run(ask.app({"type": "smtp"}, receive, send))

        assert sent == [{"type": "websocket.close"}]

    def test_mounted(self, ask: Client) -> None:
        """Mounted in another application, the path starts after the mount point."""

        class Mount:
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                await ask.app(dict(scope, root_path="/über uns"), receive, send)

        answer = Client(Mount())("GET", "/%C3%BCber%20uns/echo/a")  # type: ignore[arg-type]

        assert (answer.status_code, answer.json()["path"]) == (200, "/echo/a")

    def test_without_raw_path(self, ask: Client) -> None:
        """A server that does not supply the raw path is supported as well."""

        class NoRawPath:
            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                del scope["raw_path"]
                await ask.app(scope, receive, send)

        answer = Client(NoRawPath())("GET", "/echo/%C3%BC%25")  # type: ignore[arg-type]

        assert answer.json()["path_params"] == {"name": "ü%"}


def test_status_of_any_error() -> None:
    """Every error of this package has a status."""
    pending = [BackworksError]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if issubclass(kind, PluginError):
            assert problem_of(kind("")).status in (500, 502, 503, 504)
