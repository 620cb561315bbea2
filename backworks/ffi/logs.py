"""Routes calls of ``backworks_host.log`` to Python functions, by number.

``backworks_host.context`` is a number, not a pointer. If a plugin logs after its shutdown, or with an invalid context,
no function is registered under the number, and the record is dropped.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backworks.ffi.contract import LogFunction

__all__ = ["MAX_TEXT", "deliver", "forget", "register"]

#: The maximum size of a record's text in bytes; the rest is cut off. A longer text is a mistake, not a log record.
MAX_TEXT = 1 << 16

_functions: dict[int, LogFunction] = {}
_numbers = itertools.count(1)


def register(function: LogFunction) -> int:
    """Registers a function; returns its number for ``deliver``, which is never 0."""
    number = next(_numbers)
    _functions[number] = function
    return number


def forget(number: int) -> None:
    """Removes a registration; a delivery in progress still completes."""
    _functions.pop(number, None)


def deliver(number: int, level: int, text: bytes) -> None:
    """Calls the function registered under a number, if any. Never raises, because the caller is C."""
    function = _functions.get(number)
    if function is None:
        return
    try:
        function(level, text.decode("utf-8", "replace"))
    except BaseException:  # noqa: BLE001  # no exception may pass through C
        sys.excepthook(*sys.exc_info())
