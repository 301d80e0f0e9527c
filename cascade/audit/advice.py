"""Recommends actions from the findings of an audit, each with its numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade.audit.errors import REPOSITORY, TIER, SliceErrors
from cascade.audit.learning_curve import LearningCurve
from cascade.audit.likeness import Likeness
from cascade.audit.questions import question_name
from cascade.audit.rates import MIN_TASKS
from cascade.audit.stage_value import StageValue
from cascade.errors import counted
from cascade.evaluation.scored import Key
from cascade.stages import in_words
from cascade.tree import Cascade
from cascade.tuning.risk import holm

SIGNIFICANCE = 0.05
"""The chance that any slice at all is named where none errs more than the rest."""

_POINTS, _RATIO, _LEAST_POINTS = 0.05, 1.5, 0.01
"""A difference matters from five points of error rate on, or from half as much again if that is at least one point."""

_NO_GAIN = 0.01  # of macro F1 over all rows: a stage that surely gains no more may go
_NO_LOSS = 0.01  # of recall over all rows: a stage that keeps more is worth its price, whatever it does to macro F1
_LEAST_SAVING = 0.005  # calls per item: what two digits show
_ALIKE = 0.95  # of answers that are the same, at the least
_SAME_RANKING = 0.9
_SAME_ERROR = 0.02


class Act(StrEnum):
    """Actions that an audit recommends."""

    SPLIT = "split"
    TRAIN = "train"
    THRESHOLD = "threshold"
    DATA = "data"
    DROP = "drop"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One piece of advice.

    Attributes:
        act: The action.
        stage: The stage that it is about; of two, the first.
        tier: Tier of the question; empty if the advice is about the whole stage.
        dimension: ``tier``, ``kind`` or ``repository`` if the advice is about a slice; empty otherwise.
        value: The slice.
        text: The advice in words.
        numbers: The numbers that it is based on.
    """

    act: Act
    stage: str
    tier: str = ""
    dimension: str = ""
    value: str = ""
    text: str
    numbers: Mapping[str, float]


def where_it_errs(cascade: Cascade, found: Sequence[SliceErrors]) -> list[Advice]:
    """Slices that err more often than the rest: by Holm's test of all slices of all questions, and by enough.

    Where a slice is told apart no worse than the rest, by balanced error, its base rate makes the difference, and a
    threshold comes first. Otherwise it is to be split off where its adapter answers others too; where it has one of its
    own, and for a repository, training is what it lacks.
    """
    tested = [part for part in found if part.p_value is not None]
    rejected = holm([part.p_value or 0.0 for part in tested], SIGNIFICANCE)
    named = [
        part for part, is_rejected in zip(tested, rejected, strict=True) if is_rejected and _more(part) >= _least(part)
    ]
    return [_slice_advice(cascade, part) for part in sorted(named, key=_more, reverse=True)]


def _more(part: SliceErrors) -> float:
    """By how much it errs more often; both sides have rows where they were tested."""
    return (part.errors.error.value or 0.0) - (part.rest.error.value or 0.0)


def _least(part: SliceErrors) -> float:
    """The least difference that matters."""
    return min(_POINTS, max(_LEAST_POINTS, (_RATIO - 1) * (part.rest.error.value or 0.0)))


def _slice_advice(cascade: Cascade, part: SliceErrors) -> Advice:
    errors, rest = part.errors, part.rest
    name = question_name((part.stage, part.tier))
    act, remedy = _remedy(cascade, part)
    sides = [f"base rate {_share(errors.base_rate)} against {_share(rest.base_rate)}"]
    sides.append(f"balanced error {_share(errors.balanced)} against {_share(rest.balanced)}")
    text = (
        f"{name}: {part.dimension} {part.value} errs in {errors.error} of {counted(errors.error.n, 'row')} "
        f"of {counted(errors.error.n_tasks, 'task')}, the rest in {rest.error} (p {part.p_text}; {'; '.join(sides)}). "
        f"{remedy}."
    )
    numbers = {
        "error": errors.error.value or 0.0,
        "low": errors.error.low,
        "high": errors.error.high,
        "error_rest": rest.error.value or 0.0,
        "p_value": part.p_value or 0.0,
        "n": errors.error.n,
    }
    return Advice(
        act=act,
        stage=part.stage,
        tier=part.tier,
        dimension=part.dimension,
        value=part.value,
        text=text,
        numbers=numbers,
    )


