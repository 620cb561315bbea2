"""Shrinks a request that crashes a plugin."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.requests import Request

__all__ = ["shrunk"]

#: The time limit, in seconds.
_SECONDS = 8.0


def shrunk(request: Request, crashes: Callable[[Request], bool], seconds: float = _SECONDS) -> Request | None:
    """Removes the data that a crash does not need, then simplifies the rest.

    Args:
        request: The request.
        crashes: Returns whether a request crashes the plugin.
        seconds: The time limit.

    Returns:
        The smallest request found, or ``None`` if the request alone does not crash the plugin.
    """
    end = time.monotonic() + seconds
    if not crashes(request):
        return None
    piece = len(request.data)
    while piece > 0 and time.monotonic() < end:
        at = 0
        while at < len(request.data) and time.monotonic() < end:
            less = request._replace(data=request.data[:at] + request.data[at + piece :])
            if crashes(less):
                request = less
            else:
                at += piece
        piece //= 2
    for at in range(min(len(request.data), 64)):
        plainer = request._replace(data=request.data[:at] + b"a" + request.data[at + 1 :])
        if time.monotonic() < end and plainer != request and crashes(plainer):
            request = plainer
    return request
