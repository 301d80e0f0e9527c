"""A chart: two axes, marks in their units, words, and the same numbers as a table. Immutable, pure.

Nothing here knows how it is drawn: ``svg`` draws it for the page, ``png`` for a picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade.errors import InputError

Point = tuple[float, float]
"""x and y, in units of the axes."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_SPANS = 5


class Tone(StrEnum):
    """What a colour means; the palette says which colour it is in the light and in the dark."""

    FIRST = "first"
    SECOND = "second"
    QUIET = "quiet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis.

    Attributes:
        title: What it shows, with its unit.
        low: Its start.
        high: Its end, above ``low``.
        ticks: Places, each with its text.
        is_named: Whether ticks are names, which need room, and no scale.
    """

    title: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    is_named: bool = False

    def share(self, value: float) -> float:
        """Where a value lies between the two ends, in [0, 1]; what lies outside is held at an end."""
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))

    @classmethod
    def of_shares(cls, title: str, low: float = 0.0, high: float = 1.0) -> Axis:
        """Shares in per cent, with round ticks."""
        places = _round_places(100 * low, 100 * high)
        return cls(title=title, low=low, high=high, ticks=tuple((at / 100, f"{at:g}%") for at in places))

    @classmethod
    def of_numbers(cls, title: str, values: Sequence[float], low: float | None = None) -> Axis:
        """Numbers, with round ticks; it ends a little beyond the values.

        Args:
            title: What they are.
            values: At least one.
            low: Where it starts; None for a little below the least.
        """
        least, most = min(values), max(values)
        room = 0.05 * (most - (least if low is None else low)) or 0.5
        start = max(0.0, least - room) if low is None else low
        places = _round_places(start, most + room)
        return cls(title=title, low=start, high=most + room, ticks=tuple((at, f"{at:g}") for at in places))

    @classmethod
    def of_names(cls, title: str, names: Sequence[str]) -> Axis:
        """Names, each at its number, the first at 0."""
        ticks = tuple((float(at), name) for at, name in enumerate(names))
        return cls(title=title, low=-0.5, high=len(names) - 0.5, ticks=ticks, is_named=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points joined.

    Attributes:
        points: In order.
        name: In the legend; empty for none.
        tone: Its colour.
        is_dashed: Whether it has gaps, so that colour is not all that tells lines apart.
    """

    points: tuple[Point, ...]
    name: str = ""
    tone: Tone = Tone.FIRST
    is_dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dots:
    """Points, each by itself.

    Attributes:
        points: Where.
        texts: What each says when it is pointed at.
        name: In the legend; empty for none.
        tone: Their colour.
        is_hollow: Whether only their rim is drawn.
        is_large: Whether they are what the eye should find first.
    """

    points: tuple[Point, ...]
    texts: tuple[str, ...]
    name: str = ""
    tone: Tone = Tone.FIRST
    is_hollow: bool = False
    is_large: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Upright bars from the foot of the chart, one at each point.

    Attributes:
        points: Middle and height.
        texts: What stands above each.
        width: Of each, in units of x.
        tone: Their colour.
    """

    points: tuple[Point, ...]
    texts: tuple[str, ...]
    width: float
    tone: Tone = Tone.FIRST


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Fields of a grid that are darker the larger their share; columns and rows have names.

    Attributes:
        shares: By row, then column, in [0, 1]; the first row is at y = 0.
        texts: What stands in each.
    """

    shares: tuple[tuple[float, ...], ...]
    texts: tuple[tuple[str, ...], ...]


Mark = Line | Dots | Bars | Cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Numbers in words; all rows are as long as the head.

    Attributes:
        head: Names of the columns; the first names the row.
        rows: Cells.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: Of its file and its place in the page: a few plain characters, unique in the page.
        title: What it shows, in a few words.
        caption: What there is to see, with the figures that matter.
        x: The axis below.
        y: The axis at the left; where it has names, they run from top to bottom.
        marks: Drawn in order.
        table: The same numbers, for those who do not see the chart.

    Raises:
        InputError: The name is not made of plain characters.
    """

    name: str
    title: str
    caption: str
    x: Axis
    y: Axis
    marks: tuple[Mark, ...]
    table: Table

    def __post_init__(self) -> None:
        if not self.name or set(self.name) - set("abcdefghijklmnopqrstuvwxyz0123456789-"):
            msg = f"A chart named {self.name!r}; allowed are small letters, digits and hyphens. Name it so."
            raise InputError(msg)


def _round_places(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, about five."""
    span = high - low
    size = 10.0 ** math.floor(math.log10(span / _MOST_SPANS))
    step = next(size * step for step in _STEPS if span / (size * step) <= _MOST_SPANS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 10) for place in range(first, last + 1)]
