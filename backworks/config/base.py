"""What all models of a configuration share."""

from __future__ import annotations

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["SECTION", "Model"]

# A section whose lines are all commented out is null in YAML.
SECTION = BeforeValidator(lambda value: {} if value is None else value)


class Model(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)
