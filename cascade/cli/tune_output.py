"""What ``cascade tune`` found: as a file of thresholds, as JSON and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan
from pathlib import Path
from typing import Any, TypeVar

from cascade.cli.calibration_table import calibration_rows, show_calibration
from cascade.cli.output import results
from cascade.cli.sheet import Sheet
from cascade.curve import Curve
from cascade.made_for import MadeForConfig
from cascade.metrics import Figure, counted
from cascade.outlook_file import PriorConfig
from cascade.thresholds_file import CalibrationConfig, HeldOutConfig, PromiseConfig, ThresholdsFile
from cascade.tree import Cascade
from cascade.tuning.calibration import Calibrated
from cascade.tuning.kept_promise import Promised
from cascade.tuning.measure import Measure, Unit
from cascade.tuning.outcome import Outcome, own_thresholds
from cascade.tuning.scored import Key, Origin
from cascade.tuning.search import Tuned, Wish
from cascade.tuning.surface import Cost

_T = TypeVar("_T")


def promise(wish: Wish, tuned: Tuned) -> str:
    """What the thresholds promise, in one line."""
    what = Promised(level=wish.level, measure=wish.measure, unit=wish.unit, largest=tuned.largest)
    chosen = (
        f"chosen on {counted(tuned.n_searched, 'other')}"
        if tuned.n_searched
        else "a single threshold, which needs no others"
    )
    return (
        f"Promised: {what}, wrong with a chance of at most {wish.delta:g}; tested on "
        f"{counted(tuned.n_held_out, 'task')} (p-value {tuned.p_value:.2g}), {chosen}."
    )


def written(path: Path, cascade: str, *, has_promise: bool) -> str:
    """That a file was written, and the commands that go by it; without a promise there is nothing to check."""
    command = shlex.join(["cascade", "classify", "--cascade", cascade, "--thresholds", str(path)])
    others = "evaluate, depth, audit and check" if has_promise else "evaluate, depth and audit"
    return f"wrote {path}; `{command} ...` goes by it, as do {others}"


def file_of(before: Cascade, wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated], origin: Origin) -> ThresholdsFile:
    """The file to write; a question without a new curve keeps the one it had before."""
    new = {key: found.curve for key, found in curves.items()}
    prior = tuned.prior
    return ThresholdsFile(
        promise=PromiseConfig.model_validate(
            {
                wish.figure: wish.level,
                "delta": wish.delta,
                "p_value": tuned.p_value,
                "tasks": tuned.n_held_out,
                "minimised": str(wish.objective),
                "largest": tuned.largest if wish.unit is Unit.ROW else None,
            }
        ),
        held_out=_held_out(wish, tuned.held_out),
        made_for=MadeForConfig(**asdict(origin)),
        thresholds=by_stage(tuned.thresholds),
        prior=PriorConfig(bias=prior.bias, weights=dict(prior.weights)) if prior is not None else None,
        calibration=calibration_of(curves_of(before) | new),
    )


def by_stage(values: Mapping[Key, _T]) -> dict[str, dict[str, _T]]:
    """Values by stage and tier as tables by stage, then by tier."""
    found: dict[str, dict[str, _T]] = {}
    for (stage, tier), value in values.items():
        found.setdefault(stage, {})[tier] = value
    return found


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


def _held_out(wish: Wish, outcome: Outcome) -> HeldOutConfig:
    is_nothing = isnan(outcome.recall_per_task)
    return HeldOutConfig(
        recall_per_task=None if is_nothing else outcome.recall_per_task,
        calls_per_item=outcome.calls,
        false_positives_per_item=outcome.false_positives,
        precision_per_task=outcome.precision_per_task,
        macro_f1_per_task=outcome.macro_f1_per_task,
        misses=None if is_nothing else outcome.misses,
        ms_per_item=outcome.ms if wish.minimised is Cost.LATENCY else None,
    )


def as_dict(before: Cascade, wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated], origin: Origin) -> dict[str, Any]:
    """Everything, for JSON."""
    file = file_of(before, wish, tuned, curves, origin).model_dump(exclude={"calibration", "inputs"})
    alone = tuned.per_stage
    return file | {
        "tasks": {"searched": tuned.n_searched, "held_out": tuned.n_held_out, "left_out": tuned.n_left_out},
        "fixed_stages": list(tuned.fixed),
        "per_stage": asdict(alone) if alone else None,
        "calls_joint_over_per_stage": _ratio(tuned),
        "calibration": calibration_rows(curves),
    }


def show(before: Cascade, wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated]) -> None:
    """Everything, in words."""
    console = results()
    console.print(promise(wish, tuned))
    if wish.measure is Measure.RECALL:
        left = counted(tuned.n_left_out, "task has", "tasks have")
        console.print(f"{left} nothing to find, and no part in the promise.")
    elif wish.measure is Measure.PRECISION:
        console.print("A task that keeps nothing counts with a precision of 1.")
    console.print()
    _sheet(before, tuned, curves).show(console)
    if tuned.fixed:
        fixed = ", ".join(tuned.fixed)
        console.print(f"The {wish.figure.words} does not depend on {fixed}; their thresholds are kept as they were.")
    console.print()
    console.print(_in_words(wish, tuned.held_out))
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


def _ratio(tuned: Tuned) -> float | None:
    """Calls, joint over per stage."""
    alone = tuned.per_stage
    return tuned.held_out.calls / alone.calls if alone and alone.calls else None


def _sheet(before: Cascade, tuned: Tuned, curves: dict[Key, Calibrated]) -> Sheet:
    sheet = Sheet(("question",), ("threshold", "was", "calibration"))
    own, old = own_thresholds(before), curves_of(before)
    for (stage, tier), threshold in tuned.thresholds.items():
        found = curves.get((stage, tier))
        shown = "kept" if stage in tuned.fixed else f"{threshold:.4g}"
        kind = found.curve.kind if found else "kept" if (stage, tier) in old else "-"
        sheet.add(f"{stage} {tier}", shown, f"{own[stage, tier]:g}", kind)
    return sheet


def _in_words(wish: Wish, held: Outcome) -> str:
    figures = {
        Measure.RECALL: (Figure.RECALL_PER_TASK, held.recall_per_task),
        Measure.PRECISION: (Figure.PRECISION_PER_TASK, held.precision_per_task),
        Measure.MACRO_F1: (Figure.MACRO_F1_PER_TASK, held.macro_f1_per_task),
    }
    chosen = [figures[measure] for measure in dict.fromkeys((wish.measure, Measure.RECALL))]
    chosen.append((Figure.RECALL_OVER_ROWS, nan if isnan(held.recall_per_task) else 1 - held.misses))
    measured = ", ".join(f"{figure.words} {'-' if isnan(value) else f'{value:.3f}'}" for figure, value in chosen)
    ms = f"; predicted {held.ms:.3g} ms per item" if wish.minimised is Cost.LATENCY else ""
    return (
        f"On the tasks held out: {measured}; {held.calls:.3f} calls and {held.false_positives:.3f} false positives per "
        f"item{ms}."
    )
