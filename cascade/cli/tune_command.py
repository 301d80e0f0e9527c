"""``cascade tune``: thresholds of a whole cascade that carry a promise on recall."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cascade.cli.labelled_scores import labelled_scores
from cascade.cli.output import ConfigOption, JsonOption, check_folder, note, print_json, results
from cascade.cli.tune_fallback import aim_of, tune_fallback
from cascade.config import Config, read_config, shipped_config
from cascade.errors import InputError
from cascade.thresholds_file import (
    CalibrationConfig,
    HeldOutConfig,
    MadeForConfig,
    PromiseConfig,
    ThresholdsFile,
    write_thresholds,
)
from cascade.tree import Cascade
from cascade.tuning.calibration import Calibrated, calibrate
from cascade.tuning.scored import Key, Origin
from cascade.tuning.search import Cost, Tuned, Wish
from cascade.tuning.search import tune as search


def tune(  # noqa: PLR0913 - the command line's options
    *,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")],
    data: Annotated[list[Path], typer.Option(help="Labelled tasks, JSON lines, plain or gzipped; may be repeated.")],
    target: Annotated[
        str,
        typer.Option(
            help="What to promise, such as recall=0.95: the mean recall per task. With --fallback also macro_f1, "
            "as high as can be."
        ),
    ],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files like --data.")] = None,
    delta: Annotated[float, typer.Option(help="The chance that the promise may be wrong.")] = 0.05,
    minimise: Annotated[Cost, typer.Option(help="What to make small under the promise.")] = Cost.CALLS,
    out: Annotated[Path | None, typer.Option(help="Write the thresholds, for a cascade's key `thresholds`.")] = None,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Promise nothing: the best thresholds from as few as 5 to 30 tasks.")
    ] = False,
    scores: Annotated[Path | None, typer.Option(help="Keep scores in this .npz file, and use those it has.")] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Choose all thresholds at once, the cheapest for which a recall can be promised."""
    aim = aim_of(target, minimise) if fallback else None
    wish = None if fallback else Wish(recall=_recall(target), delta=delta, cost=minimise)
    paths = [*data, *(more or [])]
    check_folder(out)
    plain = _without_thresholds(read_config(config or shipped_config()), cascade)
    labelled = labelled_scores(plain, cascade, paths, scores)
    if wish is None:
        tune_fallback(labelled, aim, out, json=json)
        return
    tree, origin = labelled.cascade, labelled.origin
    tuned, curves = search(tree, labelled.scored, wish), calibrate(tree, labelled.scored)
    if out is not None:
        write_thresholds(_file(wish, tuned, curves, origin), out, _promise(wish, tuned))
        note(f"wrote {out}")
    if json:
        print_json(_as_dict(wish, tuned, curves, origin))
    else:
        _show(tree, wish, tuned, curves)


def _recall(target: str) -> float:
    name, _, value = target.partition("=")
    try:
        if name.strip() == "recall":
            return float(value)
    except ValueError:
        pass
    msg = (
        f"--target {target!r} cannot be promised. Give a recall, such as recall=0.95; nothing else can be yet. "
        "--fallback, which promises nothing, takes macro_f1 as well."
    )
    raise InputError(msg)


def _without_thresholds(config: Config, name: str) -> Config:
    """The config as it is before tuning: thresholds of other files must not keep new ones from being made."""
    if name not in config.cascade:
        return config
    plain = config.cascade[name].model_copy(update={"thresholds": None})
    return config.model_copy(update={"cascade": {**config.cascade, name: plain}})


def _promise(wish: Wish, tuned: Tuned) -> str:
    return (
        f"Promised: a mean recall per task of at least {wish.recall:g}, wrong with a chance of at most {wish.delta:g}; "
        f"tested on {tuned.n_held_out} tasks (p-value {tuned.p_value:.2g}), chosen on {tuned.n_searched} others."
    )


def _file(wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated], origin: Origin) -> ThresholdsFile:
    thresholds: dict[str, dict[str, float]] = {}
    for (stage, tier), threshold in tuned.thresholds.items():
        thresholds.setdefault(stage, {})[tier] = threshold
    calibration: dict[str, dict[str, CalibrationConfig]] = {}
    for (stage, tier), found in curves.items():
        curve = CalibrationConfig(kind=found.curve.kind, values=found.curve.values)
        calibration.setdefault(stage, {})[tier] = curve
    return ThresholdsFile(
        promise=PromiseConfig(
            unit="task",
            recall=wish.recall,
            delta=wish.delta,
            p_value=tuned.p_value,
            tasks=tuned.n_held_out,
            minimised=str(wish.cost),
        ),
        held_out=HeldOutConfig(
            recall=tuned.held_out.recall,
            calls_per_item=tuned.held_out.calls,
            false_positives_per_item=tuned.held_out.false_positives,
        ),
        made_for=MadeForConfig(**asdict(origin)),
        thresholds=thresholds,
        calibration=calibration,
    )


def _as_dict(wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated], origin: Origin) -> dict[str, Any]:
    file = _file(wish, tuned, curves, origin).model_dump(exclude={"calibration"})
    alone = tuned.per_stage
    return file | {
        "tasks": {"searched": tuned.n_searched, "held_out": tuned.n_held_out, "without_recall": tuned.n_left_out},
        "fixed_stages": list(tuned.fixed),
        "per_stage": asdict(alone) if alone else None,
        "calls_joint_over_per_stage": tuned.held_out.calls / alone.calls if alone else None,
        "calibration": [
            {"stage": stage, "tier": tier, "kind": found.curve.kind, "n": found.n}
            | {"before": asdict(found.before), "after": asdict(found.after)}
            for (stage, tier), found in curves.items()
        ],
    }


def _show(tree: Cascade, wish: Wish, tuned: Tuned, curves: dict[Key, Calibrated]) -> None:
    console = results()
    console.print(_promise(wish, tuned))
    console.print(f"{tuned.n_left_out} tasks have nothing to find and so no recall; the promise leaves them out.")
    console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("question", "threshold", "was", "calibration", "ECE before", "after", "log loss before", "after"):
        table.add_column(name, justify="left" if name == "question" else "right")
    for (stage, tier), threshold in tuned.thresholds.items():
        was, found = tree.stage(stage).question(tier).threshold, curves.get((stage, tier))
        figures = (found.before.ece, found.after.ece, found.before.log_loss, found.after.log_loss) if found else ()
        kind = found.curve.kind if found else "-"
        cells = [f"{figure:.3f}" for figure in figures]
        shown = "kept" if stage in tuned.fixed else f"{threshold:.4g}"
        table.add_row(f"{stage} {tier}".strip(), shown, f"{was:g}", kind, *cells)
    console.print(table)
    if tuned.fixed:
        console.print(f"Recall does not depend on {', '.join(tuned.fixed)}; their thresholds are kept as they were.")
    console.print()
    held = tuned.held_out
    console.print(
        f"On the tasks held out: recall {held.recall:.3f}, {held.calls:.3f} calls and {held.false_positives:.3f} false "
        "positives per item."
    )
    alone = tuned.per_stage
    if alone:
        console.print(
            f"Stages tuned one by one, at a recall of {alone.recall:.3f} there: {alone.calls:.3f} calls and "
            f"{alone.false_positives:.3f} false positives; calls joint over per stage {held.calls / alone.calls:.3f}."
        )
