"""Pictures of requests with budgets: quality by budget, prediction, and how far over budget they ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed.plots import Draw, Figures, draw_all, prediction
from cascade.config.figures import Figure

_WINDOW_MS = 50.0


def write_budget_plots(figures: Figures, folder: Path) -> list[Path]:
    """Write PNG files into a folder, which is made if absent; returns their paths.

    Raises:
        MachineError: There is no matplotlib, or the folder cannot be written.
    """
    drawings: dict[str, Draw] = {"overshoot": _overshoot}
    if figures["anytime"]:
        drawings["anytime"] = _anytime
    if figures["predictions"]:
        drawings["prediction"] = prediction
    return draw_all(figures, folder, figures["workload"], drawings)


def _anytime(axes: Any, figures: Figures) -> None:
    """Accuracy and recall over rows of either cascade by budget."""
    for name in dict.fromkeys(entry["cascade"] for entry in figures["anytime"]):
        own = [entry for entry in figures["anytime"] if entry["cascade"] == name]
        shares = [entry["share"] for entry in own]
        (line,) = axes.plot(shares, [entry["accuracy"] for entry in own], "o-", label=f"{name}: accuracy")
        recalls = [
            (entry["share"], entry["recall_over_rows"]) for entry in own if entry["recall_over_rows"] is not None
        ]
        axes.plot(
            *zip(*recalls, strict=True), "o--", color=line.get_color(), label=f"{name}: {Figure.RECALL_OVER_ROWS.words}"
        )
    axes.axvline(1, linestyle=":", color="grey")
    axes.set(xlabel="budget over the time in full", ylim=(0, 1.02), title="quality by budget, requests alone")
    axes.legend()


def _overshoot(axes: Any, figures: Figures) -> None:
    """Requests by milliseconds over budget; those far off stand at the borders."""
    clipped = [min(max(value, -_WINDOW_MS), _WINDOW_MS) for value in figures["over_ms"]]
    axes.hist(clipped, bins=100, range=(-_WINDOW_MS, _WINDOW_MS))
    axes.axvline(0, linestyle=":", color="grey")
    late = figures["overshoot"]
    title = f"over budget: {late['over']:.1%}, by more than 10 ms: {late['over_10_ms']:.1%}"
    axes.set(xlabel=f"ms over budget, cut at {_WINDOW_MS:.0f}", ylabel="requests", yscale="symlog", title=title)
