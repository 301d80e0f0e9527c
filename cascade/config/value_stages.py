"""Stages that choose among values or place items on a scale, as text in a config file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from cascade.config.reads_text import ReadsText
from cascade.config.targets import TargetConfig
from cascade.config.toml import ONE, TABLE, Name, form
from cascade.errors import ConfigError
from cascade.stages import ANY_TIER, Question, Stage, Target, Value

_Text = Annotated[str, Field(strict=True)]
_Values = Annotated[
    Annotated[tuple[Name, ...], Tag(ONE)] | Annotated[dict[Name, _Text], Tag(TABLE)], Discriminator(form)
]
"""A list of values, or a table from value to its description."""

_LEAST = "Confidence below which the answer is uncertain, in [0, 1); 0 means: never."
_UNCERTAIN = "Where an answer leads whose confidence is below least_confidence; needed where that is above 0."


class _ValueStageConfig(ReadsText):
    """What a choice and a score have in common."""

    name: Name = Field(min_length=1, description="Unique in its cascade.")
    question: str = Field(description="The wording, listed in the task's prefix with the values behind it.")
    marker: str | None = Field(None, description="A word or two after the item; the stage's name if absent.")
    adapter: str = Field(description='Name from the adapter map; "base" for the model alone.')
    # The range stands in the schema for editors only; the tree checks it and names the stage.
    least_confidence: Annotated[
        float, Field(strict=True, json_schema_extra={"minimum": 0, "exclusiveMaximum": 1}, description=_LEAST)
    ] = 0.0
    uncertain: TargetConfig | None = Field(None, description=_UNCERTAIN)

    def _made(
        self, cascade: str, values: _Values, following: Mapping[str, Target], cuts: tuple[float, ...] | None = None
    ) -> Stage:
        described = values.items() if isinstance(values, dict) else ((value, "") for value in values)
        question = Question(
            marker=self.marker or self.name,
            wording=self.question,
            adapter=self.adapter,
            threshold=self.least_confidence,
            max_text_tokens=self.n_text_tokens,
            values=tuple(Value(*pair) for pair in described),
            is_scale=cuts is not None,
        )
        if self.uncertain is not None and not self.least_confidence:
            msg = (
                f"cascade.{cascade}.stages.{self.name}.uncertain: no item could take it, for least_confidence is 0. "
                "Give one such as 0.4, or leave the key away."
            )
            raise ConfigError(msg)
        return Stage(
            name=self.name,
            questions={ANY_TIER: question},
            next=following,
            cuts=cuts or (),
            uncertain=self.uncertain.target() if self.uncertain is not None else None,
        )


class ChoiceStageConfig(_ValueStageConfig):
    """A stage that chooses one of several values."""

    kind: Literal["choice"] = Field("choice", description="One of several values; `values` alone says the same.")
    values: _Values = Field(description="2 to 255 values: a list, or a table from value to what it means.")
    next: dict[str, TargetConfig] = Field(
        default_factory=dict,
        description="Value -> where it leads; a value that is not there leads to the label of its own name.",
    )

    def stage(self, cascade: str = "") -> Stage:
        """The pure form.

        Raises:
            ConfigError: ``uncertain`` could never be taken.
        """
        given = {value: target.target() for value, target in self.next.items()}
        own = {value: Target(value, is_label=True) for value in self.values}
        return self._made(cascade, self.values, own | given)


class ScoreStageConfig(_ValueStageConfig):
    """A stage that places an item on a scale."""

    kind: Literal["score"] = Field("score", description="A scale; `levels` alone says the same.")
    levels: _Values = Field(description="2 to 10 levels from the lowest on: a list, or a table with descriptions.")
    cuts: tuple[Annotated[float, Field(strict=True)], ...] = Field(
        description="Cut points of the expected score, rising; the lowest level counts 0, the next 1 and so on."
    )
    next: tuple[TargetConfig, ...] = Field(
        description="Where the parts lead between which the cut points lie, from the lowest on; one more than these."
    )

    def stage(self, cascade: str = "") -> Stage:
        """The pure form.

        Raises:
            ConfigError: ``uncertain`` could never be taken.
        """
        following = {str(part): target.target() for part, target in enumerate(self.next)}
        return self._made(cascade, self.levels, following, self.cuts)
