"""What a configuration says about a plugin that fails: restarts, circuit breaker, limits.

Each class here adds to a record of :mod:`backworks.settings` how its fields are read and described. The configuration
holds the record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass
from pydantic_core import core_schema

from backworks.config.base import SECTION
from backworks.config.fieldtypes import CpuTime, Duration, Memory, Size, custom, whole
from backworks.config.source import show
from backworks.settings import Breaker, Limits, Restart

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

__all__ = [
    "BreakerConfig",
    "BreakerOrFalse",
    "LimitsConfig",
    "LimitsSection",
    "RestartConfig",
    "RestartSection",
    "VariableName",
]

_section = dataclass(frozen=True, config=ConfigDict(extra="forbid"))

#: POSIX.1-2017, section 8.1, and what Windows has besides: ProgramFiles(x86).
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")


@_section
class RestartConfig(Restart):
    """When a worker process that has ended is started again."""

    initial: Duration = Field(
        default=Restart.initial,
        description="The time to wait before a second new start; each that fails doubles it, with some chance in it.",
        examples=["100ms"],
    )
    maximum: Duration = Field(
        default=Restart.maximum, description="The longest time to wait between two starts.", examples=["30s"]
    )
    give_up_after: Annotated[int, whole(1, 1000)] = Field(
        default=Restart.give_up_after,
        description="After so many starts in a row that fail, the plugin is stopped until it is reloaded.",
        examples=[5],
    )


@_section
class BreakerConfig(Breaker):
    """When calls are refused at once, with 503, because those before them have failed."""

    failures: Annotated[int, whole(1, 1000)] = Field(
        default=Breaker.failures,
        description=(
            "How many calls in a row have to fail: by a crash, a timeout, an answer that breaks the ABI's rules, or "
            "one with the code INTERNAL, UNKNOWN or DATA_LOSS."
        ),
        examples=[5],
    )
    window: Duration = Field(
        default=Breaker.window, description="The time within which all of them have to fail.", examples=["30s"]
    )
    open: Duration = Field(default=Breaker.open, description="For how long calls are refused.", examples=["10s"])
    probes: Annotated[int, whole(1, 1000)] = Field(
        default=Breaker.probes,
        description="How many calls are let in after that; if all of them succeed, the others are as well.",
        examples=[1],
    )


@_section
class LimitsConfig(Limits):
    """What one worker process may use; what is not said or null has no limit, but for output."""

    memory: Memory | None = Field(
        default=Limits.memory, description="The memory of the process, its code included.", examples=["512MiB"]
    )
    cpu_time: CpuTime | None = Field(
        default=Limits.cpu_time,
        description="The processor time in the life of the process; then it is ended and replaced.",
        examples=["60s"],
    )
    open_files: Annotated[int, whole(16, 1 << 20)] | None = Field(
        default=Limits.open_files, description="How many files and sockets may be open at a time.", examples=[64]
    )
    processes: Annotated[int, whole(1, 1 << 20)] | None = Field(
        default=Limits.processes, description="How many processes and threads the plugin may have.", examples=[16]
    )
    output: Size = Field(
        default=Limits.output, description="The size of one answer; above it the call fails.", examples=["64MiB"]
    )


class _ReadAs:
    """Has pydantic read a record as the class here that describes it."""

    def __init__(self, section: type) -> None:
        self._section = section

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        section = handler.generate_schema(self._section)
        return core_schema.no_info_after_validator_function(lambda value: source(**vars(value)), section)


class _OrFalse:
    """Takes ``false`` for none, and ``true`` and nothing for all defaults."""

    def read(self, value: object) -> object:
        if value is False:
            return None
        if value is None or value is True:
            return {}
        if not isinstance(value, Mapping | Breaker):
            names = ", ".join(field.name for field in fields(BreakerConfig))
            raise custom(f"found {show(value)}, accepted false, or a mapping with {names}")
        return value

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "boolean"}]}


_or_false = _OrFalse()

BreakerOrFalse = Annotated[
    Annotated[Breaker, _ReadAs(BreakerConfig)] | None, BeforeValidator(_or_false.read), _or_false
]
RestartSection = Annotated[Restart, _ReadAs(RestartConfig), SECTION]
LimitsSection = Annotated[Limits, _ReadAs(LimitsConfig), SECTION]


def _variable(value: object) -> str:
    if not isinstance(value, str) or not _VARIABLE.fullmatch(value):
        raise custom(f"found {show(value)}, accepted the name of an environment variable, such as HOME")
    return value


VariableName = Annotated[str, BeforeValidator(_variable)]
