"""Field types, among them those whose values have units.

Each type defines in one place what it accepts: for pydantic, for error messages, and for the JSON Schema that editors
use. The schema accepts ``${NAME}`` instead of any value, because editors do not expand variables.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from backworks.config.source import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler

__all__ = ["Accepts", "CpuTime", "Duration", "Memory", "Size", "Switch", "choice", "custom", "text", "whole"]

#: The longest duration: one day. No client waits longer for a response.
MAX_SECONDS = 86_400.0
#: The largest size, which is also the limit of a response.
MAX_BYTES = 1 << 30
#: Limits of a process's memory: an idle process needs the minimum, and no machine has the maximum.
MIN_MEMORY = 16 << 20
MAX_MEMORY = 1 << 46

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile(rf"({_NUMBER})\s*(ms|s|m|h)?")
_SIZE = re.compile(rf"({_NUMBER})\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)?")
_SECONDS: dict[str | None, float] = {None: 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_BYTES: dict[str | None, float] = {None: 1, "B": 1, "kB": 1000, "KB": 1000, "MB": 1000**2, "GB": 1000**3}
_BYTES |= {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SWITCH: dict[str, bool] = dict.fromkeys(("true", "yes", "on", "1"), True)
_SWITCH |= dict.fromkeys(("false", "no", "off", "0"), False)


def custom(text: str) -> PydanticCustomError:
    """Creates an error whose text reaches the user unchanged."""
    return PydanticCustomError("backworks", "{text}", {"text": text})


@dataclass(frozen=True, eq=False)  # hashed by identity: dicts have no hash
class Accepts:
    """Pydantic metadata that validates one kind of value.

    Attributes:
        what: The accepted values, to complete a sentence that starts with "must be".
        read: Converts an input to the value. Raises ``ValueError`` if the input is not valid.
        schemas: JSON Schemas of the accepted values; a value must match at least one.
    """

    what: str
    read: Callable[[object], object]
    schemas: tuple[dict[str, Any], ...]

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [*self.schemas, {"type": "string", "pattern": r"\$\{.*\}"}]}

    def _validate(self, value: object) -> object:
        try:
            return self.read(value)
        except (ValueError, OverflowError):
            raise custom(f"must be {self.what}, not {show(value)}") from None


def choice(*words: str, what: str = "") -> Accepts:
    """Accepts one of several words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return Accepts(what or _alternatives(words), read, ({"enum": list(words)},))


def text(what: str) -> Accepts:
    """Accepts a string that is not empty."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    return Accepts(what, read, ({"type": "string", "minLength": 1},))


def whole(minimum: int, maximum: int) -> Accepts:
    """Accepts a whole number within limits, also as a string, which a quoted variable expands to."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            value = int(value)
        # A bool is an int in Python, but "workers: true" is a mistake.
        if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
            raise ValueError
        return value

    return Accepts(
        f"a whole number from {minimum} to {maximum}",
        read,
        ({"type": "integer", "minimum": minimum, "maximum": maximum},),
    )


def _duration(value: object) -> float:
    seconds = _measure(value, _DURATION, _SECONDS)
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError
    return seconds


def _size(value: object) -> int:
    size = _measure(value, _SIZE, _BYTES)
    if size != int(size) or not 0 <= size <= MAX_BYTES:
        raise ValueError
    return int(size)


def _memory(value: object) -> int:
    size = _measure(value, _SIZE, _BYTES)
    if size != int(size) or not MIN_MEMORY <= size <= MAX_MEMORY:
        raise ValueError
    return int(size)


def _cpu_time(value: object) -> int:
    seconds = _duration(value)
    if seconds != int(seconds):  # operating systems limit processor time in whole seconds
        raise ValueError
    return int(seconds)


def _measure(value: object, pattern: re.Pattern[str], units: dict[str | None, float]) -> float:
    if isinstance(value, str) and (match := pattern.fullmatch(value.strip())):
        return float(match[1]) * units[match[2]]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise ValueError


def _switch(value: object) -> bool:
    if isinstance(value, str) and value.lower() in _SWITCH:
        return _SWITCH[value.lower()]
    if not isinstance(value, bool):
        raise ValueError
    return value


def _alternatives(words: tuple[str, ...]) -> str:
    *most, last = map(repr, words)
    return f"{', '.join(most)} or {last}" if most else last


Duration = Annotated[
    float,
    Accepts(
        "a duration above 0 and up to 24h, such as 500ms, 2s, 1m, 1h or a number of seconds",
        _duration,
        (
            {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
            {"type": "string", "pattern": rf"^\s*{_DURATION.pattern}\s*$"},
        ),
    ),
]

Size = Annotated[
    int,
    Accepts(
        "a size of up to 1GiB, such as 64KiB, 1MiB, 10MB or a number of bytes",
        _size,
        (
            {"type": "integer", "minimum": 0, "maximum": MAX_BYTES},
            {"type": "string", "pattern": rf"^\s*{_SIZE.pattern}\s*$"},
        ),
    ),
]

Memory = Annotated[
    int,
    Accepts(
        "a size from 16MiB to 65536GiB, such as 512MiB, 2GiB or a number of bytes",
        _memory,
        (
            {"type": "integer", "minimum": MIN_MEMORY, "maximum": MAX_MEMORY},
            {"type": "string", "pattern": rf"^\s*{_SIZE.pattern}\s*$"},
        ),
    ),
]

CpuTime = Annotated[
    int,
    Accepts(
        "a duration from 1s to 24h in whole seconds, such as 60s, 5m, 1h or a number of seconds",
        _cpu_time,
        (
            {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
            {"type": "string", "pattern": rf"^\s*{_DURATION.pattern}\s*$"},
        ),
    ),
]

Switch = Annotated[bool, Accepts("true or false", _switch, ({"type": "boolean"},))]
