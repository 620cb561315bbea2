"""The server's own pages."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources

import pytest
from conftest import CompilePlugin
from gate import Gate
from openapi_spec_validator import OpenAPIV31SpecValidator
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from test_ffi import MANY_ANSWERS
from test_http_app import Client, config, open_client

from backworks.config import parse_config
from backworks.config.checks import RESERVED_PATHS
from backworks.http import create_app
from backworks.http.metrics import Metrics
from backworks.http.openapi import describe
from backworks.http.pages import pages
from backworks.manager import PluginManager

HEALTHY = """
int32_t backworks_plugin_health_check(backworks_plugin *plugin, backworks_response *response) {
  backworks_log(plugin->host, BACKWORKS_INFO, "inside");
  return backworks_answer(response, "well", 4);
}
"""


@pytest.fixture(name="manager")
def _manager(compile_plugin: CompilePlugin) -> Iterator[PluginManager]:
    with PluginManager.from_config(config(compile_plugin)) as manager:
        yield manager


@pytest.fixture(name="ask")
def _ask(compile_plugin: CompilePlugin, manager: PluginManager) -> Client:
    return Client(create_app(config(compile_plugin), manager=manager))


def test_reserved() -> None:
    """The reserved paths of the configuration are exactly the server's own routes."""
    assert tuple(sorted(pages(parse_config({}), Metrics()))) == RESERVED_PATHS


@pytest.mark.parametrize("path", RESERVED_PATHS)
def test_methods(ask: Client, path: str) -> None:
    """The pages only allow GET and HEAD."""
    assert ask("HEAD", path).status_code == 200
    assert ask("POST", path).status_code == 405
    assert ask("OPTIONS", path).headers["allow"] == "GET, HEAD, OPTIONS"


class TestHealth:
    """Liveness and readiness."""

    def test_alive(self, ask: Client) -> None:
        """/healthz reports that the process runs."""
        answer = ask("GET", "/healthz")

        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert answer.headers["cache-control"] == "no-store"

    def test_ready(self, ask: Client) -> None:
        """/readyz is 200 while all critical plugins are healthy, and reports each plugin."""
        answer = ask("GET", "/readyz")
        report = answer.json()

        assert (answer.status_code, report["status"]) == (200, "ok")
        assert report["plugins"]["probe"] == {"ok": True, "state": "running", "code": "OK", "message": ""}
        assert report["plugins"]["absent"]["ok"] is False
        assert "absent.so" in report["plugins"]["absent"]["message"]

    def test_not_ready(self, ask: Client, manager: PluginManager, compile_plugin: CompilePlugin) -> None:
        """An unhealthy critical plugin makes it 503, with the plugin's own message."""
        manager.load(compile_plugin(MANY_ANSWERS, "many"), plugin_id="tired")
        answer = ask("GET", "/readyz")

        assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
        assert answer.json()["plugins"]["tired"] == {
            "ok": False,
            "state": "running",
            "code": "UNAVAILABLE",
            "message": "tired",
        }

    def test_no_answer(self, ask: Client, manager: PluginManager, compile_plugin: CompilePlugin) -> None:
        """A health check that hangs makes it 503 as well, within a time limit."""
        hanging = compile_plugin(MANY_ANSWERS.partition("int32_t backworks_plugin_health_check")[0] + HEALTHY, "hangs")
        with Gate("hanging"):
            manager.load(hanging, plugin_id="hanging", isolation="none")
            answer = ask("GET", "/readyz")

        assert answer.status_code == 503
        assert ask("GET", "/healthz").status_code == 200


class TestMetrics:
    """Metrics."""

    def samples(self, ask: Client, accept: str = "") -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        answer = ask("GET", "/metrics", headers={"accept": accept})
        parse = parse_openmetrics if "openmetrics" in answer.headers["content-type"] else parse_text
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in parse(answer.text)
            for sample in family.samples
        }

    @pytest.mark.parametrize(
        "accept",
        [
            "",
            "text/plain",
            "text/plain; version=abc",
            "application/openmetrics-text; version=1.0.0",
            "application/openmetrics-text; version=abc",
        ],
    )
    def test_numbers(self, ask: Client, accept: str) -> None:
        """Calls are counted by plugin and code, requests by route and status, in the requested format."""
        ask("GET", "/echo/a")
        ask("GET", "/echo/b")
        ask("POST", "/probe/1", content="fail 5")
        ask("GET", "/nowhere/at/all")
        ask("SNEAK", "/nowhere")
        samples = self.samples(ask, accept)

        def of(name: str, **labels: str) -> float | None:
            return samples.get((name, frozenset(labels.items())))

        assert of("backworks_calls_total", plugin="probe", code="OK") == 2
        assert of("backworks_calls_total", plugin="probe", code="NOT_FOUND") == 1
        assert of("backworks_call_seconds_count", plugin="probe") == 3
        assert of("backworks_call_seconds_bucket", plugin="probe", le="+Inf") == 3
        assert (of("backworks_call_seconds_sum", plugin="probe") or 0) > 0
        assert of("backworks_calls_in_flight", plugin="probe") == 0
        assert of("backworks_plugin_up", plugin="probe") == 1
        assert of("backworks_plugin_up", plugin="absent") == 0
        assert of("backworks_http_requests_total", route="/echo/{name}", method="GET", status="200") == 2
        assert of("backworks_http_requests_total", route="unmatched", method="GET", status="404") == 1
        assert of("backworks_http_requests_total", route="unmatched", method="OTHER", status="404") == 1

    def test_in_flight(self, ask: Client) -> None:
        """A running call is in flight, and a completed one is not."""

        async def main() -> str:
            async with open_client(ask.app) as client:
                task = asyncio.create_task(client.get("/gated"))
                await asyncio.to_thread(gate.wait)
                text = (await client.get("/metrics")).text
                gate.open()
                await task
            return text

        with Gate() as gate:
            text = asyncio.run(main())

        assert 'backworks_calls_in_flight{plugin="echo"} 1.0' in text
        assert 'backworks_calls_in_flight{plugin="echo"} 0.0' in ask("GET", "/metrics").text


