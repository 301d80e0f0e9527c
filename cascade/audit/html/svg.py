"""Charts as inline SVG that takes its colours from the page, so that dark and light both fit.

Elements are built, never pasted together: whatever a text holds, it stays text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

from cascade.audit.html.chart import Bars, Cells, Chart, Dots, Line, Mark, Point
from cascade.audit.html.palette import LIGHT

WIDTH = 320
"""Units across, about the pixels that a phone has for a chart."""

_RIGHT, _BOTTOM, _LEFT, _MOST_LEFT = 18, 42, 42, 136
_HEIGHT, _ROW, _GRID_ROW = 190, 26, 46
_LINE = 19  # of the legend, and of the title above the axis at the left
_SIZE = 11  # of text; the page's style sheet sets it
_ADVANCE = 6.2  # of a character, about
_KEY = 24  # of the mark before a name in the legend
_SLANT = 35  # degrees, of names that have no room side by side


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the axes lie."""

    chart: Chart
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, chart: Chart, top: float) -> _Frame:
        is_grid = any(isinstance(mark, Cells) for mark in chart.marks)
        left, height = float(_LEFT), float(_HEIGHT)
        if chart.y.is_named:
            left = min(_MOST_LEFT, max(len(text) for _, text in chart.y.ticks) * _ADVANCE + 10)
            height = (_GRID_ROW if is_grid else _ROW) * len(chart.y.ticks)
        return cls(chart, left, top, WIDTH - _RIGHT, top + height)

    @property
    def room(self) -> float:
        """For the text of a tick of x."""
        return (self.right - self.left) / len(self.chart.x.ticks)

    @property
    def longest(self) -> float:
        """The width of the longest text of a tick of x."""
        return max(len(text) for _, text in self.chart.x.ticks) * _ADVANCE

    @property
    def is_slanted(self) -> bool:
        """Whether names below have no room side by side."""
        return self.chart.x.is_named and self.longest > self.room

    @property
    def title_y(self) -> float:
        """Where the title of x stands."""
        slanted = min(self.longest, _MOST_LEFT) * math.sin(math.radians(_SLANT)) if self.is_slanted else 0
        return self.bottom + 30 + slanted

    def at(self, point: Point) -> Point:
        """Where a point of the chart lies."""
        x = self.left + self.chart.x.share(point[0]) * (self.right - self.left)
        share = self.chart.y.share(point[1])
        down = share if self.chart.y.is_named else 1 - share
        return x, self.top + down * (self.bottom - self.top)


def svg(chart: Chart) -> str:
    """A chart as an ``svg`` element with title and description."""
    legend = [mark for mark in chart.marks if isinstance(mark, Line | Dots) and mark.name]
    places = _legend_places(legend)
    top = 10 + (places[-1][1] + 10 if places else 0) + (_LINE if chart.y.title else 0)
    frame = _Frame.of(chart, top)
    root = Element("svg", {"viewBox": f"0 0 {WIDTH} {frame.title_y + 10:.0f}", "role": "img"})
    root.set("aria-labelledby", f"{chart.name}-title {chart.name}-desc")
    SubElement(root, "title", {"id": f"{chart.name}-title"}).text = chart.title
    SubElement(root, "desc", {"id": f"{chart.name}-desc"}).text = chart.caption
    _axes(root, frame)
    for mark in chart.marks:
        _draw(root, frame, mark)
    for place, mark in zip(places, legend, strict=True):
        _legend(root, place, mark)
    return tostring(root, encoding="unicode")


def _text(root: Element, place: Point, text: str, anchor: str = "middle", style: str = "label") -> Element:
    """A text, its place being the middle of its height."""
    x, y = place
    found = SubElement(root, "text", {"x": f"{x:.1f}", "y": f"{y + _SIZE * 0.36:.1f}", "class": style})
    found.set("text-anchor", anchor)
    found.text = text
    return found


def _rule(root: Element, start: Point, end: Point, style: str) -> None:
    """A straight line."""
    places = {"x1": start[0], "y1": start[1], "x2": end[0], "y2": end[1]}
    SubElement(root, "line", {name: f"{place:.1f}" for name, place in places.items()} | {"class": style})


