"""Pictures of a depth study: what each depth gains for its time, and what a budget buys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade.bench.plots import Figures, draw_all
from cascade.evaluation.metrics import QUALITY


def depth_plots(cascade: str, folder: Path) -> list[Path]:
    """The files that ``write_depth_plots`` writes of a cascade."""
    return [folder / f"{cascade}-{title}.png" for title in _DRAWINGS]


def write_depth_plots(figures: Figures, folder: Path) -> list[Path]:
    """Write PNG files into a folder, which is made if absent; returns their paths.

    Args:
        figures: From ``Findings.as_dict``.
        folder: Where.

    Raises:
        InputError: There is no matplotlib.
        MachineError: The folder cannot be written.
    """
    return draw_all(figures, folder, figures["cascade"], _DRAWINGS)


def _depth(axes: Any, figures: Figures) -> None:
    """Quality by the median time of a request, a point for each depth."""
    _lines(axes, figures["depths"], "elapsed_ms")
    for row in figures["depths"]:
        is_chosen = row["depth"] == figures["choice"]["depth"]
        axes.axvline(row["elapsed_ms"], linestyle="-" if is_chosen else ":", color="grey")
        axes.annotate(f"depth {row['depth']}", (row["elapsed_ms"], 0.02), rotation=90, ha="right")
    title = f"{figures['cascade']}: what each question gains; the line without gaps is where to stop"
    axes.set(xlabel="median ms of a request", ylim=(0, 1.02), title=title)


def _anytime(axes: Any, figures: Figures) -> None:
    """Quality by budget."""
    _lines(axes, figures["anytime"], "budget_ms")
    full_ms = figures["depths"][-1]["elapsed_ms"]
    axes.axvline(full_ms, linestyle=":", color="grey")
    axes.annotate("median full run", (full_ms, 0.02), rotation=90, ha="right")
    axes.set(xlabel="budget of a request, ms", ylim=(0, 1.02), title=f"{figures['cascade']}: what a budget buys")


def _lines(axes: Any, rows: list[dict[str, Any]], by: str) -> None:
    for key, name in QUALITY.items():
        known = [row for row in rows if row[key] is not None]
        axes.plot([row[by] for row in known], [row[key] for row in known], "o-", label=name)
    axes.set_xlim(left=0)
    axes.legend()


_DRAWINGS = {"depth": _depth, "anytime": _anytime}