class TestOpenApi:
    """The description of the endpoints."""

    def test_valid(self, ask: Client) -> None:
        """The document is valid OpenAPI 3.1."""
        document = ask("GET", "/openapi.json").json()

        OpenAPIV31SpecValidator(document).validate()
        assert document["openapi"].startswith("3.1.")

    def test_content(self, ask: Client) -> None:
        """The document has all routes and methods, the parameters, the plugins as tags, and the problems."""
        document = ask("GET", "/openapi.json").json()
        echo = document["paths"]["/echo/{name}"]

        assert set(document["paths"]) == {"/echo/{name}", "/probe/{x}", "/gated", "/soon", "/absent", "/options"}
        assert set(echo) == {"parameters", "get", "post"}
        assert [(one["name"], one["in"], one["required"]) for one in echo["parameters"]] == [("name", "path", True)]
        assert echo["get"]["tags"] == ["probe"]
        assert "requestBody" not in echo["get"]
        assert "requestBody" in echo["post"]
        assert {"200", "400", "404", "413", "502", "503", "504"} <= set(echo["get"]["responses"])
        assert set(document["paths"]["/options"]) == {"options", "head"}
        assert {tag["name"]: tag["description"] for tag in document["tags"]} == {
            "probe": "Answers what it was sent (probe 1.0.0)",
            "echo": "Answers what it was sent (echo 1.0.0)",
            "absent": "This plugin is not running.",
        }

    def test_descriptions(self) -> None:
        """An endpoint's description is its summary."""
        document = describe(
            parse_config(
                {
                    "plugins": {"p": {"plugin_type": "builtin"}},
                    "endpoints": {"/a": {"runtime": {"handler": "p"}, "description": "Says a."}},
                }
            ),
            {},
        )

        assert document["paths"]["/a"]["get"]["summary"] == "Says a."

    def test_ids(self) -> None:
        """All operations have different ids, however similar their routes are."""
        routes = ["/", "/a", "/a/", "/a-b", "/a_b", "/a/b", "/a.b", "/{a}/b", "/a/{b}", "/ä"]
        document = describe(
            parse_config(
                {
                    "plugins": {"p": {"plugin_type": "builtin"}},
                    "endpoints": {route: {"runtime": {"handler": "p"}, "methods": ["GET", "PUT"]} for route in routes},
                }
            ),
            {},
        )
        ids = [item[method]["operationId"] for item in document["paths"].values() for method in ("get", "put")]

        OpenAPIV31SpecValidator(json.loads(json.dumps(document))).validate()
        assert len(set(ids)) == len(ids)


class TestDocs:
    """The page for trying the endpoints."""

    def test_policy(self, ask: Client) -> None:
        """The page may only run its own script and style and call its own server."""
        answer = ask("GET", "/docs")
        policy = answer.headers["content-security-policy"]
        hashes = [
            base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
            for part in re.findall(r"<(?:script|style)>(.*?)</(?:script|style)>", answer.text, re.DOTALL)
        ]

        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert policy.startswith("default-src 'none'; ")
        assert len(hashes) == 2
        assert all(f"'sha256-{one}'" in policy for one in hashes)

    def test_nothing_from_elsewhere(self) -> None:
        """The page refers to no other site."""
        page = resources.files("backworks.http").joinpath("docs.html").read_text(encoding="utf-8")

        assert re.findall(r"https?:|//[a-z]|@import|url\(", page) == []
        assert "innerHTML" not in page


def test_light_imports() -> None:
    """Creating an application imports neither the server nor the client library of Prometheus."""
    code = (
        "import sys, backworks; backworks.create_app({});"
        "print(*[name for name in ('uvicorn', 'starlette', 'prometheus_client') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == ""
