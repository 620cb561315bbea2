"""Limits how many connections are open, and how long a client may keep one waiting.

One look at all connections each second replaces a timer for each of them. A look asks each connection what it waits for
and compares that with the look before: the time runs as long as both are equal. A limit is therefore exceeded by up to
a second.

The connections beyond the limit are a reserve: they respond to health checks, so that a monitor can tell a server that
is full from one that is dead, and to anything else with 503. If the reserve is full as well, a new connection replaces
the oldest, so that connections that send nothing cannot keep out a health check.
"""

from __future__ import annotations

import logging
import sys
from enum import Enum, auto
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from backworks.config import ServerConfig
    from backworks.http.connection import Connection

__all__ = ["Stage", "Watch", "default_connections"]

_logger = logging.getLogger("backworks.http")

#: How many connections beyond the limit may be open for health checks, and how many seconds each has for its request.
_RESERVE = 16
_RESERVE_SECONDS = 2.0
#: How many seconds a client has to read the response that ends its connection; see ``connection``.
_END_SECONDS = 30.0
#: The shortest interval between two log lines on the same limit, in seconds.
_QUIET = 10.0
#: The default limit of connections where the system limits no process, or by far more than its memory would.
_MOST = 65_536


class Stage(Enum):
    """What a connection waits for: the client in each case but ``CALL``."""

    HEAD = auto()
    BODY = auto()
    IDLE = auto()
    WRITE = auto()
    END = auto()
    CALL = auto()


def default_connections() -> int:
    """Returns the default of ``server.max_connections``: three quarters of the files that the process may open.

    The rest is for the plugins, the worker processes and the reserve.
    """
    if sys.platform == "win32":
        return _MOST
    import resource

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if not 0 < files < _MOST:
        return _MOST
    return max(1, files - max(64, files // 4))


class Watch:
    """The limits of a server process's connections.

    Args:
        settings: Returns the current settings.
    """

    def __init__(self, settings: Callable[[], ServerConfig]) -> None:
        self._settings = settings
        self._default = default_connections()
        self._reserve: dict[Connection, None] = {}
        self._notices = _Notices()

    @property
    def keep_alive(self) -> float:
        """How long a connection may be idle, in seconds."""
        return self._settings().keep_alive_timeout

    def admit(self, connection: Connection, count: int) -> None:
        """Admits a new connection, perhaps only to the reserve.

        Args:
            connection: The connection.
            count: How many are open, with this one.
        """
        limit = self._settings().max_connections or self._default
        if count - len(self._reserve) <= limit:
            return
        self._notices.add(
            f"server.max_connections: {limit} connections are open; until one closes, new connections only get "
            "/healthz and /readyz"
        )
        if len(self._reserve) >= _RESERVE:
            silent = (each for each in self._reserve if each.waits()[0] is not Stage.CALL)
            self.release(next(silent, next(iter(self._reserve)))).abort()
        self._reserve[connection] = None
        connection.restrict()

    def release(self, connection: Connection) -> Connection:
        """Removes a connection from the reserve."""
        self._reserve.pop(connection, None)
        return connection

    def look(self, connections: Iterable[Connection], now: float) -> None:
        """Closes the connections whose clients have taken too long.

        Args:
            connections: All connections.
            now: The time, in seconds.
        """
        settings = self._settings()
        seconds = {
            Stage.HEAD: settings.head_timeout,
            Stage.BODY: settings.body_timeout,
            Stage.WRITE: settings.body_timeout,
            Stage.IDLE: settings.keep_alive_timeout,
            Stage.END: _END_SECONDS,
        }
        for connection in tuple(connections):
            waits = connection.waits()
            if waits != connection.seen:
                connection.seen, connection.seen_at = waits, now
                continue
            stage = waits[0]
            limit = seconds.get(stage)
            if limit is not None and connection in self._reserve:
                limit = min(limit, _RESERVE_SECONDS)
            if limit is not None and now - connection.seen_at >= limit:
                self._notice(stage, limit)
                connection.expire(stage)
        self._notices.log()

    def _notice(self, stage: Stage, limit: float) -> None:
        match stage:
            case Stage.HEAD:
                what = f"the request head was not complete after {limit:g} s (server.head_timeout)"
            case Stage.BODY:
                what = f"the request body made no progress for {limit:g} s (server.body_timeout)"
            case Stage.WRITE:
                what = f"the client read nothing of the response for {limit:g} s (server.body_timeout)"
            case _:
                return
        self._notices.add(f"closed a connection: {what}")


class _Notices:
    """Log lines that clients can cause: each at most once in a while, then with the number of times."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._not_before: dict[str, float] = {}

    def add(self, text: str) -> None:
        """Logs an occurrence, now or later."""
        self._counts[text] = self._counts.get(text, 0) + 1
        self._log(text)

    def log(self) -> None:
        """Logs what has occurred in the meantime."""
        for text in tuple(self._counts):
            self._log(text)

    def _log(self, text: str) -> None:
        now = monotonic()
        if now >= self._not_before.get(text, now):
            count = self._counts.pop(text)
            _logger.warning("%s%s", text, f" ({count} times)" if count > 1 else "")
            self._not_before[text] = now + _QUIET
