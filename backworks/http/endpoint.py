"""The hot path: one request of a configured endpoint, from its body to the plugin's answer."""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING

from backworks.errors import BackworksError, Code, PluginError, PluginUnavailable
from backworks.http.asgi import Answer, Receive, Scope, encode_headers
from backworks.http.problems import problem, problem_of
from backworks.http.request import (
    BadRequest,
    BodyTooLarge,
    Disconnected,
    has_body,
    read_body,
    request_json,
    trace_context,
)

if TYPE_CHECKING:
    from backworks.answers import PluginResult
    from backworks.config import EndpointConfig
    from backworks.http.calls import Calls
    from backworks.http.metrics import Metrics
    from backworks.manager import PluginManager

__all__ = ["Endpoint"]

_logger = logging.getLogger("backworks.http")


class Endpoint:
    """Answers the requests of one configured endpoint.

    Args:
        route: The endpoint, as the configuration writes it.
        config: What the configuration says of it.
        max_body: The largest body that is taken, in bytes.
        calls: The application's waiting calls.
        metrics: The application's numbers.
    """

    def __init__(self, route: str, config: EndpointConfig, max_body: int, calls: Calls, metrics: Metrics) -> None:
        self.route = route
        self.methods = frozenset(config.methods)
        self._plugin = config.runtime.handler
        self._as_body = config.data == "body"
        self._timeout = config.timeout
        self._max_body = max_body
        self._calls = calls
        self._metrics = metrics.of_plugin(self._plugin)

    async def answer(
        self, manager: PluginManager, scope: Scope, receive: Receive, params: dict[str, str], method: str
    ) -> Answer:
        """Answers one request.

        Args:
            manager: What has the plugin.
            scope: The ASGI scope.
            receive: The ASGI callable.
            params: The values of the route's parameters.
            method: The method that the plugin is asked for: GET where HEAD was sent.

        Raises:
            Disconnected: The client went away.
        """
        try:
            data = b""
            if has_body(scope, self._max_body):
                data = await self._calls.wait(read_body(receive, self._max_body), None, self._plugin)
            if not self._as_body:
                data = request_json(scope, _path(scope), params, method, data)
        except BodyTooLarge:
            detail = f"the body is larger than {self._max_body} bytes, which is the most that is taken"
            return problem(413, detail, close=scope.get("http_version", "").startswith("1"))
        except BadRequest as error:
            return problem(400, str(error))
        except PluginUnavailable as error:
            return problem_of(error)
        parent, state = trace_context(scope)
        call = manager.call_async(
            self._plugin, self.route, method, data, timeout=self._timeout, traceparent=parent, tracestate=state
        )
        numbers = self._metrics
        numbers.in_flight += 1
        code = Code.INTERNAL
        start = perf_counter()
        try:
            result = await self._calls.wait(call, receive, self._plugin)
            code = Code.OK
        except Disconnected:
            code = Code.CANCELLED
            raise
        except BackworksError as error:
            code = error.code if isinstance(error, PluginError) else Code.UNAVAILABLE
            return self._failed(method, error)
        finally:
            numbers.in_flight -= 1
            numbers.done(code, perf_counter() - start)
        if result is None:
            detail = f"the plugin has no answer for {method} {self.route}"
            return problem(404, detail, plugin=self._plugin)
        return _answer_of(result)

    def _failed(self, method: str, error: BackworksError) -> Answer:
        answer = problem_of(error)
        if answer.status in (500, 502):
            _logger.error("%s %s: %d: %s", method, self.route, answer.status, error)
        return answer


def _path(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope["root_path"]) if scope.get("root_path") else path


def _answer_of(result: PluginResult) -> Answer:
    if result.content_type is not None:
        content_type: bytes | None = result.content_type.encode("latin-1")
    else:
        # No bytes are no JSON.
        content_type = b"application/json" if result.data else None
    headers = encode_headers(result.headers) if result.headers else ()
    return Answer(result.http_status or 200, result.data, content_type, headers)
