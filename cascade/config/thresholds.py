"""Tuned thresholds as text: the TOML file that ``cascade tune --out`` writes, bound to the files it was made for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, field_serializer, field_validator, model_validator

from cascade.config.figures import GUARANTEED, Figure
from cascade.config.profile import MadeForConfig, PriorConfig
from cascade.config.threshold_entry import ThresholdEntry, threshold_of, with_tiers, without_tiers
from cascade.config.toml import Frozen, read_model, write_toml
from cascade.errors import ConfigError, counted
from cascade.probability import N_KNOTS, Curve
from cascade.profile import ASKED, ITEMS, MATTERS, MEAN, SPREAD, Histogram, Inputs, Statistic
from cascade.stages import Limits, Source, Stage, Threshold, cuts_of, limits_of

_Number = Annotated[float, Field(allow_inf_nan=False)]
_Numbers = tuple[_Number, ...]
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

    def table(self) -> dict[str, Any]:
        """As TOML holds it: figures of six digits, and what is empty left out."""
        return {
            "tasks": self.tasks,
            "items": _short(self.items),
            "matters": _short(self.matters),
            "fingerprints": list(self.fingerprints) or None,
            "questions": {
                stage: {
                    tier: {name: _short(values) for name, values in question if values}
                    for tier, question in by_tier.items()
                }
                for stage, by_tier in self.questions.items()
            },
        }


def _short(values: tuple[float, ...]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


_Share = Annotated[float, Field(ge=0, le=1)]
_Chance = Annotated[float, Field(gt=0, lt=1)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GuaranteeConfig(Frozen):
    """What was guaranteed, and how sure it is; exactly one of the figures."""

    recall_per_task: _Chance | None = Field(None, description="The least recall per task.")
    recall_over_rows: _Chance | None = Field(None, description="The least recall over all rows.")
    precision_per_task: _Chance | None = Field(None, description="The least precision per task.")
    precision_over_rows: _Chance | None = Field(None, description="The least precision over all rows.")
    macro_f1_per_task: _Chance | None = Field(None, description="The least macro F1 per task.")
    recall_or_handed_on_per_task: _Chance | None = Field(None, description="With what is handed on counted in.")
    recall_or_handed_on_over_rows: _Chance | None = Field(None, description="Likewise, over all rows.")
    accuracy_among_answered_per_task: _Chance | None = Field(None, description="Of what is not handed on.")
    accuracy_among_answered_over_rows: _Chance | None = Field(None, description="Likewise, over all rows.")
    delta: _Chance = Field(description="The chance that the guarantee may be wrong.")
    p_value: _Share
    tasks: int = Field(ge=1, description="Tasks that it was tested on.")
    minimised: str
    largest: int | None = Field(
        None, ge=1, description="Most items of one task that count; a bound, over all rows alone."
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self._given()) != 1:
            msg = f"give exactly one of {', '.join(GUARANTEED)}"
            raise ValueError(msg)
        return self

    def _given(self) -> dict[Figure, float]:
        levels = {figure: getattr(self, figure) for figure in GUARANTEED}
        return {figure: level for figure, level in levels.items() if level is not None}

    @property
    def figure(self) -> Figure:
        """What is guaranteed."""
        return next(iter(self._given()))

    @property
    def level(self) -> float:
        """The least that it is."""
        return self._given()[self.figure]


class NoGuaranteeConfig(Frozen):
    """What thresholds without a guarantee were chosen for."""

    text: str = Field(description="That there is none, in words.")
    target: str = Field(description='What was aimed for: "macro_f1_over_rows", or "recall_per_task=0.9".')
    expected: _Share = Field(description="What the model of labels expects of it.")
    tasks: int = Field(ge=1, description="Tasks with something to find that the model was fitted to.")


class HeldOutConfig(Frozen):
    """What the thresholds came to on the tasks that were tested; see ``Outcome``."""

    recall_per_task: _Share | None = Field(None, description="Absent where nothing matters, as are the misses.")
    calls_per_item: _Amount
    false_positives_per_item: _Amount
    precision_per_task: _Share | None = None
    macro_f1_per_task: _Share | None = None
    misses: _Share | None = Field(None, description="What is missing from a recall over all rows of 1.")
    ms_per_item: _Amount | None = Field(None, description="Predicted, where latency was made small.")
    handed_on_per_item: _Share | None = Field(None, description="Absent where nothing can be handed on.")
    recall_or_handed_on_per_task: _Share | None = Field(None, description="Likewise.")
    accuracy_among_answered_per_task: _Share | None = Field(None, description="Absent where it is not about that.")
    error_among_answered: _Share | None = Field(None, description="Likewise, over all rows.")


class CalibrationConfig(Frozen):
    """A curve from raw to calibrated p(yes), which reports show; thresholds are on the raw one."""

    kind: str
    values: tuple[_Share, ...] = Field(
        min_length=N_KNOTS,
        max_length=N_KNOTS,
        description="Calibrated p at raw log odds from -8 to 8, a quarter apart.",
    )

    def curve(self) -> Curve:
        """The pure form."""
        return Curve(kind=self.kind, values=self.values)


class ThresholdsFile(Frozen):
    """The whole file; tables go by stage, then by tier, which is empty where the stage does not ask by tier.

    A threshold is a number, or the table of ``no_below`` and ``yes_from``, or of a score that of ``least_confidence``
    and ``cuts``; a stage that does not ask by tier may have these in place of tiers. The file has a guarantee with what
    came of the tasks held out, or else the table ``no_guarantee``.
    """

    guarantee: GuaranteeConfig | None = None
    no_guarantee: NoGuaranteeConfig | None = None
    held_out: HeldOutConfig | None = None
    made_for: MadeForConfig
    thresholds: dict[str, dict[str, ThresholdEntry]]
    prior: PriorConfig | None = Field(None, description="What weighs the evidence, for a prior stage that goes by it.")
    calibration: dict[str, dict[str, CalibrationConfig]] = Field(default_factory=dict)
    inputs: InputsConfig | None = Field(None, description="The tasks that it was tuned with, for `cascade check`.")

    @field_validator("thresholds", mode="before")
    @classmethod
    def _without_tiers(cls, given: object) -> object:
        return {stage: with_tiers(table) for stage, table in given.items()} if isinstance(given, dict) else given

    @field_serializer("thresholds")
    def _as_given(self, thresholds: dict[str, dict[str, ThresholdEntry]]) -> dict[str, dict[str, Any]]:
        """As ``_without_tiers`` takes it."""
        return {stage: without_tiers(table) for stage, table in thresholds.items()}

    @model_validator(mode="after")
    def _one_standing(self) -> Self:
        if (self.guarantee is None) == (self.no_guarantee is None) or (self.guarantee is None) != (
            self.held_out is None
        ):
            msg = "give guarantee and held_out, or else no_guarantee"
            raise ValueError(msg)
        return self

    def limits(self) -> dict[tuple[str, str], Limits]:
        """(stage, tier) -> both thresholds; of a score the least confidence as both."""
        return {key: limits_of(threshold) for key, threshold in self._by_question().items()}

    def _by_question(self) -> dict[tuple[str, str], Threshold]:
        return {
            (stage, tier): threshold_of(entry)
            for stage, table in self.thresholds.items()
            for tier, entry in table.items()
        }

    def put_on(
        self, cascade: str, stages: Sequence[Stage], prior_stage: Stage | None = None
    ) -> tuple[tuple[Stage, ...], Stage | None]:
        """The stages with these thresholds and curves, and the prior stage with the prior they were tuned with.

        Raises:
            ConfigError: The file has other stages or tiers than the cascade, its prior stage included.
        """
        every = (*stages, *([prior_stage] if prior_stage is not None else []))
        self._check_fits(cascade, every, prior_stage)
        given = self._by_question()
        moved = tuple(stage.with_limits({tier: given[stage.name, tier] for tier in stage.limits}) for stage in every)
        prior = self.prior.prior() if self.prior is not None else None
        return tuple(map(self._with_curves, moved[: len(stages)])), (
            replace(moved[-1], prior=prior) if prior_stage is not None else None
        )

    def _check_fits(self, cascade: str, stages: Sequence[Stage], prior_stage: Stage | None) -> None:
        """Refuse a cascade that asks other questions than the file is for."""
        remedy = (
            "Tune again with `cascade tune --out`, or leave these thresholds away (`thresholds = "
            '""` where a config extends another that names them).'
        )
        given = self._by_question()
        asked = {(stage.name, tier) for stage in stages for tier in stage.limits}
        if asked != set(given):
            odd = sorted(f"{stage}.{tier}" if tier else stage for stage, tier in asked ^ set(given))
            msg = (
                f"cascade.{cascade}.thresholds: the file is for other questions: {', '.join(odd)} stand only in one of "
                f"the two. {remedy}"
            )
            raise ConfigError(msg)
        for stage in stages:
            n_cuts, n_given = len(stage.cuts), max(len(cuts_of(given[stage.name, tier])) for tier in stage.limits)
            if n_cuts != n_given:
                msg = (
                    f"cascade.{cascade}.thresholds: the file has {counted(n_given, 'cut point')} for {stage.name!r}, "
                    f"and the stage needs {n_cuts}. {remedy}"
                )
                raise ConfigError(msg)
        if prior_stage is not None and (prior_stage.source is Source.CALLER) == (self.prior is not None):
            by_evidence, by_caller = "evidence", "the item's own prior"
            then, now = (by_caller, by_evidence) if self.prior is None else (by_evidence, by_caller)
            msg = (
                f"cascade.{cascade}.thresholds: these were tuned with a prior stage that goes by {then}, and it goes "
                f"by {now} here, which is another p. {remedy}"
            )
            raise ConfigError(msg)

    def _with_curves(self, stage: Stage) -> Stage:
        curves = {tier: self._curve(stage.name, tier) for tier in stage.questions}
        return replace(
            stage, questions={tier: replace(each, curve=curves[tier]) for tier, each in stage.questions.items()}
        )

    def _curve(self, stage: str, tier: str) -> Curve | None:
        found = self.calibration.get(stage, {}).get(tier)
        return found.curve() if found is not None else None


def read_thresholds(path: Path) -> ThresholdsFile:
    """Tuned thresholds from their file.

    Raises:
        ConfigError: It cannot be read, is not TOML, or does not fit; names file, key and remedy.
    """
    return read_model(ThresholdsFile, path, "Write it with `cascade tune --out`, or leave thresholds away.")


def write_thresholds(file: ThresholdsFile, path: Path, source: str) -> None:
    """Write tuned thresholds so that a config can name the file.

    Args:
        file: What to write.
        path: Where.
        source: What they come from, in one line.

    Raises:
        MachineError: The file cannot be written.
    """
    tables = file.model_dump()
    if file.prior is not None:
        tables["prior"]["weights"] = dict(sorted(file.prior.weights.items()))
    for curves in tables["calibration"].values():
        for curve in curves.values():
            curve["values"] = [round(value, 6) for value in curve["values"]]
    if file.inputs is not None:
        tables["inputs"] = file.inputs.table()
    write_toml(tables, path, source)
