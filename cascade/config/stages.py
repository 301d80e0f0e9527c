"""Stages as text in a config file: pydantic models that become the pure tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import ConfigDict, Discriminator, Field, Tag, model_validator

from cascade.config.reads_text import ReadsText
from cascade.config.targets import TargetConfig
from cascade.config.toml import CHOICE, ONE, PRIOR, QUESTION, SCORE, TABLE, Frozen, Name, form
from cascade.config.value_stages import ChoiceStageConfig, ScoreStageConfig
from cascade.errors import ConfigError
from cascade.stages import ANY_TIER, Combine, Question, Source, Stage

_T = TypeVar("_T")


ByTier = Annotated[Annotated[_T, Tag(ONE)] | Annotated[dict[Name, _T], Tag(TABLE)], Discriminator(form)]
"""One value, or a table from tier to value."""


# The range stands in the schema for editors only; the tree checks it and names stage and tier.
Threshold = Annotated[float, Field(strict=True, json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1})]


_OLD = {"lower": "no_below", "upper": "yes_from"}


def _with_old_names(schema: dict[str, Any]) -> None:
    """Editors may find the former names of the thresholds of a prior stage."""
    for old, new in _OLD.items():
        schema["properties"][old] = {"type": "number", "deprecated": True, "description": f"Former name of {new}."}


class PriorStageConfig(Frozen):
    """What stands first and asks no model: a source gives p, and where it is uncertain the next stage is asked."""

    model_config = ConfigDict(json_schema_extra=_with_old_names)

    kind: Literal["prior"] = Field("prior", description="Says that this stage asks no model; so does `source`.")
    name: Name = Field("prior", min_length=1, description="Unique in its cascade.")
    source: Source = Field(
        Source.EVIDENCE, description="A logistic model of the item's evidence, or the item's own prior, by its caller."
    )
    no_below: float = Field(0.0, ge=0, le=1, description="Below this p the item takes `no`; 0 means: never.")
    yes_from: float = Field(1.0, ge=0, le=1, description="From this p on it takes `yes`; 1 means: only if p = 1.")
    yes: TargetConfig = Field(description="Where likely items go.")
    no: TargetConfig = Field(description="Where unlikely items go.")
    uncertain: TargetConfig | None = Field(
        None, description="Where all others go, those without a p included; the stage that follows if absent."
    )

    @model_validator(mode="before")
    @classmethod
    def _former_names(cls, given: object) -> object:
        if not isinstance(given, dict):
            return given
        for old, new in _OLD.items():
            if old in given and new in given:
                msg = f"{old} is the former name of {new}; give {new} alone"
                raise ValueError(msg)
        return {_OLD.get(key, key): value for key, value in given.items()}

    def stage(self, _: str = "") -> Stage:
        """The pure form, without its prior."""
        return Stage(
            name=self.name,
            no_below=self.no_below,
            yes_from=self.yes_from,
            yes=self.yes.target(),
            no=self.no.target(),
            uncertain=self.uncertain.target() if self.uncertain is not None else None,
            source=self.source,
        )


class StageConfig(ReadsText):
    """One stage; question, adapter and thresholds are one value each, or a table from tier to value."""

    kind: Literal["question"] = Field("question", description="An adapter answers it; absent is the same.")
    name: Name = Field(min_length=1, description="Unique in its cascade.")
    question: ByTier[str] = Field(description="The wording, listed in the task's prefix.")
    marker: ByTier[str] | None = Field(
        None,
        description="A word or two after the item that names the question, as its adapter was trained; the stage's or "
        "tier's name if absent.",
    )
    adapter: ByTier[str] = Field(description='Name from the adapter map; "base" for the model alone.')
    threshold: ByTier[Threshold] | None = Field(
        None, description="Yes from this p(yes) on, and no below it; in (0, 1). 0.5 if no threshold is given."
    )
    no_below: ByTier[Threshold] | None = Field(
        None, description="In place of threshold, with yes_from: no below this p(yes), and uncertain up to yes_from."
    )
    yes_from: ByTier[Threshold] | None = Field(None, description="Yes from this p(yes) on; no_below or more.")
    negated: ByTier[str] | None = Field(
        None, description="The opposite question, which `cascade audit` asks as well, to see whether the two add up."
    )
    yes: TargetConfig
    no: TargetConfig
    uncertain: TargetConfig | None = Field(
        None, description="Where a p(yes) from no_below up to yes_from leads; needed where these two differ."
    )
    combine: Combine = Field(Combine.ANY, description="How the answers of several tiers make one.")

    @model_validator(mode="after")
    def _thresholds_agree(self) -> Self:
        if (self.no_below is None) != (self.yes_from is None):
            missing, other = ("no_below", "yes_from") if self.no_below is None else ("yes_from", "no_below")
            msg = f"{other} is given without {missing}; give both, or threshold in place of both"
            raise ValueError(msg)
        if self.threshold is not None and self.no_below is not None:
            msg = "threshold is given beside no_below and yes_from; it stands for both, so give one or the other"
            raise ValueError(msg)
        return self

    def stage(self, cascade: str) -> Stage:
        """The pure form.

        Raises:
            ConfigError: The tables do not name the same tiers, or ``uncertain`` could never be taken.
        """
        values = (
            self.question, self.marker, self.adapter, self.threshold, self.no_below, self.yes_from, self.negated
        )  # fmt: skip
        tables: list[Mapping[str, object]] = [value for value in values if isinstance(value, dict)]
        tiers = dict.fromkeys(tier for table in tables for tier in table) or {ANY_TIER: None}
        found = Stage(
            name=self.name,
            questions={tier: self._question(cascade, tier) for tier in tiers},
            yes=self.yes.target(),
            no=self.no.target(),
            uncertain=self.uncertain.target() if self.uncertain is not None else None,
            combine=self.combine,
        )
        if found.uncertain is not None and all(len({*limits}) == 1 for limits in found.limits.values()):
            msg = (
                f"cascade.{cascade}.stages.{self.name}.uncertain: no item could take it, for the answer is yes from "
                "the same p(yes) below which it is no. Give no_below and yes_from, such as 0.2 and 0.7, or leave "
                "the key away."
            )
            raise ConfigError(msg)
        return found

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

        if self.no_below is not None and self.yes_from is not None:
            threshold, no_below = pick("yes_from", self.yes_from), pick("no_below", self.no_below)
        else:
            threshold, no_below = pick("threshold", 0.5 if self.threshold is None else self.threshold), None
        return Question(
            marker=(self.marker and pick("marker", self.marker)) or tier or self.name,
            wording=pick("question", self.question),
            adapter=pick("adapter", self.adapter),
            threshold=threshold,
            no_below=no_below,
            max_text_tokens=self.n_text_tokens,
            negated=(self.negated and pick("negated", self.negated)) or "",
        )


_KINDS = {"prior": PRIOR, "choice": CHOICE, "score": SCORE}
_TELLING = {"source": "prior", "values": "choice", "levels": "score"}


def kind(value: object) -> str:
    """Which kind of stage a table is: as it says, or by the key that only that kind has."""
    if not isinstance(value, dict):
        return _KINDS.get(str(getattr(value, "kind", None)), QUESTION)
    telling = next((its for key, its in _TELLING.items() if key in value), None)
    return _KINDS.get(str(value.get("kind", telling)), QUESTION)


AskingStageConfig = StageConfig | ChoiceStageConfig | ScoreStageConfig
"""A stage that asks a model."""

StageEntry = Annotated[
    Annotated[StageConfig, Tag(QUESTION)]
    | Annotated[PriorStageConfig, Tag(PRIOR)]
    | Annotated[ChoiceStageConfig, Tag(CHOICE)]
    | Annotated[ScoreStageConfig, Tag(SCORE)],
    Discriminator(kind),
]
