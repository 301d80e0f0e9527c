"""What ``cascade tune --no-guarantee`` found: as a file of thresholds, as JSON and in words."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from cascade.cli.output import note, print_json, progress, results
from cascade.cli.tables import Sheet, threshold_text
from cascade.cli.tune_output import (
    by_stage,
    calibration_of,
    curves_of,
    handed_on_in_words,
    kept_little,
    threshold_in_words,
    written,
)
from cascade.config.figures import OF_HANDED_ON, Figure, Unit, figure_of
from cascade.config.profile import MadeForConfig, PriorConfig
from cascade.config.threshold_entry import table_of
from cascade.config.thresholds import NoGuaranteeConfig, ThresholdsFile, write_thresholds
from cascade.errors import counted
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import own_thresholds
from cascade.evaluation.score_file import LabelledScores
from cascade.tree import Cascade
from cascade.tuning.few_tasks import FewTasksResult, decided, tune_few_tasks
from cascade.tuning.objective import Cost
from cascade.tuning.target import TuningTarget


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
    base_rate = float(labelled.scored.is_positive(tree).mean())
    if target and (little := kept_little(target, found.expected, base_rate)):
        note(little)
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
        bounds = ", ".join(
            f"{word} {threshold_text(value, '.4g')}"
            for word, value in (("no below", before.no_below), ("yes from", before.yes_from))
        )
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
        f"{expected.false_positives:.3f} false positives per item.{handed_on_in_words(tree, expected)} It was fitted "
        "to the same tasks, so expect a little less."
    )
