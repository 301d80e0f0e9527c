"""What ``cascade tune`` found: as a file of thresholds, as JSON and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan
from pathlib import Path
from typing import Any, TypeVar

from cascade.cli.calibration_output import calibration_rows, show_calibration
from cascade.cli.output import results
from cascade.cli.tables import Sheet, threshold_text
from cascade.config.figures import OF_HANDED_ON, RECALLS, Figure, Metric, Unit, figure_of
from cascade.config.profile import MadeForConfig, PriorConfig
from cascade.config.threshold_entry import table_of
from cascade.config.thresholds import CalibrationConfig, GuaranteeConfig, HeldOutConfig, ThresholdsFile
from cascade.errors import counted
from cascade.evaluation.calibration import Calibrated
from cascade.evaluation.replay import Outcome, own_thresholds
from cascade.evaluation.scored import Key
from cascade.probability import Curve
from cascade.report import Origin
from cascade.stages import Kind, ScoreLimits, Threshold, limits_of
from cascade.tree import Cascade
from cascade.tuning.check import Guarantee
from cascade.tuning.objective import Cost
from cascade.tuning.search import TuningResult
from cascade.tuning.target import TuningTarget

_T = TypeVar("_T")


def guarantee(target: TuningTarget, tuned: TuningResult) -> str:
    """What the thresholds guarantee, in one line."""
    what = Guarantee(level=target.level, metric=target.metric, unit=target.unit, largest=tuned.largest)
    chosen = (
        f"chosen on {counted(tuned.n_searched, 'other')}"
        if tuned.n_searched
        else "a single threshold, which needs no others"
    )
    return (
        f"Guaranteed: {what}, wrong with a chance of at most {target.delta:g}; tested on "
        f"{counted(tuned.n_held_out, 'task')} (p-value {tuned.p_value:.2g}), {chosen}."
    )


_LITTLE = 0.05  # of what matters: a cascade that keeps no more of it is seldom what was meant


def kept_little(target: TuningTarget, outcome: Outcome, base_rate: float) -> str:
    """What is to be said of thresholds that keep their target and next to nothing of what matters; empty for others.

    Args:
        target: What was aimed for.
        outcome: What the thresholds come to.
        base_rate: Share of the items that matter, in [0, 1].
    """
    if isnan(outcome.recall_per_task) or 1 - outcome.misses > _LITTLE:
        return ""
    recall = f"{Figure.RECALL_OVER_ROWS.words} {1 - outcome.misses:.3f}"
    why = f"{1 - base_rate:.1%} of the items do not matter, so no to all of them is right that often by itself"
    if target.metric is Metric.RECALL_OR_HANDED_ON:
        why = f"{outcome.mattering_handed_on:.1%} of what matters is handed on, which reaches the target by itself"
    elif target.metric is Metric.PRECISION:
        why = f"{1 - base_rate:.1%} of the items do not matter, and a task that keeps nothing has a precision of 1"
    return (
        f"These thresholds keep next to nothing of what matters ({recall}): {why}. To have more of it kept, aim for a "
        "recall, such as --target recall=0.8."
    )


def written(path: Path, cascade: str, *, has_guarantee: bool) -> str:
    """That a file was written, and the commands that go by it; without a guarantee there is nothing to check."""
    command = shlex.join(["cascade", "classify", "--cascade", cascade, "--thresholds", str(path)])
    others = "evaluate, depth, audit and check" if has_guarantee else "evaluate, depth and audit"
    return f"wrote {path}; `{command} ...` goes by it, as do {others}"


def file_of(
    before: Cascade, target: TuningTarget, tuned: TuningResult, curves: dict[Key, Calibrated], origin: Origin
) -> ThresholdsFile:
    """The file to write; a question without a new curve keeps the one it had before."""
    new = {key: found.curve for key, found in curves.items()}
    prior = tuned.prior
    return ThresholdsFile(
        guarantee=GuaranteeConfig.model_validate(
            {
                target.figure: target.level,
                "delta": target.delta,
                "p_value": tuned.p_value,
                "tasks": tuned.n_held_out,
                "minimised": str(target.objective),
                "largest": tuned.largest if target.unit is Unit.ROW else None,
            }
        ),
        held_out=_held_out(before, target, tuned.held_out),
        made_for=MadeForConfig(**asdict(origin)),
        thresholds=by_stage({key: table_of(threshold) for key, threshold in tuned.thresholds.items()}),
        prior=PriorConfig(bias=prior.bias, weights=dict(prior.weights)) if prior is not None else None,
        calibration=calibration_of(curves_of(before) | new),
    )


def by_stage(values: Mapping[Key, _T]) -> dict[str, dict[str, _T]]:
    """Values by stage and tier as tables by stage, then by tier."""
    found: dict[str, dict[str, _T]] = {}
    for (stage, tier), value in values.items():
        found.setdefault(stage, {})[tier] = value
    return found


def threshold_in_words(threshold: Threshold, form: str = "g") -> str:
    """One number, or both where they differ; of a score its cut points, and the least confidence if there is one."""
    if isinstance(threshold, ScoreLimits):
        cuts = ", ".join(threshold_text(cut, form) for cut in threshold.cuts)
        sure = f"sure from {threshold_text(threshold.least, form)}" if threshold.least > 0 else "always sure"
        return f"cuts {cuts}; {sure}" if cuts else sure
    limits = limits_of(threshold)
    no_below, yes_from = (threshold_text(limit, form) for limit in limits)
    return yes_from if limits.no_below == limits.yes_from else f"no below {no_below}, yes from {yes_from}"


def curves_of(cascade: Cascade) -> dict[Key, Curve]:
    """The curves that a cascade has."""
    return {
        (stage.name, tier): question.curve
        for stage in cascade.stages
        for tier, question in stage.questions.items()
        if question.curve is not None
    }


def calibration_of(curves: Mapping[Key, Curve]) -> dict[str, dict[str, CalibrationConfig]]:
    """Curves as a file has them."""
    return by_stage({key: CalibrationConfig(kind=curve.kind, values=curve.values) for key, curve in curves.items()})


def _held_out(tree: Cascade, target: TuningTarget, outcome: Outcome) -> HeldOutConfig:
    is_nothing, is_handed_on = isnan(outcome.recall_per_task), bool(tree.handed_on)
    is_of_answers = is_handed_on or target.metric in OF_HANDED_ON
    return HeldOutConfig(
        recall_per_task=None if is_nothing else outcome.recall_per_task,
        calls_per_item=outcome.calls,
        false_positives_per_item=outcome.false_positives,
        precision_per_task=outcome.precision_per_task,
        macro_f1_per_task=outcome.macro_f1_per_task,
        misses=None if is_nothing else outcome.misses,
        ms_per_item=outcome.ms if target.minimised is Cost.LATENCY else None,
        handed_on_per_item=outcome.handed_on if is_handed_on else None,
        recall_or_handed_on_per_task=outcome.recall_or_handed_on_per_task if is_of_answers and not is_nothing else None,
        accuracy_among_answered_per_task=outcome.accuracy_among_answered_per_task if is_of_answers else None,
        error_among_answered=outcome.error_among_answered if is_of_answers else None,
    )


def as_dict(
    before: Cascade, target: TuningTarget, tuned: TuningResult, curves: dict[Key, Calibrated], origin: Origin
) -> dict[str, Any]:
    """Everything, for JSON."""
    file = file_of(before, target, tuned, curves, origin).model_dump(exclude={"calibration", "inputs"})
    alone = tuned.per_stage
    return file | {
        "tasks": {"searched": tuned.n_searched, "held_out": tuned.n_held_out, "left_out": tuned.n_left_out},
        "fixed_stages": list(tuned.fixed),
        "per_stage": asdict(alone) if alone else None,
        "calls_joint_over_per_stage": _ratio(tuned),
        "calibration": calibration_rows(curves),
    }


def show(before: Cascade, target: TuningTarget, tuned: TuningResult, curves: dict[Key, Calibrated]) -> None:
    """Everything, in words."""
    console = results()
    console.print(guarantee(target, tuned))
    if target.metric in RECALLS:
        left = counted(tuned.n_left_out, "task has", "tasks have")
        console.print(f"{left} nothing to find, and no part in the guarantee.")
    elif target.metric is Metric.PRECISION:
        console.print("A task that keeps nothing counts with a precision of 1.")
    elif target.metric is Metric.ACCURACY_AMONG_ANSWERED:
        console.print(f"Of what is answered at most {1 - target.level:.3g} is wrong; what is handed on is no answer.")
    console.print()
    _sheet(before, tuned, curves).show(console)
    if tuned.fixed:
        fixed = ", ".join(tuned.fixed)
        console.print(f"The {target.figure.words} does not depend on {fixed}; their thresholds are kept as they were.")
    console.print()
    console.print(_in_words(before, target, tuned.held_out))
    alone, ratio = tuned.per_stage, _ratio(tuned)
    if alone and ratio is not None:
        recall = f"{Figure.RECALL_PER_TASK.words} of {alone.recall_per_task:.3f}"
        console.print(
            f"Stages tuned one by one, at a {recall} there: {alone.calls:.3f} calls and {alone.false_positives:.3f} "
            f"false positives; calls joint over per stage {ratio:.3f}."
        )
    if curves:
        console.print()
        show_calibration(console, curves)


def _ratio(tuned: TuningResult) -> float | None:
    """Calls, joint over per stage."""
    alone = tuned.per_stage
    return tuned.held_out.calls / alone.calls if alone and alone.calls else None


def _sheet(before: Cascade, tuned: TuningResult, curves: dict[Key, Calibrated]) -> Sheet:
    sheet = Sheet(("question",), ("threshold", "was", "calibration"))
    own, old = own_thresholds(before), curves_of(before)
    for (stage, tier), threshold in tuned.thresholds.items():
        found = curves.get((stage, tier))
        shown, was = _in_use(before, stage, threshold, ".4g"), _in_use(before, stage, own[stage, tier], "g")
        kind = found.curve.kind if found else "kept" if (stage, tier) in old else "-"
        sheet.add(f"{stage} {tier}", "kept" if stage in tuned.fixed else shown, was, kind)
    return sheet


def _in_use(tree: Cascade, stage: str, threshold: Threshold, form: str) -> str:
    """A threshold in words; of a choice it is the least confidence."""
    is_choice = any(each.kind is Kind.CHOICE for each in tree.stages if each.name == stage)
    return threshold_in_words(ScoreLimits(limits_of(threshold).yes_from, ()) if is_choice else threshold, form)


def _in_words(tree: Cascade, target: TuningTarget, held: Outcome) -> str:
    of_tasks = [figure_of(metric, Unit.TASK) for metric in dict.fromkeys((target.metric, Metric.RECALL))]
    chosen = [(figure, getattr(held, figure)) for figure in of_tasks]
    chosen.append((Figure.RECALL_OVER_ROWS, nan if isnan(held.recall_per_task) else 1 - held.misses))
    measured = ", ".join(f"{figure.words} {'-' if isnan(value) else f'{value:.3f}'}" for figure, value in chosen)
    ms = f"; predicted {held.ms:.3g} ms per item" if target.minimised is Cost.LATENCY else ""
    return (
        f"On the tasks held out: {measured}; {held.calls:.3f} calls and {held.false_positives:.3f} false positives per "
        f"item{ms}.{handed_on_in_words(tree, held)}"
    )


def handed_on_in_words(tree: Cascade, outcome: Outcome) -> str:
    """How much is handed on and how much of the rest is wrong; empty for a cascade that hands nothing on."""
    if not tree.handed_on:
        return ""
    return (
        f" Handed on: {outcome.handed_on:.3f} of all items and {outcome.mattering_handed_on:.3f} of what matters; of "
        f"what is answered {outcome.error_among_answered:.3f} is wrong."
    )
