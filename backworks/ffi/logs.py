"""From a plugin's ``backworks_host.log`` to a Python function, by number.

``backworks_host.context`` holds a number and no pointer: a plugin that logs after its shutdown, or with a context of
its own making, finds no function under it, and nothing happens.
"""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backworks.ffi.contract import LogFunction

__all__ = ["MAX_TEXT", "deliver", "forget", "register"]

#: The longest text of one record, in bytes; the rest is cut. More is no log line but a mistake.
MAX_TEXT = 1 << 16

_functions: dict[int, LogFunction] = {}
_numbers = itertools.count(1)


def register(function: LogFunction) -> int:
    """Returns the number, never 0, under which ``deliver`` will find the function."""
    number = next(_numbers)
    _functions[number] = function
    return number


def forget(number: int) -> None:
    """Ends the registration; deliveries that are under way still arrive."""
    _functions.pop(number, None)


def deliver(number: int, level: int, text: bytes) -> None:
    """Calls the function registered under the number, if there is one. Raises nothing: the caller is C."""
    function = _functions.get(number)
    if function is None:
        return
    try:
        function(level, text.decode("utf-8", "replace"))
    except BaseException:  # noqa: BLE001  # nothing may pass through C
        sys.excepthook(*sys.exc_info())
