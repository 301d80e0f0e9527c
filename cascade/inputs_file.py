"""What a thresholds file keeps of the tasks that it was tuned with, so that new ones can be held against them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, model_validator

from cascade.toml_file import Frozen, toml_key
from cascade.tuning.shift import ASKED, ITEMS, MATTERS, MEAN, SPREAD, Histogram, Inputs, Statistic

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Numbers = tuple[_Number, ...]
_Share = Annotated[float, Field(ge=0, le=1)]
_MOST_FINGERPRINTS = 4_096


class QuestionInputsConfig(Frozen):
    """One question: figures of tasks, rising, and how its scores are spread over rows."""

    asked: _Numbers = Field((), description="Share of a task's items that it is put to; empty where it is all.")
    mean: _Numbers = Field(description="Mean log odds of a task's items.")
    spread: _Numbers = Field(description="Their standard deviation.")
    bounds: _Numbers = Field(description="Log odds that divide the bins of its scores, rising.")
    shares: tuple[_Share, ...] = Field(description="Share of the rows in each bin; one more than bounds.")

    @model_validator(mode="after")
    def _one_more(self) -> Self:
        if len(self.shares) != len(self.bounds) + 1 or any(
            low >= high for low, high in zip(self.bounds, self.bounds[1:], strict=False)
        ):
            msg = "bounds must rise, and shares be one more than bounds"
            raise ValueError(msg)
        return self


class InputsConfig(Frozen):
    """All questions, by stage and tier, and what is about tasks as such."""

    tasks: int = Field(ge=1, description="Tasks of the tuning; the figures are of up to 256 of them.")
    items: _Numbers = Field(description="Items of a task, rising.")
    matters: _Numbers = Field(description="Share of them that matters, rising.")
    questions: dict[str, dict[str, QuestionInputsConfig]]
    fingerprints: tuple[str, ...] = Field(
        (),
        description="Of the tasks, rising; if there are very many, the least ones. They know tasks by what is asked.",
    )

    @classmethod
    def of(cls, inputs: Inputs, fingerprints: Iterable[str] = ()) -> Self:
        """From the pure form.

        Args:
            inputs: The figures.
            fingerprints: Of the tasks; see ``repeats.fingerprint``.
        """
        questions: dict[str, dict[str, QuestionInputsConfig]] = {}
        for (stage, tier), spread in inputs.scores.items():
            questions.setdefault(stage, {})[tier] = QuestionInputsConfig(
                asked=inputs.tasks.get((ASKED, stage, tier), ()),
                mean=inputs.tasks[MEAN, stage, tier],
                spread=inputs.tasks[SPREAD, stage, tier],
                bounds=spread.bounds,
                shares=spread.shares,
            )
        return cls(
            tasks=inputs.n_tasks,
            items=inputs.tasks[ITEMS],
            matters=inputs.tasks[MATTERS],
            questions=questions,
            fingerprints=tuple(sorted(fingerprints)[:_MOST_FINGERPRINTS]),
        )

    def inputs(self) -> Inputs:
        """The pure form."""
        tasks: dict[Statistic, tuple[float, ...]] = {ITEMS: self.items, MATTERS: self.matters}
        scores = {}
        for stage, by_tier in self.questions.items():
            for tier, question in by_tier.items():
                for name, values in ((ASKED, question.asked), (MEAN, question.mean), (SPREAD, question.spread)):
                    tasks[name, stage, tier] = values
                scores[stage, tier] = Histogram(bounds=question.bounds, shares=question.shares)
        return Inputs(n_tasks=self.tasks, tasks=tasks, scores=scores)

    def lines(self) -> list[str]:
        """As TOML."""
        found = ["", "[inputs]", f"tasks = {self.tasks}"]
        found += [f"{name} = {_array(getattr(self, name))}" for name in ("items", "matters")]
        names = ", ".join(f'"{name}"' for name in self.fingerprints)
        found += [f"fingerprints = [{names}]"] if names else []
        for stage, by_tier in self.questions.items():
            for tier, question in by_tier.items():
                found += ["", f"[inputs.questions.{toml_key(stage)}.{toml_key(tier)}]"]
                found += [f"{name} = {_array(values)}" for name, values in question if values]
        return found


def _array(values: tuple[float, ...]) -> str:
    return f"[{', '.join(f'{value:.6g}' for value in values)}]"
