"""Writes a request as JSON: in C with the binding ``native``, or else in Python.

Both write the same bytes. The C function returns ``None`` for header fields that it leaves to Python: more of them than
it compares with each other, or anything but a list of pairs of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from backworks import ffi

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["write_in_c", "write_in_python"]


def _leave_to_python(*_: Any) -> None:
    """Writes nothing."""


_compiled = ffi.compiled()
write_in_c = _leave_to_python if _compiled is None else _compiled.write_request


def write_in_python(
    method: str,
    path: str,
    path_params: Mapping[str, str],
    query: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    body: bytes,
) -> bytes:
    """Returns a request as JSON.

    Args:
        method: The method.
        path: The decoded path.
        path_params: The values of the route's parameters.
        query: The query, as JSON.
        fields: The header fields, names in lower case.
        body: The body, as JSON.
    """
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in fields:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        if name in headers:
            headers[name] += ("; " if name == "cookie" else ", ") + value
        else:
            headers[name] = value
    head = to_json({"method": method, "path": path, "path_params": path_params})
    return b'%b,"query":%b,"headers":%b,"body":%b}' % (head[:-1], query, to_json(headers), body)
