"""What ``cascade train`` shows."""

from __future__ import annotations

from typing import Any

from cascade.cli.output import results
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.errors import counted

_FIGURES = {
    "log_loss": "log loss",
    "accuracy": "accuracy",
    Figure.AUC_OVER_ROWS: Figure.AUC_OVER_ROWS.words,
    Figure.AUC_PER_TASK: Figure.AUC_PER_TASK.words,
    "ece": "ECE",
}

_NOTHING = 1e-4
"""Nats of log loss; a training keeps what it started from where no look is better by that."""

_LEAST_POINTS = 2  # what was there before, and one part


def show_trained(version: dict[str, Any]) -> None:
    """The figures of a training on its validation part, before and after."""
    console, figures = results(), version["figures"]
    sheet = Sheet(("validation part",), tuple(_FIGURES.values()))
    for name, key in (("before", "before"), ("trained", "valid")):
        sheet.add(name, *(_shown(figures[key][figure]) for figure in _FIGURES))
    sheet.show(console)
    valid, gain = figures["valid"], figures["gain"]
    moves = "falls" if gain["log_loss"] >= 0 else "rises"
    width = "unknown, as there is one task" if gain["half_width"] is None else f"{gain['half_width']:.4f}"
    console.print(
        f"{counted(valid['tasks'], 'task')}, {counted(valid['n'], 'item')}, {counted(figures['steps'], 'step')}: "
        f"log loss per task {moves} by {abs(gain['log_loss']):.4f} (half width of its 95% interval {width}), "
        f"{'more than chance' if gain['is_sure'] else 'no more than chance may do'}; the engine's p is within "
        f"{figures['engine_gap']:.4f} of the trained model's"
    )
    if abs(figures["before"]["log_loss"] - valid["log_loss"]) < _NOTHING:
        console.print("No step was better than the start, so the adapter answers as what it started from.")


def show_curve(curve: dict[str, Any]) -> None:
    """What ever more tasks teach."""
    console = results()
    sheet = Sheet((), ("tasks", "items", *_FIGURES.values(), "gain", "half width"))
    for point in curve["points"]:
        gain = point["gain"] or {"log_loss": None, "half_width": None}
        figures = (_shown(point[figure]) for figure in _FIGURES)
        counts = (f"{point['tasks']:,}", f"{point['items']:,}")
        sheet.add(*counts, *figures, _shown(gain["log_loss"]), _shown(gain["half_width"]))
    sheet.show(console)
    enough, most = curve["enough_from"], curve["points"][-1]["tasks"]
    if len(curve["points"]) <= _LEAST_POINTS:
        told = "There are too few tasks for a curve: one part alone was trained on."
    elif enough is None:
        told = f"The last doubling, to {most:,} tasks, still brought more than chance may do: more tasks would help."
    else:
        told = f"From {counted(enough, 'task')} on no doubling brought more than chance may do."
    console.print(told)


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
