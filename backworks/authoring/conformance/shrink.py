"""Makes a request that crashes a plugin as small as possible."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from backworks.authoring.conformance.requests import Request

__all__ = ["shrunk"]

#: Seconds that are spent on it.
_SECONDS = 8.0


def shrunk(request: Request, crashes: Callable[[Request], bool], seconds: float = _SECONDS) -> Request | None:
    """Leaves out what is not needed for a crash, then makes plain what remains.

    Args:
        request: The request.
        crashes: Whether a request crashes the plugin.
        seconds: How long to go on.

    Returns:
        The smallest that was found, or ``None`` if the request alone does not crash it.
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
