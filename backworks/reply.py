"""Turns a plugin's reply into an answer, "not mine", or an exception; no other module decides this."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from backworks.errors import Code, PluginContractError, PluginError, PluginInitError

if TYPE_CHECKING:
    from backworks.ffi.contract import Reply

__all__ = ["PluginResult", "check_init", "code_of", "message_of", "result_of"]

_Instance = TypeVar("_Instance")


class PluginResult(NamedTuple):
    """A plugin's answer.

    Attributes:
        data: The content.
        http_status: The HTTP status that the plugin sets, 200 to 599, or ``None``.
        content_type: The media type of the data, or ``None``.
        headers: Additional header fields, as pairs of name and value.
    """

    data: bytes
    http_status: int | None = None
    content_type: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


#: How many bytes of a plugin's message to keep.
_LONGEST_MESSAGE = 1 << 16
#: The value of a header field (RFC 9110, section 5.5).
_FIELD_VALUE = re.compile(rb"[!-~]([ \t!-~\x80-\xff]*[!-~\x80-\xff])?|")
#: The name of a header field (RFC 9110, section 5.6.2).
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: Header fields that only the host sets. Fields that frame the message would let a plugin split one response into two.
_HOST_FIELDS = frozenset(
    (
        "connection",
        "content-length",
        "content-type",
        "date",
        "keep-alive",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


def code_of(number: int) -> Code:
    """Returns the code for a number; an unknown number is UNKNOWN, as the C header requires."""
    try:
        return Code(number)
    except ValueError:
        return Code.UNKNOWN


def result_of(reply: Reply, plugin: str) -> PluginResult | None:
    """Returns the answer in a reply.

    Args:
        reply: The reply that the binding returned.
        plugin: The plugin's id, for exceptions.

    Returns:
        The answer, or ``None`` if the plugin returned "not mine".

    Raises:
        PluginError: The plugin returned a code other than OK.
        PluginContractError: The reply breaks a rule of the C header.
    """
    if reply.code:
        raise _failure(PluginError, reply, plugin)
    if reply.data is None:
        return None
    if not (reply.http_status or reply.content_type or reply.headers):
        return PluginResult(reply.data)
    return PluginResult(
        reply.data,
        _status(reply, plugin),
        _content_type(reply.content_type, plugin),
        _headers(reply.headers, plugin),
    )


def check_init(reply: Reply, instance: _Instance | None, plugin: str) -> _Instance:
    """Returns the instance that init created.

    Raises:
        PluginInitError: Init returned a code other than OK.
        PluginContractError: Init returned OK without an instance.
    """
    if reply.code:
        raise _failure(PluginInitError, reply, plugin)
    if instance is None:
        raise PluginContractError("init returned OK with a NULL instance", plugin=plugin)
    return instance


def message_of(reply: Reply) -> str:
    """Returns the message of a failed call or a health check; bytes that are not UTF-8 are replaced."""
    return (reply.data or b"")[:_LONGEST_MESSAGE].decode("utf-8", "replace")


def _failure(kind: type[PluginError], reply: Reply, plugin: str) -> PluginError:
    code = code_of(reply.code)
    text = message_of(reply)
    if code is Code.UNKNOWN and reply.code != Code.UNKNOWN:
        text = f"{text} (code {reply.code}, which the ABI does not define)".lstrip()
    return kind(text, code=code, plugin=plugin, http_status=_status(reply, plugin))


def _status(reply: Reply, plugin: str) -> int | None:
    if not reply.http_status:
        return None
    if not 200 <= reply.http_status <= 599:
        raise PluginContractError(
            f"the answer's http_status must be 200 to 599 or 0, not {reply.http_status}", plugin=plugin
        )
    return reply.http_status


def _content_type(value: bytes | None, plugin: str) -> str | None:
    if not value:
        return None
    if not value.isascii() or not _FIELD_VALUE.fullmatch(value):
        raise PluginContractError(
            f"the answer's content_type must be visible ASCII and spaces, not {value[:80]!r}",
            plugin=plugin,
        )
    return value.decode("ascii")


def _headers(lines: bytes | None, plugin: str) -> tuple[tuple[str, str], ...]:
    if not lines:
        return ()
    if not lines.endswith(b"\r\n"):
        raise PluginContractError("the answer's headers must end with CR LF", plugin=plugin)
    fields = []
    for line in lines[:-2].split(b"\r\n"):
        name, colon, value = line.partition(b":")
        value = value.strip(b" \t")
        if not colon or not _TOKEN.fullmatch(name) or not _FIELD_VALUE.fullmatch(value):
            raise PluginContractError(
                f"the answer's header line must be 'Name: value', ended by CR LF, not {line[:80]!r}",
                plugin=plugin,
            )
        if name.decode().lower() in _HOST_FIELDS:
            raise PluginContractError(
                f"the answer sets the header field {name.decode()}, which only the host may set", plugin=plugin
            )
        fields.append((name.decode(), value.decode("latin-1")))
    return tuple(fields)
