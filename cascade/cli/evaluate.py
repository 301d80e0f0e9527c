"""``cascade evaluate``: score a cascade on labelled tasks."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from cascade.cli.labelled_data import DataOption, FilesArgument, data_files
from cascade.cli.output import ConfigOption, JsonOption, ThresholdsOption, note, plain, print_json, progress, results
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import counted
from cascade.evaluation.dataset import Format
from cascade.evaluation.evaluate import Evaluation
from cascade.evaluation.score_file import labelled_tasks
from cascade.files import check_readable
from cascade.report import Status

_FIGURES = {
    "n": "n",
    "base_rate": "base rate",
    Figure.AUC_OVER_ROWS: Figure.AUC_OVER_ROWS.words,
    Figure.AUC_PER_TASK: Figure.AUC_PER_TASK.words,
    "ece": "ECE",
    Figure.F1_OVER_ROWS: Figure.F1_OVER_ROWS.words,
}

_VALUE_FIGURES = {
    "n": "n",
    "n_uncertain": "uncertain",
    "accuracy": "accuracy",
    Figure.MACRO_F1_OVER_ROWS: Figure.MACRO_F1_OVER_ROWS.words,
    "mean_confidence": "mean confidence",
}


def evaluate(  # noqa: PLR0913 - the command line's options
    *,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")],
    files: FilesArgument = None,
    data: DataOption = None,
    form: Annotated[Format | None, typer.Option("--format", help="Force a schema; by default each line tells.")] = None,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Score every stage by itself and the cascade as a whole."""
    paths = data_files(files, data)
    check_readable([*paths, thresholds, config])
    with Engine.open(read_config(config or shipped_config(), {cascade: thresholds}), log=None) as engine:
        tree = engine.cascade(cascade)
        evaluation = Evaluation(engine, tree)
        with progress() as bar:
            line = bar.add_task("tasks", total=None)
            found = labelled_tasks(paths, tree, form, note=note)
            bar.update(line, total=len(found.tasks))
            for labelled in found.tasks:
                evaluation.add(labelled)
                bar.advance(line)
    figures = evaluation.as_dict() | {"repeated_tasks": len(found.repeated)}
    if json:
        print_json(figures)
    else:
        _show(figures)


def _show(figures: dict[str, Any]) -> None:
    console = results()
    stages, prior = Sheet(("stage",), tuple(_FIGURES.values())), figures["prior_stage"]
    if prior is not None:
        stages.add(prior["stage"], *(_shown(prior[key]) for key in _FIGURES))
    chosen = {name: stage for name, stage in figures["stages"].items() if "confusion" in stage}
    for name, stage in ((name, stage) for name, stage in figures["stages"].items() if name not in chosen):
        stages.add(name, *(_shown(stage[key]) for key in _FIGURES))
        for tier, entry in stage["by_tier"].items():
            stages.add(Text(f"  {plain(tier)}"), *(_shown(entry[key]) for key in _FIGURES))
    if prior is not None or len(chosen) < len(figures["stages"]):
        stages.show(console)
    _show_chosen(console, chosen)
    if prior is not None:
        console.print(plain(_of_prior(prior, figures["items"])))
    console.print()
    _confusion("truth / answer", figures["confusion"]).show(console)
    console.print()
    names = (Figure.MACRO_F1_OVER_ROWS, Figure.RECALL_OVER_ROWS, Figure.RECALL_PER_TASK)
    whole = ", ".join(f"{name.words} {_shown(figures[name])}" for name in names)
    console.print(
        f"{counted(figures['tasks'], 'task')}, {counted(figures['items'], 'item')}: {whole}, "
        f"{_shown(figures['calls_per_item'])} calls and "
        f"{_shown(figures['tokens_per_item'])} tokens per item, {figures['elapsed_ms']:.0f} ms"
    )
    cut = {status: n for status, n in figures["statuses"].items() if n and status in _CUT}
    if cut:
        console.print("cut short, and not answered to the end: " + ", ".join(f"{n} {name}" for name, n in cut.items()))
    handed_on = figures["handed_on"]
    if handed_on is not None:
        n = figures["statuses"][Status.UNCERTAIN]
        console.print(
            f"handed on as uncertain: {counted(n, 'item')}, a share of {_shown(handed_on['share'])} of all and of "
            f"{_shown(handed_on['of_mattering'])} of what matters; recall with them "
            f"{_shown(handed_on['recall_or_handed_on_over_rows'])}, error among what is answered "
            f"{_shown(handed_on['error_among_answered'])}"
        )


_CUT = {Status.DEPTH_CAP, Status.DEADLINE}


def _show_chosen(console: Console, stages: dict[str, Any]) -> None:
    """Figures of choices and scores, each with its confusion."""
    if stages:
        sheet = Sheet(("stage", "kind"), tuple(_VALUE_FIGURES.values()))
        for name, stage in stages.items():
            sheet.add(name, stage["kind"], *(_shown(stage[key]) for key in _VALUE_FIGURES))
        sheet.show(console)
    for name, stage in stages.items():
        console.print()
        _confusion(f"{name}: truth / answer", stage["confusion"], stage.get("parts", {})).show(console)
    if any(stage["n_uncertain"] for stage in stages.values()):
        console.print("Accuracy, macro F1 and confusion of a choice or score are of the rows that it is sure of.")


def _confusion(head: str, counts: dict[str, dict[str, int]], words: dict[str, str] | None = None) -> Sheet:
    """Rows are truths and columns answers, of which there may be more: no truth is handed on."""
    words = words or {}
    sheet = Sheet((head,), tuple(words.get(answer, answer) for answer in next(iter(counts.values()), {})))
    for truth, row in counts.items():
        sheet.add(words.get(truth, truth), *(str(count) for count in row.values()))
    return sheet


def _of_prior(prior: dict[str, Any], n_items: int) -> str:
    """What the figures of a prior stage are of."""
    return (
        f"The prior stage {prior['stage']!r} knows something of {prior['n']} of {n_items} items, and its truth is "
        f"whether an item matters. It settles {prior['n_settled']} without a question; its F1 is of those."
    )


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
