"""``cascade tune --fallback``: thresholds from few labelled tasks, which promise nothing and say so."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from rich.table import Table

from cascade.cli.labelled_scores import LabelledScores
from cascade.cli.output import note, print_json, results
from cascade.errors import InputError
from cascade.outlook_file import PriorConfig
from cascade.prior_stage import LOWER, UPPER
from cascade.thresholds_file import MadeForConfig, NoPromiseConfig, ThresholdsFile, write_thresholds
from cascade.tree import Cascade
from cascade.tuning.fallback import Aim, Fallback, fallback
from cascade.tuning.search import Cost

_MACRO_F1 = "macro_f1"


def aim_of(target: str, cost: Cost) -> Aim | None:
    """What a target asks of a fallback; None for the highest macro F1.

    Raises:
        InputError: Nothing that can be aimed for.
    """
    name, _, value = target.partition("=")
    try:
        if name.strip() == "recall":
            return Aim(recall=float(value), cost=cost.of)
    except ValueError:
        pass
    if target.strip() == _MACRO_F1:
        return None
    msg = (
        f"--target {target!r} cannot be aimed for. Give macro_f1, for the highest that can be expected, or a recall, "
        "such as recall=0.9."
    )
    raise InputError(msg)


def tune_fallback(labelled: LabelledScores, aim: Aim | None, out: Path | None, *, json: bool) -> None:
    """Choose thresholds, write them, and show them.

    Args:
        labelled: The tasks and their scores.
        aim: The recall to aim for; None for the highest macro F1.
        out: Where to write the thresholds; None for nowhere.
        json: Whether to print JSON.

    Raises:
        InputError: There is too little to choose by.
        MachineError: The file cannot be written.
    """
    # A prior stage takes its calls before the model is asked; its thresholds are not searched.
    found = fallback(replace(labelled.cascade, prior_stage=None), labelled.scored, aim)
    file = _file(labelled, aim, found)
    text = _text(aim, found)
    if out is not None:
        write_thresholds(file, out, text)
        note(f"wrote {out}")
    if json:
        expected = asdict(found.expected) | {"macro_f1_of_rows": found.macro_f1}
        dumped = file.model_dump(exclude={"calibration"})
        print_json(dumped | {"kept_stages": list(found.kept), "expected": expected})
    else:
        _show(labelled.cascade, text, found)


def _text(aim: Aim | None, found: Fallback) -> str:
    goal = f"a recall of {aim.recall:g}" if aim else "the highest macro F1"
    return (
        f"Without guarantee: {found.n_tasks} tasks with something to find are too few to test on. Chosen for {goal} "
        "under a model of labels that was fitted to them."
    )


def _file(labelled: LabelledScores, aim: Aim | None, found: Fallback) -> ThresholdsFile:
    thresholds: dict[str, dict[str, float]] = {}
    for (stage, tier), threshold in found.thresholds.items():
        thresholds.setdefault(stage, {})[tier] = threshold
    before = labelled.cascade.prior_stage
    prior = None
    if before is not None:
        thresholds[before.name] = {LOWER: before.lower, UPPER: before.upper}
        if before.prior is not None:
            prior = PriorConfig(bias=before.prior.bias, weights=dict(before.prior.weights))
    return ThresholdsFile(
        no_promise=NoPromiseConfig(
            text=_text(aim, found),
            target=f"recall={aim.recall:g}" if aim else _MACRO_F1,
            expected=found.expected.recall if aim else found.macro_f1,
            tasks=found.n_tasks,
        ),
        made_for=MadeForConfig(**asdict(labelled.origin)),
        thresholds=thresholds,
        prior=prior,
    )


def _show(tree: Cascade, text: str, found: Fallback) -> None:
    console = results()
    console.print(text)
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("question", "threshold", "was"):
        table.add_column(name, justify="left" if name == "question" else "right")
    for (stage, tier), threshold in found.thresholds.items():
        shown = "kept" if stage in found.kept else f"{threshold:.4g}"
        table.add_row(f"{stage} {tier}".strip(), shown, f"{tree.stage(stage).question(tier).threshold:g}")
    console.print(table)
    if found.kept:
        console.print(f"Recall does not depend on {', '.join(found.kept)}; their thresholds are kept as they were.")
    if tree.prior_stage is not None:
        console.print(f"The prior stage {tree.prior_stage.name!r} is kept as it was, and not counted below.")
    console.print()
    expected = found.expected
    console.print(
        f"The model expects a macro F1 of {found.macro_f1:.3f} over all items and a mean recall per task of "
        f"{expected.recall:.3f}, at {expected.calls:.3f} calls and {expected.false_positives:.3f} false positives per "
        "item. It was fitted to the same tasks, so expect a little less."
    )
