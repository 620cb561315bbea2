"""Describes the endpoints as OpenAPI 3.1 (https://spec.openapis.org/oas/v3.1.1.html)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backworks.http.problems import title
from backworks.http.router import parameters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backworks.config import Config, EndpointConfig
    from backworks.plugin import Plugin

__all__ = ["describe"]

#: The methods that OpenAPI 3.1 can describe; endpoints may use others.
_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE")
#: The methods whose requests have meaningful content (RFC 9110, section 9.3).
_WITH_CONTENT = frozenset(("PATCH", "POST", "PUT"))
_PROBLEMS = {
    "400": "The request is not valid.",
    "404": "The plugin found no such resource.",
    "413": "The body is too large.",
    "500": "The plugin failed.",
    "502": "The plugin crashed or violated the ABI.",
    "503": "The plugin is unavailable.",
    "504": "The plugin did not respond in time.",
}


def describe(config: Config, plugins: Mapping[str, Plugin], *, base: str = "/") -> dict[str, Any]:
    """Returns the OpenAPI document.

    Args:
        config: The configuration with the endpoints.
        plugins: The running plugins, for their descriptions.
        base: The path of the application on its server.
    """
    from backworks import __version__

    handlers = dict.fromkeys(endpoint.runtime.handler for endpoint in config.endpoints.values())
    return {
        "openapi": "3.1.1",
        "info": {"title": "Backworks", "version": __version__, "description": "Endpoints handled by plugins."},
        "servers": [{"url": base}],
        "tags": [_tag(handler, plugins.get(handler)) for handler in handlers],
        "paths": {route: _path(route, endpoint) for route, endpoint in config.endpoints.items()},
        "components": {
            "schemas": {"Problem": _PROBLEM_SCHEMA},
            "responses": {f"Problem{status}": _problem(text) for status, text in _PROBLEMS.items()},
        },
    }


def _tag(handler: str, plugin: Plugin | None) -> dict[str, Any]:
    if plugin is None:
        return {"name": handler, "description": "This plugin is not running."}
    about = " ".join(part for part in (plugin.description, f"({plugin.name} {plugin.version})") if part)
    return {"name": handler, "description": about}


def _path(route: str, endpoint: EndpointConfig) -> dict[str, Any]:
    item: dict[str, Any] = {}
    names = parameters(route)
    if names:
        item["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in names
        ]
    for method in endpoint.methods:
        if method in _METHODS:
            item[method.lower()] = _operation(route, method, endpoint)
    return item


def _operation(route: str, method: str, endpoint: EndpointConfig) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": _id(method, route), "tags": [endpoint.runtime.handler]}
    if endpoint.description:
        operation["summary"] = endpoint.description
    if method in _WITH_CONTENT:
        operation["requestBody"] = {
            "description": "Any content; the plugin defines what it accepts.",
            "content": _any_content(("application/json", "text/plain", "application/octet-stream")),
        }
    operation["responses"] = {
        "200": {"description": "The plugin's response.", "content": _any_content(("application/json",))},
        **{status: {"$ref": f"#/components/responses/Problem{status}"} for status in _PROBLEMS},
    }
    return operation


def _any_content(media_types: Iterable[str]) -> dict[str, Any]:
    return {media_type: {} for media_type in media_types}


def _id(method: str, route: str) -> str:
    # Punctuation is replaced by its code point, so that no two routes have the same id.
    words = re.sub(r"[^A-Za-z0-9]", lambda sign: "_" if sign[0] in "/{}" else f"_x{ord(sign[0]):x}_", route)
    return f"{method.lower()}{words}"


def _problem(text: str) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": text, "content": {"application/problem+json": {"schema": schema}}}


_PROBLEM_SCHEMA = {
    "type": "object",
    "description": "A problem (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "examples": [title(404)]},
        "status": {"type": "integer", "minimum": 100, "maximum": 599},
        "detail": {"type": "string", "description": "One sentence; the plugin's message if the plugin is the cause."},
        "plugin": {"type": "string", "description": "The plugin that caused the problem."},
        "code": {"type": "string", "description": "The code that the plugin returned, by its name in the C header."},
    },
}