def _remedy(cascade: Cascade, part: SliceErrors) -> tuple[Act, str]:
    """The action for a slice that errs more often, and its reason in words."""
    balanced, rest = part.errors.balanced, part.rest.balanced
    if balanced is not None and rest is not None and balanced <= rest:
        why = "By balanced error it is told apart no worse, so its base rate or its threshold makes the difference"
        what = "tune on tasks like its own" if part.dimension == REPOSITORY else "tune a threshold for it first"
        return Act.THRESHOLD, f"{why}: {what}"
    stage = cascade.stage(part.stage)
    is_own_question = part.dimension == TIER and stage.is_tiered
    adapter = stage.question(part.value if is_own_question else part.tier).adapter
    others = [other for tier, other in stage.questions.items() if tier != part.value]
    if part.dimension == REPOSITORY or (is_own_question and adapter not in {other.adapter for other in others}):
        return Act.TRAIN, f"Train adapter {adapter!r} on more like it"
    return Act.SPLIT, f"Give this {part.dimension} an adapter of its own; {adapter!r} answers for all"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def what_needs_data(curves: Mapping[Key, LearningCurve], within: float) -> list[Advice]:
    """Questions whose error rate is known less well than wanted."""
    found = []
    for (stage, tier), curve in curves.items():
        first, last = curve.points[0], curve.points[-1]
        if curve.tasks_needed <= last.n_tasks:
            continue
        text = (
            f"{question_name((stage, tier))}: {counted(last.n_tasks, 'task tells', 'tasks tell')} its error rate to "
            f"±{100 * last.half_width:.1f} points ({first.n_tasks} to ±{100 * first.half_width:.1f}); "
            f"±{100 * within:g} takes about {curve.tasks_needed}{_learning(curve)}. Label more tasks."
        )
        numbers = {"tasks": last.n_tasks, "half_width": last.half_width, "tasks_needed": curve.tasks_needed}
        found.append(Advice(act=Act.DATA, stage=stage, tier=tier, text=text, numbers=numbers | {"within": within}))
    return found


def _learning(curve: LearningCurve) -> str:
    """Says in words how the last doubling of the tasks changed the calibrated log loss."""
    before, after = (point.log_loss for point in curve.points[-2:])
    if before is None or after is None:
        return ""
    return f"; calibrated log loss went from {before:.3f} to {after:.3f} as tasks doubled"


def what_to_drop(values: Iterable[StageValue]) -> list[Advice]:
    """Stages that surely gain next to nothing, that cost calls, and without which no more of what matters is lost.

    Macro F1 counts what is handed on as wrong, so it says nothing of a stage's worth where anything is handed on.
    """
    found = []
    for value in values:
        if value.handed_on > 0 or value.handed_on_without > 0:
            continue
        loses = (value.recall_over_rows or 0.0) - (value.recall_over_rows_without or 0.0) > _NO_LOSS
        saves = value.calls_per_item - value.calls_per_item_without >= _LEAST_SAVING
        if value.gain_high > _NO_GAIN or loses or not saves or value.n_tasks < MIN_TASKS:
            continue
        text = (
            f"{value.stage}: without it, always {in_words(value.likelier)}, the macro F1 over all rows is "
            f"{value.macro_f1_over_rows_without:.3f} in place of {value.macro_f1_over_rows:.3f} (gain "
            f"{value.gain_low:+.3f} to {value.gain_high:+.3f}), at {value.calls_per_item_without:.2f} calls per item "
            f"in place of {value.calls_per_item:.2f}. Drop it, one stage at a time; `cascade depth` shows the time "
            "that this saves."
        )
        numbers = {"gain": value.gain, "gain_low": value.gain_low, "gain_high": value.gain_high}
        found.append(Advice(act=Act.DROP, stage=value.stage, text=text, numbers=numbers))
    return found


def what_to_merge(pairs: Iterable[Likeness]) -> list[Advice]:
    """Questions that answer alike and err alike."""
    found = []
    for pair in pairs:
        low, high = pair.difference.low, pair.difference.high
        is_same_error = low is not None and high is not None and low >= -_SAME_ERROR and high <= _SAME_ERROR
        if not is_same_error or pair.correlation < _SAME_RANKING or pair.agree.low < _ALIKE:
            continue
        text = (
            f"{question_name(pair.first)} and {question_name(pair.second)} give the same answer to {pair.agree} of "
            f"{counted(pair.agree.n, 'row')}, with a rank correlation of {pair.correlation:.2f} and error rates "
            f"{100 * pair.difference.value:+.1f} points apart. "
            f"Let one adapter answer for {' and '.join(pair.adapters)}."
        )
        numbers = {
            "agree": pair.agree.value or 0.0,
            "correlation": pair.correlation,
            "difference": pair.difference.value,
        }
        stage, tier = pair.first
        found.append(Advice(act=Act.MERGE, stage=stage, tier=tier, text=text, numbers=numbers))
    return found
