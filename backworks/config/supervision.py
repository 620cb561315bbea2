"""The sections of a configuration about failing plugins: restarts, circuit breaker and limits.

Each class here adds validation and descriptions to the fields of a record of :mod:`backworks.settings`. The
configuration contains the record.
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

#: POSIX.1-2017, section 8.1, and the parentheses of ProgramFiles(x86) on Windows.
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_()]*")


@_section
class RestartConfig(Restart):
    """How the host replaces worker processes that have ended."""

    initial: Duration = Field(
        default=Restart.initial,
        description="The delay before the second start in a row; each failed start doubles it, with random jitter.",
        examples=["100ms"],
    )
    maximum: Duration = Field(
        default=Restart.maximum,
        description="The longest delay between two starts; starts go on at this delay until one succeeds.",
        examples=["30s"],
    )


@_section
class BreakerConfig(Breaker):
    """When to reject calls immediately, with 503, because previous ones failed."""

    failures: Annotated[int, whole(1, 1000)] = Field(
        default=Breaker.failures,
        description=(
            "How many consecutive calls must fail before the circuit breaker opens: by a crash, a timeout, a response "
            "that violates the ABI, or an error with the code INTERNAL, UNKNOWN or DATA_LOSS."
        ),
        examples=[5],
    )
    window: Duration = Field(
        default=Breaker.window, description="The time within which all these calls must fail.", examples=["30s"]
    )
    open: Duration = Field(
        default=Breaker.open, description="How long an open circuit breaker rejects calls.", examples=["10s"]
    )
    probes: Annotated[int, whole(1, 1000)] = Field(
        default=Breaker.probes,
        description="How many trial calls run after that; if all succeed, the circuit breaker closes.",
        examples=[1],
    )


@_section
class LimitsConfig(Limits):
    """The resource limits of one worker process; a limit that is null is off. Only output has a default."""

    memory: Memory | None = Field(
        default=Limits.memory, description="The memory of the process, including its code.", examples=["512MiB"]
    )
    cpu_time: CpuTime | None = Field(
        default=Limits.cpu_time,
        description="The processor time over the lifetime of the process; at the limit it is ended and replaced.",
        examples=["60s"],
    )
    open_files: Annotated[int, whole(16, 1 << 20)] | None = Field(
        default=Limits.open_files, description="How many files and sockets may be open at once.", examples=[64]
    )
    processes: Annotated[int, whole(1, 1 << 20)] | None = Field(
        default=Limits.processes, description="How many processes and threads the plugin may run.", examples=[16]
    )
    output: Size = Field(
        default=Limits.output, description="The size of one response; a larger one fails the call.", examples=["64MiB"]
    )


class _ReadAs:
    """Makes pydantic validate a record with the class that describes it here."""

    def __init__(self, section: type) -> None:
        self._section = section

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        section = handler.generate_schema(self._section)
        return core_schema.no_info_after_validator_function(lambda value: source(**vars(value)), section)


class _OrFalse:
    """Reads ``false`` as ``None``, and ``true`` and null as a section with all defaults."""

    def read(self, value: object) -> object:
        if value is False:
            return None
        if value is None or value is True:
            return {}
        if not isinstance(value, Mapping | Breaker):
            names = ", ".join(field.name for field in fields(BreakerConfig))
            raise custom(f"must be false, or a mapping with {names}, not {show(value)}")
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
        raise custom(f"must be the name of an environment variable such as HOME, not {show(value)}")
    return value


VariableName = Annotated[str, BeforeValidator(_variable)]
