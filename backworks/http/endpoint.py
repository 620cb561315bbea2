"""The hot path: handles a request of a configured endpoint, from its body to the plugin's response."""

from __future__ import annotations

import asyncio
import logging
from time import perf_counter
from typing import TYPE_CHECKING

from backworks.errors import (
    BackworksError,
    Code,
    PluginCrashed,
    PluginError,
    PluginStateError,
    PluginUnavailable,
)
from backworks.http.asgi import JSON, Answer, Receive, Scope, encode_headers
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
    from collections.abc import Mapping

    from backworks.config import EndpointConfig
    from backworks.http.calls import Calls
    from backworks.http.metrics import Metrics
    from backworks.manager import PluginManager
    from backworks.reply import PluginResult

    Asked = tuple[str, str, bytes, float | None, bytes | str | None, bytes | str | None]

__all__ = ["Endpoint"]

_logger = logging.getLogger("backworks.http")

#: Looked up once, because access to an enumeration's members is slow in CPython 3.11.
_OK, _INTERNAL = Code.OK, Code.INTERNAL
#: The longest delay before a retry, in seconds: an open circuit breaker must not keep callers waiting.
_SOON = 1.0


class Endpoint:
    """Handles the requests of one configured endpoint.

    Args:
        route: The endpoint, as in the configuration.
        config: Its configuration.
        max_body: The maximum size of a request body, in bytes.
        calls: The application's waiting calls.
        metrics: The application's metrics.
    """

    def __init__(self, route: str, config: EndpointConfig, max_body: int, calls: Calls, metrics: Metrics) -> None:
        self.route = route
        self.methods = frozenset(config.methods)
        self._plugin = config.runtime.handler
        self._as_body = config.data == "body"
        self._timeout = config.timeout
        self._retry = config.retry
        self._max_body = max_body
        self._calls = calls
        self._metrics = metrics.of_plugin(self._plugin)

    async def answer(
        self,
        manager: PluginManager,
        scope: Scope,
        receive: Receive,
        params: Mapping[str, str],
        method: str,
        body: bytes | None = None,
    ) -> Answer | bytes:
        """Handles one request.

        Args:
            manager: The manager that runs the plugin.
            scope: The ASGI scope.
            receive: The ASGI callable.
            params: The values of the route's parameters.
            method: The method to pass to the plugin: GET for a HEAD request.
            body: The body, if it has already been received.

        Returns:
            The response, as plain bytes if the plugin has set no HTTP fields.

        Raises:
            Disconnected: The client disconnected.
        """
        fields = dict(scope["headers"])
        parent = state = None
        try:
            data = body
            if data is None:
                data = await self._read(fields, scope, receive)
            elif len(data) > self._max_body:
                raise BodyTooLarge
            if not self._as_body:
                data = request_json(scope, params, method, data)
            if b"traceparent" in fields:
                parent, state = trace_context(scope)
        except BodyTooLarge:
            detail = f"the body must not exceed {self._max_body} bytes"
            return problem(413, detail, close=scope.get("http_version", "").startswith("1"))
        except BadRequest as error:
            return problem(error.status, str(error))
        except PluginUnavailable as error:
            return problem_of(error)
        asked = (self.route, method, data, self._timeout, parent, state)
        numbers = self._metrics
        numbers.in_flight += 1
        code = _INTERNAL
        start = perf_counter()
        try:
            try:
                plugin = manager.current(self._plugin)
                if plugin.isolation == "none":
                    result = plugin.answer(*asked)
                else:
                    result = await self._calls.wait(plugin.answer_async(*asked), receive, self._plugin)
            except PluginStateError:  # the plugin is closing, perhaps because of a reload
                again = manager.answer_async(self._plugin, *asked)
                result = await self._calls.wait(again, receive, self._plugin)
            except (PluginCrashed, PluginUnavailable) as error:
                if not self._retry:
                    raise
                result = await self._try_again(error, manager, asked, receive, start)
            code = _OK
        except Disconnected:
            code = Code.CANCELLED
            raise
        except BackworksError as error:
            code = error.code if isinstance(error, PluginError) else Code.UNAVAILABLE
            return self._failed(method, error)
        finally:
            numbers.in_flight -= 1
            numbers.done(code, perf_counter() - start)
        if isinstance(result, bytes):
            return result
        if result is None:
            detail = f"the plugin has no answer for {method} {self.route}"
            return problem(404, detail, plugin=self._plugin)
        return _answer_of(result)

    async def _read(self, fields: Mapping[bytes, bytes], scope: Scope, receive: Receive) -> bytes:
        if not has_body(fields, scope.get("http_version"), self._max_body):
            return b""
        return await self._calls.wait(read_body(receive, self._max_body), None, self._plugin)

    async def _try_again(
        self,
        error: PluginCrashed | PluginUnavailable,
        manager: PluginManager,
        asked: Asked,
        receive: Receive,
        start: float,
    ) -> bytes | PluginResult | None:
        """Retries a call that crashed or did not begin, within its retry limit and timeout."""
        timeout = manager.current(self._plugin).timeout if self._timeout is None else self._timeout
        for _ in range(self._retry):
            after = 0.0 if isinstance(error, PluginCrashed) else error.retry_after
            left = None if timeout is None else timeout - (perf_counter() - start)
            if after is None or after > _SOON or (left is not None and after >= left):
                break
            try:
                if after:
                    await self._calls.wait(asyncio.sleep(after), receive, self._plugin)
                again = manager.answer_async(
                    self._plugin, *asked[:3], None if left is None else left - after, *asked[4:]
                )
                return await self._calls.wait(again, receive, self._plugin)
            except (PluginCrashed, PluginUnavailable) as another:
                error = another
        raise error

    def _failed(self, method: str, error: BackworksError) -> Answer:
        answer = problem_of(error)
        if answer.status in (500, 502):
            _logger.error("%s %s: %d: %s", method, self.route, answer.status, error)
        return answer


def _answer_of(result: PluginResult) -> Answer:
    if result.content_type is not None:
        content_type: bytes | None = result.content_type.encode("latin-1")
    else:
        # Empty content is not valid JSON.
        content_type = JSON if result.data else None
    headers = encode_headers(result.headers) if result.headers else ()
    return Answer(result.http_status or 200, result.data, content_type, headers)
