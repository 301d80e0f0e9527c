"""Stages as text in a config file: pydantic models that become the pure tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from cascade.config.toml import ONE, PRIOR, QUESTION, TABLE, Frozen
from cascade.errors import ConfigError
from cascade.stages import ANY_TIER, Combine, PriorStage, Question, Source, Stage, Target

_T = TypeVar("_T")


def form(value: object) -> str:
    """Which of the two forms of ``ByTier`` a value has."""
    return TABLE if isinstance(value, dict | BaseModel) else ONE


ByTier = Annotated[Annotated[_T, Tag(ONE)] | Annotated[dict[str, _T], Tag(TABLE)], Discriminator(form)]
"""One value, or a table from tier to value."""


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


# The range stands in the schema for editors only; the tree checks it and names stage and tier.
Threshold = Annotated[float, Field(strict=True, json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1})]


class PriorStageConfig(Frozen):
    """What stands first and asks no model; between its thresholds the next stage is asked."""

    kind: Literal["prior"] = Field(description="Says that this stage asks no model.")
    name: str = Field("prior", min_length=1, description="Unique in its cascade.")
    source: Source = Field(
        Source.EVIDENCE, description="A logistic model of the item's evidence, or the item's own prior, by its caller."
    )
    lower: float = Field(0.0, ge=0, le=1, description="Below this p the item takes `no`; 0 means: never.")
    upper: float = Field(1.0, ge=0, le=1, description="From this p on it takes `yes`; 1 means: only if p = 1.")
    yes: TargetConfig = Field(description="Where likely items go.")
    no: TargetConfig = Field(description="Where unlikely items go.")

    def stage(self) -> PriorStage:
        """The pure form, without its prior."""
        return PriorStage(
            name=self.name,
            lower=self.lower,
            upper=self.upper,
            yes=self.yes.target(),
            no=self.no.target(),
            source=self.source,
        )


TEXT_TOKENS = 200
"""Most tokens of an item's text that a stage reads which does not say how many."""


class StageConfig(Frozen):
    """One stage; question, adapter and threshold are one value each, or a table from tier to value."""

    kind: Literal["question"] = Field("question", description="An adapter answers it; absent is the same.")
    name: str = Field(min_length=1, description="Unique in its cascade.")
    question: ByTier[str] = Field(description="The wording, listed in the task's prefix.")
    marker: ByTier[str] | None = Field(
        None, description="A word or two after the item that names the question; the stage's or tier's name if absent."
    )
    adapter: ByTier[str] = Field(description='Name from the adapter map; "base" for the model alone.')
    threshold: ByTier[Threshold] = Field(0.5, description="Yes from this p(yes) on; in (0, 1).")
    reads: Literal["item", "text"] = Field(
        "item", description="What stands before its question: the item's line alone, or the item's `text` as well."
    )
    max_text_tokens: Annotated[int, Field(ge=1, le=4096, strict=True)] | None = Field(
        None, description=f'Most tokens of the text that it reads, with `reads = "text"`; {TEXT_TOKENS} if absent.'
    )
    negated: ByTier[str] | None = Field(
        None, description="The opposite question, which `cascade audit` asks as well, to see whether the two add up."
    )
    yes: TargetConfig
    no: TargetConfig
    combine: Combine = Field(Combine.ANY, description="How the answers of several tiers make one.")

    @model_validator(mode="after")
    def _reads_text(self) -> Self:
        if self.max_text_tokens is not None and self.reads != "text":
            msg = f'max_text_tokens = {self.max_text_tokens} needs reads = "text"; add it, or leave max_text_tokens out'
            raise ValueError(msg)
        return self

    def stage(self, cascade: str) -> Stage:
        """The pure form.

        Raises:
            ConfigError: The tables do not name the same tiers.
        """
        values = (self.question, self.marker, self.adapter, self.threshold, self.negated)
        tables: list[Mapping[str, object]] = [value for value in values if isinstance(value, dict)]
        tiers = dict.fromkeys(tier for table in tables for tier in table) or {ANY_TIER: None}
        return Stage(
            name=self.name,
            questions={tier: self._question(cascade, tier) for tier in tiers},
            yes=self.yes.target(),
            no=self.no.target(),
            combine=self.combine,
        )

    def _question(self, cascade: str, tier: str) -> Question:
        def pick(key: str, value: _T | dict[str, _T]) -> _T:
            if not isinstance(value, dict):
                return value
            if tier not in value:
                msg = (
                    f"cascade.{cascade}.stages.{self.name}.{key}: tier {tier!r} has none. "
                    f"Add it; the table has {', '.join(value) or 'nothing'}."
                )
                raise ConfigError(msg)
            return value[tier]

        return Question(
            marker=(self.marker and pick("marker", self.marker)) or tier or self.name,
            wording=pick("question", self.question),
            adapter=pick("adapter", self.adapter),
            threshold=pick("threshold", self.threshold),
            max_text_tokens=(self.max_text_tokens or TEXT_TOKENS) if self.reads == "text" else 0,
            negated=(self.negated and pick("negated", self.negated)) or "",
        )


def kind(value: object) -> str:
    """Which of the two kinds of stage a table is."""
    given = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return PRIOR if given == "prior" else QUESTION


StageEntry = Annotated[
    Annotated[StageConfig, Tag(QUESTION)] | Annotated[PriorStageConfig, Tag(PRIOR)], Discriminator(kind)
]
