"""Errors as problem details (RFC 9457), and the one table from a plugin's code to an HTTP status.

A problem has ``type`` (always ``about:blank``: the status says what kind it is), ``title`` (the status in words),
``status`` and ``detail``; where a plugin is the reason also ``plugin`` and ``code``. It never holds a stack trace.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any

from pydantic_core import to_json

from backworks.errors import BackworksError, Code, PluginContractError, PluginCrashed, PluginError, PluginUnavailable
from backworks.http.asgi import Answer

__all__ = ["MEDIA_TYPE", "STATUS_OF_CODE", "problem", "problem_of", "status_of", "title"]

MEDIA_TYPE = b"application/problem+json"

#: The numbers in parentheses in the C header.
STATUS_OF_CODE = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.UNKNOWN: 500,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.INTERNAL: 500,
    Code.UNAVAILABLE: 503,
    Code.DATA_LOSS: 500,
    Code.UNAUTHENTICATED: 401,
}

#: What the standard library calls otherwise, or does not know: 499 is nginx's.
_TITLES = {413: "Content Too Large", 499: "Client Closed Request"}

#: What is said for a plugin that says nothing.
_SILENT = {
    Code.CANCELLED: "the plugin cancelled the call",
    Code.INVALID_ARGUMENT: "the plugin takes the request for wrong",
    Code.DEADLINE_EXCEEDED: "the plugin did not answer in time",
    Code.NOT_FOUND: "the plugin has not found what was asked for",
    Code.UNAVAILABLE: "the plugin takes no calls now",
    Code.UNIMPLEMENTED: "the plugin does not implement this",
}


def status_of(error: BackworksError) -> int:
    """Chooses the HTTP status of an error.

    A broken contract, and the death of a worker process, is 502, which RFC 9110 has for a gateway that got an answer
    which is none. The plugin's own
    INTERNAL is 500. An error of the host's state (a plugin that is closing, or not there) is 503.
    """
    match error:
        case PluginContractError() | PluginCrashed():
            return 502
        case PluginError():
            return error.http_status or STATUS_OF_CODE[error.code]
        case _:
            return 503


def problem_of(error: BackworksError) -> Answer:
    """Makes the answer of an error."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, PluginUnavailable) and error.retry_after is not None:
        headers = ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))),)
    if isinstance(error, PluginError):
        detail = error.message or _SILENT.get(error.code, "the plugin failed and did not say why")
        return problem(status_of(error), detail, plugin=error.plugin, code=error.code, headers=headers)
    return problem(status_of(error), str(error), plugin=error.plugin, code=Code.UNAVAILABLE, headers=headers)


def problem(
    status: int,
    detail: str,
    *,
    plugin: str | None = None,
    code: Code | None = None,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    close: bool = False,
) -> Answer:
    """Makes an answer that tells what is wrong.

    Args:
        status: The HTTP status.
        detail: One sentence for people.
        plugin: The plugin that is the reason.
        code: What the plugin answered.
        headers: More header fields.
        close: Whether the connection ends with the answer.
    """
    members: dict[str, Any] = {"type": "about:blank", "title": title(status), "status": status, "detail": detail}
    if plugin is not None:
        members["plugin"] = plugin
    if code is not None:
        members["code"] = code.name
    return Answer(status, to_json(members), MEDIA_TYPE, headers, close)


def title(status: int) -> str:
    """Names a status, in the words of RFC 9110 and the registry."""
    if status in _TITLES:
        return _TITLES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
