"""``cascade check``: whether a promise still holds on new labels, and whether the inputs have shifted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.labelled_scores import labelled_scores
from cascade.cli.output import ConfigOption, ExitCode, JsonOption, ThresholdsOption, note, print_json, results
from cascade.cli.outputs import ForceOption, scores_output
from cascade.cli.promises import promised_of
from cascade.cli.sheet import Sheet
from cascade.config import Config, read_config, shipped_config
from cascade.errors import ConfigError, InputError
from cascade.thresholds_file import ThresholdsFile
from cascade.tuning.kept_promise import KeptPromise, Promised, Verdict, kept_promise
from cascade.tuning.priors import priors_of, with_prior_scores
from cascade.tuning.shift import Shift, shifts

_SHOWN = {"items": "items of a task", "matters": "share that matters", "asked": "share with a score"}
_SHOWN |= {"mean": "mean log odds", "spread": "spread of log odds"}


def check(  # noqa: PLR0913 - the command line's options
    name: Annotated[str, typer.Argument(help="Name of the cascade.")],
    more: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]...", help="More files like --data.")] = None,
    *,
    data: Annotated[list[Path], typer.Option(help="New labelled tasks, JSON lines, plain or gzipped; - for stdin.")],
    alpha: Annotated[float, typer.Option(help="The chance of a false alarm.")] = 0.05,
    scores: Annotated[Path | None, typer.Option(help="Keep scores in this .npz file, and use those it has.")] = None,
    force: ForceOption = False,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Exit with 1 where tuned thresholds no longer keep their promise, or the tasks are not what they were."""
    if not 0 < alpha < 1:
        msg = f"--alpha {alpha} was given; it must lie between 0 and 1. Give one such as 0.05."
        raise InputError(msg)
    settings = read_config(config or shipped_config(), {name: thresholds})
    file = _thresholds(settings, name)
    promised = _promised(name, file)
    labelled = labelled_scores(settings, name, [*data, *(more or [])], scores_output(scores, force=force))
    tree, scored = labelled.cascade, labelled.scored
    items = [item for task in labelled.tasks for item in task.items]
    priors = priors_of(tree, items)
    promise = kept_promise(tree, scored, promised, alpha, priors)
    scored = with_prior_scores(tree, scored, priors)
    found = shifts(file.inputs.inputs(), tree, scored, alpha / 2) if file.inputs is not None else None
    shifted = [shift for shift in found or () if shift.is_shifted]
    if found is None:
        note("the thresholds file keeps nothing of its tasks, so shifts cannot be told; tune again to have them")
    if json:
        print_json(_as_dict(name, promise, found, scored.n_tasks) | {"repeated_tasks": labelled.n_repeated})
    else:
        _show(promise, found, scored.n_tasks)
    return ExitCode.FAILURE if shifted or promise.verdict is Verdict.BROKEN else ExitCode.DONE


def _thresholds(config: Config, name: str) -> ThresholdsFile:
    if name not in config.cascade:
        msg = f"There is no cascade {name!r}. Choose one of {', '.join(config.cascade) or 'none'}."
        raise InputError(msg)
    file = config.cascade[name].thresholds
    if not isinstance(file, ThresholdsFile):
        msg = (
            f"cascade.{name}.thresholds: there are none, so nothing was promised. Make them with `cascade tune --out`, "
            "and name the file there, or give it as --thresholds."
        )
        raise ConfigError(msg)
    return file


def _promised(name: str, file: ThresholdsFile) -> Promised:
    promise = file.promise
    if promise is None:
        msg = (
            f"cascade.{name}.thresholds: these carry no guarantee, so there is no promise to check. Tune on more "
            "tasks, without --fallback."
        )
        raise ConfigError(msg)
    return promised_of(promise)


def _as_dict(name: str, promise: KeptPromise, found: list[Shift] | None, n_tasks: int) -> dict[str, Any]:
    rows = None
    if found is not None:
        rows = [
            asdict(shift)
            | dict(zip(("statistic", "stage", "tier"), shift.statistic, strict=True))
            | {"effect_is": "psi" if shift.is_of_scores else "ks"}
            for shift in found
        ]
    return {
        "cascade": name,
        "tasks": n_tasks,
        "promise": asdict(promise) | {"promised": asdict(promise.promised) | {"figure": promise.promised.figure}},
        "inputs": rows,
        "shifted": any(shift.is_shifted for shift in found or ()),
    }


def _show(promise: KeptPromise, found: list[Shift] | None, n_tasks: int) -> None:
    console = results()
    said = {
        Verdict.HOLDS: "The promise holds",
        Verdict.BROKEN: "The promise is broken",
        Verdict.UNCLEAR: "Too few tasks to say whether the promise holds",
    }[promise.verdict]
    was = promise.promised
    measured = "no task has one"
    if promise.measured is not None:
        interval = f"{promise.low:.3f} to {promise.high:.3f}"
        measured = f"{promise.measured:.3f} ({interval}) on the {promise.n_tasks} of {n_tasks} tasks that have one"
    console.print(f"{said}: {was} was promised; now: {measured}.")
    if promise.is_outgrown:
        console.print(
            f"A task has {promise.largest} items that count; the promise is for tasks of at most {was.largest}. Tune "
            "again with tasks as large."
        )
    if found is None:
        return
    console.print()
    sheet = Sheet(("of a task",), ("then", "now", "p-value", "effect", "shifted"))
    for shift in found:
        what, *question = shift.statistic
        effect = f"{'PSI' if shift.is_of_scores else 'KS'} {shift.effect:.3f}"
        figures = (f"{shift.then:.3g}", f"{shift.now:.3g}", f"{shift.p_value:.2g}", effect)
        sheet.add(" ".join([*question, _SHOWN[what]]), *figures, "yes" if shift.is_shifted else "no")
    sheet.show(console)
    console.print()
    shifted = any(shift.is_shifted for shift in found)
    console.print("The inputs have shifted." if shifted else "The inputs are as they were, but for chance and trifles.")
