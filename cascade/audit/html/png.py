"""Charts as PNG files by matplotlib, in the page's light colours."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from cascade.audit.html.chart import Axis, Bars, Cells, Chart, Dots, Line, Mark
from cascade.audit.html.palette import LIGHT
from cascade.bench.plots import prepare
from cascade.files import write_whole

_ROW = 0.42  # inches of a named row
_LARGE, _SMALL = 11, 5  # points across a dot
_LONGEST = 40  # characters of a text
_MOST_BELOW = 50  # characters of all names below, from which on they are slanted


def write_pngs(charts: Sequence[Chart], folder: Path) -> list[Path]:
    """Write one PNG file a chart into a folder, which is made if absent; returns their paths.

    Raises:
        InputError: There is no matplotlib.
        MachineError: The folder cannot be written.
    """
    figure_class = prepare(folder)
    paths = []
    for chart in charts:
        height = max(2.4, 1.4 + _ROW * len(chart.y.ticks)) if chart.y.is_named else 4
        figure = figure_class(figsize=(6, height), layout="constrained", facecolor=LIGHT.card)
        axes = figure.subplots()
        _frame(axes, chart)
        for mark in chart.marks:
            _draw(axes, mark)
        if any(isinstance(mark, Line | Dots) and mark.name for mark in chart.marks):
            axes.legend(frameon=False, labelcolor=LIGHT.ink)
        paths.append(folder / f"{chart.name}.png")
        _save(figure, paths[-1])
    return paths


def _save(figure: Any, path: Path) -> None:
    picture = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # names may be written in any script
        figure.savefig(picture, dpi=120, metadata={"Software": None})  # the version would change the bytes
    write_whole(path, picture.getvalue())


def _frame(axes: Any, chart: Chart) -> None:
    axes.set_title(_plain(chart.title), color=LIGHT.ink, fontsize="medium", loc="left")
    axes.set_xlabel(_plain(chart.x.title), color=LIGHT.soft)
    axes.set_ylabel(_plain(chart.y.title), color=LIGHT.soft)
    axes.set_xlim(chart.x.low, chart.x.high)
    axes.set_ylim(*((chart.y.high, chart.y.low) if chart.y.is_named else (chart.y.low, chart.y.high)))
    axes.set_xticks(*_ticks(chart.x))
    axes.set_yticks(*_ticks(chart.y))
    axes.tick_params(colors=LIGHT.soft, length=0)
    if chart.x.is_named and sum(len(text) for _, text in chart.x.ticks) > _MOST_BELOW:
        axes.tick_params(axis="x", labelrotation=30)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_axisbelow(True)
    for axis, part in (("x", chart.x), ("y", chart.y)):
        if not part.is_named:
            axes.grid(axis=axis, color=LIGHT.line, linewidth=0.8)


def _ticks(axis: Axis) -> tuple[list[float], list[str]]:
    return [value for value, _ in axis.ticks], [_plain(text) for _, text in axis.ticks]


def _plain(text: str) -> str:
    """A text that has room, holds nothing that cannot be printed, and in which matplotlib finds no formula."""
    lines = ["".join(sign for sign in line if sign.isprintable()) for line in text.split("\n")]
    cut = [line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…" for line in lines]
    return "\n".join(cut).replace("$", r"\$")


def _draw(axes: Any, mark: Mark) -> None:
    match mark:
        case Line():
            _line(axes, mark)
        case Dots():
            _dots(axes, mark)
        case Bars():
            _bars(axes, mark)
        case Cells():
            _cells(axes, mark)


def _line(axes: Any, mark: Line) -> None:
    style = (0, (4, 3)) if mark.is_dashed else "-"
    x, y = zip(*mark.points, strict=True)
    axes.plot(x, y, linestyle=style, color=LIGHT.tones[mark.tone], label=_plain(mark.name) or None)


def _dots(axes: Any, mark: Dots) -> None:
    colour = LIGHT.tones[mark.tone]
    face = LIGHT.card if mark.is_hollow else colour
    size = _LARGE if mark.is_large else _SMALL
    x, y = zip(*mark.points, strict=True)
    label = _plain(mark.name) or None
    axes.plot(x, y, "o", color=colour, markerfacecolor=face, markersize=size, label=label, clip_on=False)


def _bars(axes: Any, mark: Bars) -> None:
    x, y = zip(*mark.points, strict=True)
    axes.bar_label(axes.bar(x, y, width=mark.width, color=LIGHT.tones[mark.tone]), mark.texts, color=LIGHT.soft)


def _cells(axes: Any, mark: Cells) -> None:
    from matplotlib.patches import Rectangle  # noqa: PLC0415 - optional

    for row, (shares, texts) in enumerate(zip(mark.shares, mark.texts, strict=True)):
        for column, (share, text) in enumerate(zip(shares, texts, strict=True)):
            fill, ink = LIGHT.ramp[LIGHT.step(share)]
            axes.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=fill))
            axes.text(column, row, _plain(text), color=ink, ha="center", va="center")
