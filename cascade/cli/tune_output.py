"""What ``cascade tune`` found: as a file of thresholds, as JSON and in words."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict
from math import isnan, nan
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from cascade.cli.output import note, print_json, progress, results
from cascade.cli.tables import Sheet
from cascade.config.figures import GUARANTEED, OF_HANDED_ON, RECALLS, Figure, Metric, Unit, figure_of
from cascade.config.profile import MadeForConfig, PriorConfig
from cascade.config.thresholds import (
    CalibrationConfig,
    GuaranteeConfig,
    HeldOutConfig,
    NoGuaranteeConfig,
    ThresholdsFile,
    table_of,
    write_thresholds,
)
from cascade.errors import counted
from cascade.evaluation.calibration import Calibrated
from cascade.evaluation.metrics import CalibrationMetrics
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import Outcome, own_thresholds
from cascade.evaluation.score_file import LabelledScores
from cascade.evaluation.scored import Key
from cascade.probability import Curve
from cascade.report import Origin
from cascade.stages import Limits, Threshold, limits_of, shortest
from cascade.tree import Cascade
from cascade.tuning.check import Guarantee
from cascade.tuning.few_tasks import FewTasksResult, decided, tune_few_tasks
from cascade.tuning.search import TuningResult
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import Cost

_MOST_SLICES = 12


def calibration_rows(curves: Mapping[Key, Calibrated]) -> list[dict[str, Any]]:
    """Every question with its slices, for JSON."""
    return [
        {
            "stage": stage,
            "tier": tier,
            "kind": found.curve.kind,
            "n": found.n,
            "before": asdict(found.before),
            "after": asdict(found.after),
            "unseen": asdict(found.unseen) if found.unseen is not None else None,
            "slices": [asdict(part) for part in found.slices],
        }
        for (stage, tier), found in curves.items()
    ]


def show_calibration(console: Console, curves: Mapping[Key, Calibrated]) -> None:
    """Every question, and the slices whose error stands out most; how many are left out is said below."""
    console.print("How well p(yes) is calibrated: on tasks left out, and on repositories left out (unseen)")
    ece = ("ECE raw", "calibrated", "beyond chance", "unseen", "beyond chance")
    sheet = Sheet(("question", "slice"), ("rows", *ece, "Brier", "log loss"))
    parts = [(key, part) for key, found in curves.items() for part in found.slices]
    parts.sort(key=lambda entry: entry[1].after.ece_beyond_chance, reverse=True)
    shown = {(key, part.name, part.value) for key, part in parts[:_MOST_SLICES]}
    for key, found in curves.items():
        sheet.add(" ".join(key), "all", str(found.n), *_cells(found.before, found.after, found.unseen))
        for part in found.slices:
            if (key, part.name, part.value) in shown:
                cells = _cells(part.before, part.after, part.unseen)
                sheet.add("", f"{part.name} {part.value or 'unnamed'}", str(part.n), *cells)
    sheet.show(console)
    if len(parts) > len(shown):
        left = counted(len(parts) - len(shown), "slice")
        console.print(f"Left out: {left} with less error beyond chance; --json has all.")


def _cells(before: CalibrationMetrics, after: CalibrationMetrics, unseen: CalibrationMetrics | None) -> tuple[str, ...]:
    figures: list[float | None] = [before.ece, after.ece, after.ece_beyond_chance]
    figures += [unseen.ece, unseen.ece_beyond_chance] if unseen is not None else [None, None]
    return tuple("-" if figure is None else f"{figure:.3f}" for figure in [*figures, after.brier, after.log_loss])


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
    """One number, or both where they differ."""
    short = shortest(limits_of(threshold))
    if isinstance(short, Limits):
        return f"no below {short.no_below:{form}}, yes from {short.yes_from:{form}}"
    return f"{short:{form}}"


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
    if cuts := _cuts(before):
        console.print(cuts)
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
    """A threshold in words; of a choice or score it is the least confidence."""
    words = threshold_in_words(threshold, form)
    if not any(each.has_values for each in tree.stages if each.name == stage):
        return words
    return f"sure from {words}" if limits_of(threshold).yes_from > 0 else "always sure"


def _cuts(tree: Cascade) -> str:
    """What is said of cut points; empty for a cascade without a score."""
    scores = [stage.name for stage in tree.stages if stage.cuts]
    return f"The cut points of {', '.join(scores)} stay as the config has them; they are not tuned." if scores else ""


def _in_words(tree: Cascade, target: TuningTarget, held: Outcome) -> str:
    of_tasks = [figure_of(metric, Unit.TASK) for metric in dict.fromkeys((target.metric, Metric.RECALL))]
    chosen = [(figure, getattr(held, figure)) for figure in of_tasks]
    chosen.append((Figure.RECALL_OVER_ROWS, nan if isnan(held.recall_per_task) else 1 - held.misses))
    measured = ", ".join(f"{figure.words} {'-' if isnan(value) else f'{value:.3f}'}" for figure, value in chosen)
    ms = f"; predicted {held.ms:.3g} ms per item" if target.minimised is Cost.LATENCY else ""
    return (
        f"On the tasks held out: {measured}; {held.calls:.3f} calls and {held.false_positives:.3f} false positives per "
        f"item{ms}.{_handed_on_in_words(tree, held)}"
    )


def _handed_on_in_words(tree: Cascade, outcome: Outcome) -> str:
    """How much is handed on and how much of the rest is wrong; empty for a cascade that hands nothing on."""
    if not tree.handed_on:
        return ""
    return (
        f" Handed on: {outcome.handed_on:.3f} of all items and {outcome.mattering_handed_on:.3f} of what matters; of "
        f"what is answered {outcome.error_among_answered:.3f} is wrong."
    )


def show_few_tasks(
    tree: Cascade, labelled: LabelledScores, target: TuningTarget | None, out: Path | None, *, json: bool
) -> None:
    """Choose thresholds, write them, and show them.

    Args:
        tree: The cascade as it is in use; its prior stage, which is counted in, and its curves are kept as they are.
        labelled: The tasks and their scores.
        target: What to aim for; None for the highest macro F1 over rows.
        out: Where to write the thresholds; None for nowhere.
        json: Whether to print JSON.

    Raises:
        ConfigError: The prior stage has nothing that weighs the evidence.
        InputError: There is too little to choose by.
        MachineError: The file cannot be written.
    """
    tree.check_is_tuned()
    priors = priors_of(tree, [item for task in labelled.tasks for item in task.items])
    prices = labelled.prices if target and target.minimised is Cost.LATENCY else None
    with progress() as bar:
        line = bar.add_task("search: percent", total=100)
        found = tune_few_tasks(
            tree, labelled.scored, target, prices, lambda done: bar.update(line, completed=int(100 * done)), priors
        )
    settled = float(decided(tree, priors).mean())
    file = _file(tree, labelled, target, found)
    text = _text(target, found)
    if out is not None:
        write_thresholds(file, out, text)
        note(written(out, tree.name, has_guarantee=False))
    if json:
        print_json(_as_dict(file, found) | {"decided_by_prior": settled, "repeated_tasks": labelled.n_repeated})
    else:
        _show(tree, text, target, found, settled)


def _as_dict(file: ThresholdsFile, found: FewTasksResult) -> dict[str, Any]:
    expected = {name: value for name, value in asdict(found.expected).items() if not isnan(value)}
    return file.model_dump(exclude={"calibration"}) | {"kept_stages": list(found.kept), "expected": expected}


def _text(target: TuningTarget | None, found: FewTasksResult) -> str:
    goal = f"{target.figure.one} of {target.level:g}" if target else f"the highest {Figure.MACRO_F1_OVER_ROWS.words}"
    return (
        f"Without guarantee: chosen for {goal}, under a model of labels that was fitted to "
        f"{counted(found.n_tasks, 'task')} with something to find, and tested on none."
    )


def _file(
    tree: Cascade, labelled: LabelledScores, target: TuningTarget | None, found: FewTasksResult
) -> ThresholdsFile:
    thresholds = by_stage({key: table_of(threshold) for key, threshold in found.thresholds.items()})
    before = tree.prior_stage
    prior = None
    if before is not None and before.prior is not None:
        prior = PriorConfig(bias=before.prior.bias, weights=dict(before.prior.weights))
    return ThresholdsFile(
        no_guarantee=NoGuaranteeConfig(
            text=_text(target, found),
            target=f"{target.figure}={target.level:g}" if target else str(Figure.MACRO_F1_OVER_ROWS),
            expected=found.level,
            tasks=found.n_tasks,
        ),
        made_for=MadeForConfig(**asdict(labelled.origin)),
        thresholds=thresholds,
        prior=prior,
        calibration=calibration_of(curves_of(tree)),
    )


def _show(tree: Cascade, text: str, target: TuningTarget | None, found: FewTasksResult, settled: float) -> None:
    console = results()
    console.print(text)
    console.print()
    sheet = Sheet(("question",), ("threshold", "was"))
    own = own_thresholds(tree)
    prior = tree.prior_stage.name if tree.prior_stage is not None else None
    for (stage, tier), threshold in found.thresholds.items():
        shown = "kept" if stage in {*found.kept, prior} else threshold_in_words(threshold, ".4g")
        sheet.add(f"{stage} {tier}", shown, threshold_in_words(own[stage, tier]))
    sheet.show(console)
    if target and found.kept:
        kept = ", ".join(found.kept)
        console.print(f"The {target.figure.words} does not depend on {kept}; their thresholds are kept as they were.")
    if tree.prior_stage is not None:
        before = tree.prior_stage
        bounds = f"no below {before.no_below:.4g}, yes from {before.yes_from:.4g}"
        console.print(
            f"The prior stage {before.name!r} is kept as it was ({bounds}), and counted in: it gives {settled:.1%} of "
            "the items their label."
        )
    if curves_of(tree):
        console.print("The curves of calibration are kept as they were.")
    console.print()
    expected = found.expected
    level = "" if target else f"a {Figure.MACRO_F1_OVER_ROWS.words} of {found.level:.3f}, "
    of_tasks = figure_of(target.metric, Unit.TASK) if target and target.metric in OF_HANDED_ON else None
    level += f"{of_tasks.one} of {getattr(expected, of_tasks):.3f}, " if of_tasks else ""
    recall = f"a {Figure.RECALL_PER_TASK.words} of {expected.recall_per_task:.3f}"
    precision = f"a {Figure.PRECISION_PER_TASK.words} of {expected.precision_per_task:.3f}"
    console.print(
        f"The model expects {level}{recall}, {precision}, {expected.calls:.3f} calls and "
        f"{expected.false_positives:.3f} false positives per item.{_handed_on_in_words(tree, expected)} It was fitted "
        "to the same tasks, so expect a little less."
    )


def guarantee_in_words(guarantee: GuaranteeConfig) -> str:
    """What thresholds guarantee, of what tasks, and how sure that is."""
    return (
        f"Guaranteed of these thresholds: {guaranteed_of(guarantee)}, on tasks like those they were tuned on, wrong "
        f"with a chance of at most {guarantee.delta:g}; tested on {counted(guarantee.tasks, 'task')} held out "
        f"(p-value {guarantee.p_value:.2g})."
    )


def guaranteed_of(guarantee: GuaranteeConfig) -> Guarantee:
    """What a file guarantees."""
    metric, unit = GUARANTEED[guarantee.figure]
    return Guarantee(level=guarantee.level, metric=metric, unit=unit, largest=guarantee.largest or 1)
