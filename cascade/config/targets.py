"""Where an answer leads, as text in a config file."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cascade.config.toml import Frozen
from cascade.stages import Target


class TargetConfig(Frozen):
    """Where an answer leads: exactly one of the two."""

    stage: str | None = Field(None, description="Name of the next stage.")
    label: str | None = Field(None, description="The label that the item gets.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.stage is None) == (self.label is None):
            msg = 'give exactly one of stage and label, such as { label = "excluded" }'
            raise ValueError(msg)
        return self

    def target(self) -> Target:
        """The pure form."""
        return Target(self.stage or self.label or "", is_label=self.stage is None)
