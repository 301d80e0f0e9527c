"""What to do about what an audit found, each piece with its numbers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade.audit.contrast import MIN_TASKS, Contrast
from cascade.audit.errors import REPOSITORY, TIER, SliceErrors
from cascade.audit.learning_curve import LearningCurve
from cascade.audit.likeness import Likeness
from cascade.audit.stage_value import StageValue
from cascade.tree import Cascade
from cascade.tuning.risk import holm
from cascade.tuning.scored import Key

SIGNIFICANCE = 0.05
"""The chance that any slice at all is named where none errs more than the rest."""

_POINTS, _RATIO, _LEAST_POINTS = 0.05, 1.5, 0.01
"""A difference matters from five points of error rate on, or from half as much again if that is at least one point."""

_NO_GAIN = 0.01  # of macro F1: a stage that surely gains no more may go
_ALIKE = 0.95  # of answers that are the same, at the least
_SAME_RANKING = 0.9
_SAME_ERROR = 0.02


class Act(StrEnum):
    """What to do."""

    SPLIT = "split"
    TRAIN = "train"
    DATA = "data"
    DROP = "drop"
    MERGE = "merge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """One piece of advice.

    Attributes:
        act: What to do.
        stage: The stage that it is about; of two, the first.
        tier: Of the question; empty where it is about all of the stage.
        dimension: ``tier``, ``kind`` or ``repository`` where a slice is named; empty otherwise.
        value: The slice.
        text: All of it in words.
        numbers: What it rests on.
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

    A slice by tier or kind is to be split off where its adapter answers others too; where it has one of its own, and
    for a repository, training is what it lacks.
    """
    tested = [(part, part.contrast) for part in found if part.contrast is not None]
    rejected = holm([known.p_value for _, known in tested], SIGNIFICANCE) if tested else ()
    named = [pair for pair, is_rejected in zip(tested, rejected, strict=True) if is_rejected and _matters(pair[1])]
    named.sort(key=lambda pair: pair[1].outside - pair[1].inside)
    return [_slice_advice(cascade, part, known) for part, known in named]


def _matters(known: Contrast) -> bool:
    more = known.inside - known.outside
    return more >= _POINTS or (more >= _LEAST_POINTS and known.inside >= _RATIO * known.outside)


def _slice_advice(cascade: Cascade, part: SliceErrors, known: Contrast) -> Advice:
    stage = cascade.stage(part.stage)
    tier = part.value if part.dimension == TIER and stage.is_tiered else part.tier
    adapter = stage.question(tier).adapter
    shared = [other for name, other in stage.questions.items() if name != tier and other.adapter == adapter]
    act = Act.SPLIT
    if part.dimension == REPOSITORY or (part.dimension == TIER and stage.is_tiered and not shared):
        act = Act.TRAIN
    remedy = {
        Act.SPLIT: f"Give this {part.dimension} a question and an adapter of its own",
        Act.TRAIN: f"Train adapter {adapter!r} on more like it",
    }
    errors = part.errors
    base = "" if errors.base_rate is None else f", base rate {errors.base_rate:.1%}"
    balanced = "" if errors.balanced is None else f", balanced error {errors.balanced:.1%}"
    name = f"{part.stage} {part.tier}".strip()
    text = (
        f"{name}: {part.dimension} {part.value} errs in {errors.error} of {errors.error.n} rows of "
        f"{errors.error.n_tasks} tasks, the rest in {known.outside:.1%} (p {known.p_text}{base}{balanced}). "
        f"{remedy[act]}."
    )
    numbers = {"error": known.inside, "error_rest": known.outside, "p_value": known.p_value, "n": errors.error.n}
    return Advice(
        act=act,
        stage=part.stage,
        tier=part.tier,
        dimension=part.dimension,
        value=part.value,
        text=text,
        numbers=numbers | {"low": errors.error.low, "high": errors.error.high},
    )


def what_needs_data(curves: Mapping[Key, LearningCurve], within: float) -> list[Advice]:
    """Questions whose error rate is known less well than wanted."""
    found = []
    for (stage, tier), curve in curves.items():
        first, last = curve.points[0], curve.points[-1]
        if curve.tasks_needed <= last.n_tasks:
            continue
        losses = [point.log_loss for point in curve.points[-2:] if point.log_loss is not None]
        change = f"; calibrated log loss went from {losses[0]:.3f} to {losses[1]:.3f} as tasks doubled" * (
            len(losses) > 1
        )
        text = (
            f"{stage} {tier}".strip() + f": {last.n_tasks} tasks tell its error rate to ±{100 * last.half_width:.1f} "
            f"points ({first.n_tasks} to ±{100 * first.half_width:.1f}); ±{100 * within:g} takes about "
            f"{curve.tasks_needed}{change}. Label more tasks."
        )
        numbers = {"tasks": last.n_tasks, "half_width": last.half_width, "tasks_needed": curve.tasks_needed}
        found.append(Advice(act=Act.DATA, stage=stage, tier=tier, text=text, numbers=numbers | {"within": within}))
    return found


def what_to_drop(values: Iterable[StageValue]) -> list[Advice]:
    """Stages that surely gain next to nothing."""
    found = []
    for value in values:
        if value.gain_high > _NO_GAIN or value.n_tasks < MIN_TASKS:
            continue
        text = (
            f"{value.stage}: without it, always {'yes' if value.likelier else 'no'}, macro F1 is "
            f"{value.macro_f1_without:.3f} in place of {value.macro_f1:.3f} (gain {value.gain_low:+.3f} to "
            f"{value.gain_high:+.3f}), at {value.calls_per_item_without:.2f} calls per item in place of "
            f"{value.calls_per_item:.2f}. Drop it; `cascade depth` shows the time that this saves."
        )
        numbers = {"gain": value.gain, "gain_low": value.gain_low, "gain_high": value.gain_high}
        found.append(Advice(act=Act.DROP, stage=value.stage, text=text, numbers=numbers))
    return found


def what_to_merge(pairs: Iterable[Likeness], names: Mapping[str, Key]) -> list[Advice]:
    """Questions that answer alike and err alike.

    Args:
        pairs: Every two questions.
        names: Name of a question -> its stage and tier.
    """
    found = []
    for pair in pairs:
        low, high = pair.difference.low, pair.difference.high
        is_same_error = low is not None and high is not None and low >= -_SAME_ERROR and high <= _SAME_ERROR
        if not is_same_error or pair.correlation < _SAME_RANKING or pair.agree.low < _ALIKE:
            continue
        text = (
            f"{pair.first} and {pair.second} give the same answer to {pair.agree} of {pair.agree.n} rows, with a rank "
            f"correlation of {pair.correlation:.2f} and error rates {100 * pair.difference.value:+.1f} points apart. "
            f"Let one adapter answer for {' and '.join(pair.adapters)}."
        )
        numbers = {
            "agree": pair.agree.value or 0.0,
            "correlation": pair.correlation,
            "difference": pair.difference.value,
        }
        stage, tier = names[pair.first]
        found.append(Advice(act=Act.MERGE, stage=stage, tier=tier, text=text, numbers=numbers))
    return found
