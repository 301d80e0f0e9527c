"""Tables of results, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cascade.cli.output import plain


def threshold_text(value: float, form: str) -> str:
    """A threshold in a format such as ``.3f``; one that is not 0 or 1 does not look so."""
    text = f"{value:{form}}"
    return f"{value:.7g}" if value != float(text) and float(text) in {0.0, 1.0} else text


GAP = "  "
_INDENT = "  "
_LEAST = 24
"""Cells that a column of sentences gets at least; below that it is no pleasure to read."""


class Sheet:
    """Rows under heads; what no terminal may act on is taken out of them.

    Args:
        texts: Heads of columns that hold words, and go to the left. They stand first.
        figures: Heads of columns that hold figures, and go to the right.
        sentences: Heads of columns whose cells may be broken between words. They stand last.
        has_heads: Whether heads are shown.
    """

    def __init__(
        self,
        texts: Sequence[str],
        figures: Sequence[str] = (),
        sentences: Sequence[str] = (),
        *,
        has_heads: bool = True,
    ) -> None:
        self._heads = [plain(head) for head in (*texts, *figures, *sentences)]
        self._n_texts, self._n_sentences = len(texts), len(sentences)
        self._has_heads = has_heads
        self._rows: list[list[Text]] = []

    @property
    def n_rows(self) -> int:
        """How many rows it has."""
        return len(self._rows)

    def add(self, *cells: str | Text) -> None:
        """Add a row, a cell for each head; a Text must be plain already."""
        self._rows.append([cell if isinstance(cell, Text) else Text(plain(cell)) for cell in cells])

    def show(self, console: Console) -> None:
        """Print it, as wide as the console allows."""
        widths = self._widths(console.width)
        if widths is not None:
            console.print(Trimmed(self._table(widths)))
            return
        for row in self._rows:
            first, *rest = packed(self._pairs(row), console.width - len(_INDENT))
            console.print(first)
            console.print(Trimmed(Padding.indent(Group(*rest), len(_INDENT))))

    def _widths(self, room: int) -> list[int] | None:
        """Cells of each column; None where they do not fit."""
        cells = [max((row[at].cell_len for row in self._rows), default=0) for at in range(len(self._heads))]
        heads = [_head_width(head) * self._has_heads for head in self._heads]
        words = [_word_width(head) * self._has_heads for head in self._heads]
        room -= len(GAP) * (len(cells) - 1)
        n_fixed = len(cells) - self._n_sentences
        least = [max(pair) for pair in zip(cells, words, strict=True)]
        free = _shared(least[n_fixed:], room - sum(least[:n_fixed]))
        return None if free is None else _widened([*least[:n_fixed], *free], heads, room)

    def _table(self, widths: Sequence[int]) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bold", show_header=self._has_heads)
        n_left = len(self._heads) - self._n_sentences
        for at, (head, width) in enumerate(zip(self._heads, widths, strict=True)):
            is_left = at < self._n_texts or at >= n_left
            table.add_column(head, justify="left" if is_left else "right", width=width, overflow="fold")
        for row in self._rows:
            table.add_row(*row)
        return table

    def _pairs(self, row: Sequence[Text]) -> list[Text]:
        """A row's heads and cells, those without a text left out."""
        return [
            Text.assemble((f"{head} " * self._has_heads, "dim"), cell)
            for head, cell in zip(self._heads, row, strict=True)
            if cell.plain
        ]


class Trimmed:
    """What is drawn, without the spaces that rich fills lines with at their ends.

    Args:
        drawn: A table, or anything else that rich draws.
    """

    def __init__(self, drawn: RenderableType) -> None:
        self._drawn = drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's protocol."""
        for line in console.render_lines(self._drawn, options, pad=False):
            while line and not line[-1].text.rstrip(" "):
                line.pop()
            if line:
                text, style, control = line.pop()
                line.append(Segment(text.rstrip(" "), style, control))
            yield from line
            yield Segment.line()


class Hanging:
    """A text whose further lines are indented by more than its first.

    Args:
        text: The text.
        first: Spaces before its first line.
    """

    def __init__(self, text: str, first: int = 0) -> None:
        self._text, self._first = Text(plain(text)), first

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """See rich's protocol."""
        indent = self._first + len(_INDENT)
        lines = self._text.wrap(console, max(options.max_width - indent, 1))
        for at, line in enumerate(lines):
            line.rstrip()
            yield Text(" " * (indent if at else self._first)).append_text(line)


def packed(parts: Iterable[Text], room: int) -> list[Text]:
    """Lines of unbroken parts, as many of them in a line as there is room for.

    Args:
        parts: What stands side by side.
        room: Cells of a line.
    """
    lines: list[Text] = []
    for part in parts:
        if lines and lines[-1].cell_len + len(GAP) + part.cell_len <= room:
            lines[-1].append(GAP).append_text(part)
        else:
            lines.append(part.copy())
    return lines


def _head_width(head: str) -> int:
    return Text(head).cell_len


def _word_width(head: str) -> int:
    return max((Text(word).cell_len for word in head.split()), default=0)


def _shared(widths: Sequence[int], room: int) -> list[int] | None:
    """What columns of sentences get of the room that is left; None where that is too little to read."""
    found = list(widths)
    while sum(found) > room:
        widest = max(found, default=0)
        if widest <= _LEAST:
            return None
        found[found.index(widest)] -= 1
    return found


def _widened(widths: Sequence[int], heads: Sequence[int], room: int) -> list[int]:
    """The columns with the room that is left, where it lets heads stand in fewer lines."""
    found = list(widths)
    for _ in range(room - sum(widths)):
        lacking = [head - width for head, width in zip(heads, found, strict=True)]
        if max(lacking) <= 0:
            break
        found[lacking.index(max(lacking))] += 1
    return found
