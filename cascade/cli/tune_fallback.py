"""``cascade tune --fallback``: thresholds from few labelled tasks, which promise nothing and say so."""

from __future__ import annotations

from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from cascade.cli.labelled_scores import LabelledScores
from cascade.cli.output import note, print_json, progress, results
from cascade.cli.sheet import Sheet
from cascade.cli.tune_output import by_stage, calibration_of, curves_of, written
from cascade.made_for import MadeForConfig
from cascade.metrics import Figure, counted
from cascade.outlook_file import PriorConfig
from cascade.thresholds_file import NoPromiseConfig, ThresholdsFile, write_thresholds
from cascade.tree import Cascade
from cascade.tuning.fallback import Fallback, decided, fallback
from cascade.tuning.outcome import own_thresholds
from cascade.tuning.priors import priors_of
from cascade.tuning.search import Wish
from cascade.tuning.surface import Cost


def tune_fallback(tree: Cascade, labelled: LabelledScores, wish: Wish | None, out: Path | None, *, json: bool) -> None:
    """Choose thresholds, write them, and show them.

    Args:
        tree: The cascade as it is in use; its prior stage, which is counted in, and its curves are kept as they are.
        labelled: The tasks and their scores.
        wish: What to aim for; None for the highest macro F1 over rows.
        out: Where to write the thresholds; None for nowhere.
        json: Whether to print JSON.

    Raises:
        ConfigError: The prior stage has nothing that weighs the evidence.
        InputError: There is too little to choose by.
        MachineError: The file cannot be written.
    """
    tree.check_is_tuned()
    priors = priors_of(tree, [item for task in labelled.tasks for item in task.items])
    prices = labelled.prices if wish and wish.minimised is Cost.LATENCY else None
    with progress() as bar:
        line = bar.add_task("search: percent", total=100)
        found = fallback(
            tree, labelled.scored, wish, prices, lambda done: bar.update(line, completed=int(100 * done)), priors
        )
    settled = float(decided(tree, priors).mean())
    file = _file(tree, labelled, wish, found)
    text = _text(wish, found)
    if out is not None:
        write_thresholds(file, out, text)
        note(written(out, tree.name, has_promise=False))
    if json:
        print_json(_as_dict(file, found) | {"decided_by_prior": settled, "repeated_tasks": labelled.n_repeated})
    else:
        _show(tree, text, wish, found, settled)


def _as_dict(file: ThresholdsFile, found: Fallback) -> dict[str, Any]:
    expected = {name: value for name, value in asdict(found.expected).items() if not isnan(value)}
    return file.model_dump(exclude={"calibration"}) | {"kept_stages": list(found.kept), "expected": expected}


def _text(wish: Wish | None, found: Fallback) -> str:
    goal = f"a {wish.figure.words} of {wish.level:g}" if wish else f"the highest {Figure.MACRO_F1_OVER_ROWS.words}"
    return (
        f"Without guarantee: chosen for {goal}, under a model of labels that was fitted to "
        f"{counted(found.n_tasks, 'task')} with something to find, and tested on none."
    )


def _file(tree: Cascade, labelled: LabelledScores, wish: Wish | None, found: Fallback) -> ThresholdsFile:
    thresholds = by_stage(found.thresholds)
    before = tree.prior_stage
    prior = None
    if before is not None and before.prior is not None:
        prior = PriorConfig(bias=before.prior.bias, weights=dict(before.prior.weights))
    return ThresholdsFile(
        no_promise=NoPromiseConfig(
            text=_text(wish, found),
            target=f"{wish.figure}={wish.level:g}" if wish else str(Figure.MACRO_F1_OVER_ROWS),
            expected=found.level,
            tasks=found.n_tasks,
        ),
        made_for=MadeForConfig(**asdict(labelled.origin)),
        thresholds=thresholds,
        prior=prior,
        calibration=calibration_of(curves_of(tree)),
    )


def _show(tree: Cascade, text: str, wish: Wish | None, found: Fallback, settled: float) -> None:
    console = results()
    console.print(text)
    console.print()
    sheet = Sheet(("question",), ("threshold", "was"))
    own = own_thresholds(tree)
    prior = tree.prior_stage.name if tree.prior_stage is not None else None
    for (stage, tier), threshold in found.thresholds.items():
        shown = "kept" if stage in {*found.kept, prior} else f"{threshold:.4g}"
        sheet.add(f"{stage} {tier}", shown, f"{own[stage, tier]:g}")
    sheet.show(console)
    if wish and found.kept:
        kept = ", ".join(found.kept)
        console.print(f"The {wish.figure.words} does not depend on {kept}; their thresholds are kept as they were.")
    if tree.prior_stage is not None:
        before = tree.prior_stage
        bounds = f"no below {before.lower:.4g}, yes from {before.upper:.4g}"
        console.print(
            f"The prior stage {before.name!r} is kept as it was ({bounds}), and counted in: it gives {settled:.1%} of "
            "the items their label."
        )
    if curves_of(tree):
        console.print("The curves of calibration are kept as they were.")
    console.print()
    expected = found.expected
    level = "" if wish else f"a {Figure.MACRO_F1_OVER_ROWS.words} of {found.level:.3f}, "
    recall = f"a {Figure.RECALL_PER_TASK.words} of {expected.recall_per_task:.3f}"
    precision = f"a {Figure.PRECISION_PER_TASK.words} of {expected.precision_per_task:.3f}"
    console.print(
        f"The model expects {level}{recall}, {precision}, {expected.calls:.3f} calls and "
        f"{expected.false_positives:.3f} false positives per item. It was fitted to the same tasks, so expect a little "
        "less."
    )
