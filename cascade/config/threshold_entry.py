"""The thresholds of one question as text: one number, two, or those of a score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from cascade.config.toml import ONE, SCORE, TABLE, Frozen, form
from cascade.stages import ANY_TIER, Limits, ScoreLimits, Threshold

_Share = Annotated[float, Field(ge=0, le=1)]


class LimitsConfig(Frozen):
    """The two thresholds of a question whose answer may be uncertain."""

    no_below: _Share = Field(description="No below this p(yes).")
    yes_from: _Share = Field(description="Yes from this p(yes) on; between the two it is uncertain.")

    @model_validator(mode="after")
    def _rise(self) -> Self:
        if self.no_below > self.yes_from:
            msg = f"no_below {self.no_below} is above yes_from {self.yes_from}; it may at most be the same"
            raise ValueError(msg)
        return self


class ScoreLimitsConfig(Frozen):
    """The thresholds of a score."""

    least_confidence: float = Field(ge=0, lt=1, description="Confidence below which it is uncertain; 0 means: never.")
    cuts: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        description="Cut points of the expected score, rising; the cascade checks them."
    )


_BEFORE = {"lower": "no_below", "upper": "yes_from"}  # names in files of before
_TABLES = frozenset(frozenset(kind.model_fields) for kind in (LimitsConfig, ScoreLimitsConfig))


def _form(value: object) -> str:
    """Which of the three forms a value has."""
    is_score = isinstance(value, ScoreLimitsConfig) or (isinstance(value, Mapping) and "cuts" in value)
    return SCORE if is_score else form(value)


ThresholdEntry = Annotated[
    Annotated[_Share, Tag(ONE)] | Annotated[LimitsConfig, Tag(TABLE)] | Annotated[ScoreLimitsConfig, Tag(SCORE)],
    Discriminator(_form),
]
"""What a file has for one question."""


def table_of(threshold: Threshold) -> ThresholdEntry:
    """A threshold as files have it."""
    if isinstance(threshold, ScoreLimits):
        return ScoreLimitsConfig(least_confidence=threshold.least, cuts=threshold.cuts)
    return LimitsConfig(**threshold._asdict()) if isinstance(threshold, Limits) else threshold


def threshold_of(entry: ThresholdEntry) -> Threshold:
    """The pure form; the opposite of ``table_of``."""
    if isinstance(entry, ScoreLimitsConfig):
        return ScoreLimits(entry.least_confidence, entry.cuts)
    return Limits(entry.no_below, entry.yes_from) if isinstance(entry, LimitsConfig) else entry


def with_tiers(table: object) -> object:
    """A stage's table by tier; one that stands in place of tiers is put under the empty tier."""
    if not isinstance(table, Mapping):
        return table
    renamed = {_BEFORE.get(name, name): value for name, value in table.items()}
    return {ANY_TIER: renamed} if frozenset(renamed) in _TABLES else table


def without_tiers(table: Mapping[str, ThresholdEntry]) -> dict[str, Any]:
    """A stage's table as a file has it; ``with_tiers`` makes the same of it again."""
    shown = {tier: entry.model_dump() if isinstance(entry, Frozen) else entry for tier, entry in table.items()}
    alone = shown.get(ANY_TIER)
    return alone if isinstance(alone, dict) else shown
