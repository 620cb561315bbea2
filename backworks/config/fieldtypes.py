"""Fields that people write with units, and the sentences about what a field accepts.

Each type below says in one place what it accepts: to pydantic, to the reader of an error, and to an editor by
the JSON Schema. A ``${NAME}`` is accepted by the schema wherever a value is, since an editor does not expand
it.
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

#: The longest time: a day. A call that needs longer is none that somebody waits for.
MAX_SECONDS = 86_400.0
#: The largest size: what an answer is limited to as well.
MAX_BYTES = 1 << 30
#: The memory that a process may be given: from what one needs to do nothing, to more than any machine has.
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
    """Makes the error that reaches the user word by word."""
    return PydanticCustomError("backworks", "{text}", {"text": text})


@dataclass(frozen=True, eq=False)  # hashed by identity: dicts have no hash
class Accepts:
    """The reading of one kind of value, as pydantic metadata.

    Attributes:
        what: What is accepted, as the end of a sentence.
        read: Makes the value of what was found. Raises ``ValueError`` if it is not accepted.
        schemas: JSON Schemas of what is accepted; one of them has to fit.
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
            raise custom(f"found {show(value)}, accepted {self.what}") from None


def choice(*words: str, what: str = "") -> Accepts:
    """One of some words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return value

    return Accepts(what or " or ".join(words), read, ({"enum": list(words)},))


def text(what: str) -> Accepts:
    """A text that is not empty."""

    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise ValueError
        return value

    return Accepts(what, read, ({"type": "string", "minLength": 1},))


def whole(minimum: int, maximum: int) -> Accepts:
    """A whole number within limits; text that is one (as from a variable) is taken."""

    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
            value = int(value)
        # A bool is an int to Python; "workers: true" is a mistake nevertheless.
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
    if seconds != int(seconds):  # systems count whole ones
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


Duration = Annotated[
    float,
    Accepts(
        "a time such as 500ms, 2s, 1m, 1h, or a number of seconds, above 0 and up to 24h",
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
        "a size such as 64KiB, 1MiB, 10MB, or a number of bytes, up to 1GiB",
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
        "a size such as 512MiB, 2GiB, or a number of bytes, from 16MiB to 65536GiB",
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
        "whole seconds such as 60s, 5m, 1h, or a number of them, from 1 to 24h",
        _cpu_time,
        (
            {"type": "integer", "minimum": 1, "maximum": MAX_SECONDS},
            {"type": "string", "pattern": rf"^\s*{_DURATION.pattern}\s*$"},
        ),
    ),
]

Switch = Annotated[bool, Accepts("true or false", _switch, ({"type": "boolean"},))]
