"""The base class of all configuration models."""

from __future__ import annotations

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["SECTION", "Model"]

# YAML reads a section whose lines are all commented out as null.
SECTION = BeforeValidator(lambda value: {} if value is None else value)


class Model(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
