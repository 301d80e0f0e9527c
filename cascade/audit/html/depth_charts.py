"""The charts of a depth study: what each depth gains for its time, and what a time budget buys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cascade.audit.html.draw import Chart, Picture, Table, colour, scale
from cascade.config.figures import Figure
from cascade.evaluation.metrics import QUALITY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]
"""Entries of a study, each with the figures of ``QUALITY``, which may be None."""

_COLOURS = {"accuracy": "quiet", Figure.MACRO_F1_OVER_ROWS: "second", Figure.RECALL_OVER_ROWS: "first"}


def depth_pictures(findings: Mapping[str, Any]) -> list[Picture]:
    """The pictures of a study.

    Args:
        findings: From ``Findings.as_dict``.
    """
    name, full_ms = findings["cascade"], findings["depths"][-1]["elapsed_ms"]
    budgeted = budgets(findings["anytime"], full_ms)
    return [
        _depths(name, findings["depths"], findings["choice"]["depth"]),
        Picture(name=f"{_file_name(name)}-anytime", title=f"{name}: what a time budget buys", draw=budgeted.draw),
    ]


def picture_names(cascade: str) -> list[str]:
    """Names of the files that pictures of a cascade's study are written to."""
    return [f"{_file_name(cascade)}-{kind}.png" for kind in ("depth", "anytime")]


def _file_name(cascade: str) -> str:
    """A cascade's name as part of a file's: what could lead to another folder becomes an underscore."""
    return re.sub(r"[^\w. -]|^\.+", "_", cascade)


def _depths(cascade: str, rows: Rows, chosen: int | None) -> Picture:
    """Quality by the median time of a request: a line from depth 1 on, and points for the one call that is depth 0."""

    def draw(axes: Axes) -> None:
        for row in rows:
            _mark(axes, row["elapsed_ms"], str(row["depth"]), is_strong=row["depth"] == chosen)
        _plot_quality(axes, [row for row in rows if row["depth"]], "elapsed_ms")
        _plot_quality(axes, [row for row in rows if not row["depth"]], "elapsed_ms", is_named=False)
        axes.set_xlabel("median ms of a request")
        axes.set_title("depth", pad=18)

    where = "no depth fits" if chosen is None else f"depth {chosen} is chosen"
    return Picture(
        name=f"{_file_name(cascade)}-depth", title=f"{cascade}: what each question gains; {where}", draw=draw
    )


def budgets(rows: Rows, full_ms: float | None = None) -> Chart:
    """What budgets buy, as ``cascade depth`` measured it.

    Args:
        rows: At least one row of ``Findings.anytime``.
        full_ms: The median time of a request that is run in full, to be marked; None for no mark.
    """

    def draw(axes: Axes) -> None:
        if full_ms is not None:
            _mark(axes, full_ms, "median full run")
        _plot_quality(axes, rows, "budget_ms")
        axes.set_xlabel("budget of a request, ms")

    cells = [(f"{row['budget_ms']:.0f}", f"{row['share']:.0%}", *(_shown(row[key]) for key in QUALITY)) for row in rows]
    return Chart(
        name="budgets",
        title="What a time budget buys",
        caption="Every request was given so much time, measured on the machine that `cascade depth` ran on.",
        draw=draw,
        table=Table(head=("ms", "of a full run", *QUALITY.values()), rows=tuple(cells)),
    )


def _plot_quality(axes: Axes, rows: Rows, by: str, *, is_named: bool = True) -> None:
    for key, name in QUALITY.items():
        known = [row for row in rows if row[key] is not None]
        x, y = [row[by] for row in known], [row[key] for row in known]
        axes.plot(x, y, "o-", color=colour(_COLOURS[key]), label=name if is_named else None, clip_on=False)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    scale(axes.xaxis)
    scale(axes.yaxis, is_share=True)


def _mark(axes: Axes, ms: float, text: str, *, is_strong: bool = False) -> None:
    """A line at a time, with its name above it."""
    axes.axvline(ms, color=colour("quiet"), linestyle="-" if is_strong else (0, (3, 2)), linewidth=1.5)
    above = axes.get_xaxis_transform()
    axes.annotate(text, (ms, 1), (0, 4), xycoords=above, textcoords="offset points", ha="center", color=colour("soft"))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
