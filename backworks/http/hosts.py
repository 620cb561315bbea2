"""Decides for which hosts a server answers, and from which sites it takes requests that change something.

A page on any site can send requests to a server on the reader's own machine. There are two ways, and browsers prevent
neither. With DNS rebinding, the site's name resolves to 127.0.0.1: the browser takes the server for a part of the site
and lets the page read the responses. Then the Host field has the site's name. And a form, or ``fetch()`` with a body of
a type such as text/plain, needs no permission to be sent, only to be read. Then the Origin field has the site's name.

The rules, for a server that listens on loopback addresses alone or has ``server.allowed_hosts``:

- Host must be an IP address, which no DNS can redirect, or one of the allowed names; otherwise the response is 421. On
  loopback addresses ``localhost`` and names below it are allowed. HTTP/1.0 may omit Host.
- If the method is not GET, HEAD or OPTIONS and the request has an Origin, its host must be that of the request, an
  allowed name or a loopback address; otherwise the response is 403.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from backworks.http.problems import problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from backworks.http.asgi import Answer

__all__ = ["Hosts", "is_loopback"]

_AUTHORITY = r"(?:\[([0-9a-f:.]+)\]|([^\s:/?#@\[\]\\]+?)\.?)(?::[0-9]*)?"
_HOST = re.compile(_AUTHORITY)
_ORIGIN = re.compile(rf"https?://{_AUTHORITY}")
#: The longest field to look at: a name has at most 253 characters.
_LONGEST = 300

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_LOCAL = ("localhost", "*.localhost")


class Hosts:
    """The hosts of one server.

    Args:
        allowed: The allowed names; ``*.example.com`` stands for all names below it, and ``*`` for all names.
        local: Whether the server listens on loopback addresses alone.
    """

    def __init__(self, allowed: Iterable[str], *, local: bool) -> None:
        names = [name.lower() for name in (*allowed, *(_LOCAL if local else ()))]
        self._names = frozenset(names)
        self._suffixes = tuple(name[1:] for name in names if name.startswith("*."))
        self._known = b""  # the Host of the last request; most requests have the same

    def refusal(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer | None:
        """Returns the response to a request that must not be handled, or ``None``.

        Args:
            method: The request's method.
            headers: Its header fields, names in lower case.
        """
        host = origin = None
        for name, value in headers:
            if name == b"host":
                host = value if host is None else b""  # a repeated field is not valid
            elif name == b"origin":
                origin = value if origin is None else b""
        if host is not None and host != self._known:
            own = _parse(_HOST, host)
            if not own or not (_address(own) or self._has(own)):
                return problem(421, "the Host field does not name this server; add the name to server.allowed_hosts")
            self._known = host
        if origin is not None and method not in _SAFE and not self._is_own(origin, host):
            return problem(403, "the Origin field names another site; add its host to server.allowed_hosts")
        return None

    def _is_own(self, origin: bytes, host: bytes | None) -> bool:
        site = _parse(_ORIGIN, origin)
        if not site:
            return False
        return self._has(site) or is_loopback(site) or (host is not None and site == _parse(_HOST, host))

    def _has(self, name: str) -> bool:
        return name in self._names or name.endswith(self._suffixes) or "*" in self._names


def is_loopback(host: str) -> bool:
    """Returns whether a host is a loopback address."""
    address = _address(host)
    return address is not None and address.is_loopback


def _parse(form: re.Pattern[str], value: bytes) -> str | None:
    """Returns the host in a field, in lower case and without port, brackets and the root's dot."""
    found = form.fullmatch(value.decode("latin-1").lower()) if len(value) <= _LONGEST else None
    return found and (found[1] or found[2])


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
