"""Errors as problem details (RFC 9457), and the table that maps a plugin's code to an HTTP status.

A problem has ``type`` (always ``about:blank``, because the status identifies the kind), ``title`` (the status in
words), ``status`` and ``detail``. A problem that a plugin caused also has ``plugin`` and ``code``. It never contains a
stack trace.
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

#: The statuses in parentheses in the C header.
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

#: Titles that differ in the standard library or are missing there; 499 comes from nginx.
_TITLES = {413: "Content Too Large", 499: "Client Closed Request"}

#: The details of errors that a plugin returns without a message.
_SILENT = {
    Code.CANCELLED: "the plugin cancelled the call",
    Code.INVALID_ARGUMENT: "the plugin rejected the request as invalid",
    Code.DEADLINE_EXCEEDED: "the plugin did not respond in time",
    Code.NOT_FOUND: "the plugin did not find the requested resource",
    Code.UNAVAILABLE: "the plugin is unavailable",
    Code.UNIMPLEMENTED: "the plugin does not implement this request",
}


def status_of(error: BackworksError) -> int:
    """Returns the HTTP status of an error.

    A violation of the ABI and the crash of a worker process are 502, which RFC 9110 defines for a gateway that received
    an invalid response. The plugin's own INTERNAL is 500. An error of the host's state, such as a plugin that is
    closing or missing, is 503.
    """
    match error:
        case PluginContractError() | PluginCrashed():
            return 502
        case PluginError():
            return error.http_status or STATUS_OF_CODE[error.code]
        case _:
            return 503


def problem_of(error: BackworksError) -> Answer:
    """Creates the response for an error."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    if isinstance(error, PluginUnavailable) and error.retry_after is not None:
        headers = ((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after))),)
    if isinstance(error, PluginError):
        detail = error.message or _SILENT.get(error.code, "the plugin failed without a message")
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
    """Creates a response that describes a problem.

    Args:
        status: The HTTP status.
        detail: One sentence for people.
        plugin: The plugin that caused the problem.
        code: The code that the plugin returned.
        headers: Further header fields.
        close: Whether to close the connection after the response.
    """
    members: dict[str, Any] = {"type": "about:blank", "title": title(status), "status": status, "detail": detail}
    if plugin is not None:
        members["plugin"] = plugin
    if code is not None:
        members["code"] = code.name
    return Answer(status, to_json(members), MEDIA_TYPE, headers, close)


def title(status: int) -> str:
    """Returns the reason phrase of a status, as in RFC 9110 and the IANA registry."""
    if status in _TITLES:
        return _TITLES[status]
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"