def _axes(root: Element, frame: _Frame) -> None:
    chart = frame.chart
    for value, text in chart.x.ticks:
        x, _ = frame.at((value, chart.y.low))
        if not chart.x.is_named:
            _rule(root, (x, frame.top), (x, frame.bottom), "grid")
        if frame.is_slanted:
            turned = _fitted(root, (x + 4, frame.bottom + 8), text, _MOST_LEFT, "end")
            turned.set("transform", f"rotate(-{_SLANT} {x + 4:.1f} {frame.bottom + 8:.1f})")
        else:
            _text(root, (x, frame.bottom + 11), text)
    for value, text in chart.y.ticks:
        _, y = frame.at((chart.x.low, value))
        if not chart.y.is_named:
            _rule(root, (frame.left, y), (frame.right, y), "grid")
        _fitted(root, (frame.left - 6, y), text, frame.left - 6, "end")
    _rule(root, (frame.left, frame.bottom), (frame.right, frame.bottom), "axis")
    _text(root, ((frame.left + frame.right) / 2, frame.title_y), chart.x.title)
    if chart.y.title:
        _text(root, (2, frame.top - 16), chart.y.title, "start")


def _fitted(root: Element, place: Point, text: str, room: float, anchor: str) -> Element:
    """A text that is cut where it has no room; then the whole of it shows when it is pointed at."""
    most = int(room / _ADVANCE)
    found = _text(root, place, text if len(text) <= most else text[: most - 1] + "…", anchor)
    if len(text) > most:
        SubElement(found, "title").text = text
    return found


def _draw(root: Element, frame: _Frame, mark: Mark) -> None:
    match mark:
        case Line():
            _line(root, frame, mark)
        case Dots():
            _dots(root, frame, mark)
        case Bars():
            _bars(root, frame, mark)
        case Cells():
            _cells(root, frame, mark)


def _line(root: Element, frame: _Frame, mark: Line) -> None:
    places = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(frame.at, mark.points))
    SubElement(root, "polyline", {"points": places, "class": _line_style(mark)})


def _line_style(mark: Line) -> str:
    return f"line {mark.tone}" + (" dashed" if mark.is_dashed else "")


def _dots(root: Element, frame: _Frame, mark: Dots) -> None:
    for point, text in zip(mark.points, mark.texts, strict=True):
        SubElement(_dot(root, frame.at(point), mark), "title").text = text


def _dot(root: Element, place: Point, mark: Dots) -> Element:
    radius = "6" if mark.is_large else "3.5"
    style = f"{'rim' if mark.is_hollow else 'dot'} {mark.tone}"
    return SubElement(root, "circle", {"cx": f"{place[0]:.1f}", "cy": f"{place[1]:.1f}", "r": radius, "class": style})


def _bars(root: Element, frame: _Frame, mark: Bars) -> None:
    for (middle, height), text in zip(mark.points, mark.texts, strict=True):
        left, top = frame.at((middle - mark.width / 2, height))
        right, _ = frame.at((middle + mark.width / 2, height))
        _box(root, (left, top), (right, frame.bottom), f"bar {mark.tone}")
        if text:
            _text(root, ((left + right) / 2, top - 7), text)


def _box(root: Element, start: Point, end: Point, style: str) -> None:
    (left, top), (right, bottom) = start, end
    places = {"x": left, "y": top, "width": max(0.0, right - left), "height": max(0.0, bottom - top)}
    SubElement(root, "rect", {name: f"{place:.1f}" for name, place in places.items()} | {"class": style})


def _cells(root: Element, frame: _Frame, mark: Cells) -> None:
    for row, (shares, texts) in enumerate(zip(mark.shares, mark.texts, strict=True)):
        for column, (share, text) in enumerate(zip(shares, texts, strict=True)):
            left, top = frame.at((column - 0.5, row - 0.5))
            right, bottom = frame.at((column + 0.5, row + 0.5))
            step = LIGHT.step(share)
            _box(root, (left + 1, top + 1), (right - 1, bottom - 1), f"cell-{step}")
            lines = text.split("\n")
            for at, line in enumerate(lines):
                y = (top + bottom) / 2 + (at - (len(lines) - 1) / 2) * 1.3 * _SIZE
                _text(root, ((left + right) / 2, y), line, style=f"on-cell-{step}")


def _legend_places(marks: list[Line | Dots]) -> list[Point]:
    """Where each mark of the legend begins; a new line where one has no room."""
    places: list[Point] = []
    x, y = 2.0, 8.0
    for mark in marks:
        width = _KEY + _ADVANCE * len(mark.name) + 10
        if places and x + width > WIDTH:
            x, y = 2.0, y + _LINE
        places.append((x, y))
        x += width
    return places


def _legend(root: Element, place: Point, mark: Line | Dots) -> None:
    x, y = place
    if isinstance(mark, Line):
        _rule(root, (x, y), (x + 18, y), _line_style(mark))
    else:
        _dot(root, (x + 9, y), mark)
    _text(root, (x + _KEY, y), mark.name, "start")
