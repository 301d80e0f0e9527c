"""How ``cascade classify`` shows its decisions: label, name, where it lies, what was answered, evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from cascade.cli.output import plain
from cascade.items import Item
from cascade.report import Decision, Step
from cascade.tree import Cascade

GAP = "  "
_INDENT = "  "
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


_LEAST = 24
"""Cells that a name should have; with fewer a label stands above it, and with fewer evidence is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One decision in parts, each of which stays in one piece where it can.

    Attributes:
        label: Its label.
        name: The item's name.
        places: The file it lies in, and its id where the rest does not tell it.
        answers: What was answered, and how a label came about that was not decided.
        evidence: What ties the item to the task.
    """

    label: Text
    name: Text
    places: tuple[Text, ...]
    answers: tuple[Text, ...]
    evidence: tuple[Text, ...]


def show_decisions(
    console: Console, decisions: Sequence[Decision], cascade: Cascade, items: Mapping[str, Item]
) -> bool:
    """Print decisions, each in a line if all fit; otherwise places stand below names, and then answers below places.

    Evidence stands only in lines, as much of it as there is room for.

    Args:
        console: Where to.
        decisions: What to show, in this order.
        cascade: Whose decisions they are.
        items: Their items by id.

    Returns:
        Whether all evidence is shown.
    """
    has_ids = any(_needs_id(items[decision.id]) for decision in decisions)
    rows = [_row(decision, items[decision.id], cascade, has_id=has_ids) for decision in decisions]
    in_lines, is_whole = _in_lines(rows, console.width)
    console.print(Trimmed(in_lines or _in_columns(rows, console.width) or _stacked(rows, console.width)))
    return is_whole


def _row(decision: Decision, item: Item, cascade: Cascade, *, has_id: bool) -> _Row:
    places = [item.group.name] if item.group is not None else []
    places += [f"id {item.id}"] if has_id else []
    names_tier_alone = sum(stage.is_tiered for stage in cascade.stages) <= 1
    answers = [_answer(step, step.tier if names_tier_alone else f"{step.stage} {step.tier}") for step in decision.steps]
    if decision.p_label is not None:
        answers.append(Text(f"{decision.status}, p(label) {decision.p_label:.2f}", "yellow"))
    return _Row(
        label=Text(plain(decision.label), "dim" if decision.label == cascade.dropped else "green"),
        name=Text(plain(item.name)),
        places=tuple(Text(plain(place), "dim") for place in places),
        answers=tuple(answers),
        evidence=tuple(Text(plain(fact), "dim") for fact in item.evidence),
    )


def _needs_id(item: Item) -> bool:
    """Whether an item's id says more than its name and its file."""
    return item.id not in {item.name, f"{item.group.name}::{item.name}" if item.group is not None else ""}


def _answer(step: Step, question: str) -> Text:
    word = ("yes", "green") if step.answer else ("no", "red")
    return Text.assemble(f"{plain(question or step.stage)} ", word, f" {step.p_yes:.2f}")


def _in_lines(rows: Sequence[_Row], room: int) -> tuple[Table | None, bool]:
    """All parts side by side, of the evidence those for which there is room; None where other parts do not fit.

    Also returns whether all evidence is there.
    """
    has_evidence = any(row.evidence for row in rows)
    columns = {
        "label": [row.label for row in rows],
        "name": [row.name for row in rows],
        "where": [_line(row.places) for row in rows],
        "answers: p(yes)": [_line(row.answers) for row in rows],
    }
    columns = {head: cells for head, cells in columns.items() if any(cells) or head in {"label", "name"}}
    widths = [max(len(head), _widest(cells)) for head, cells in columns.items()]
    left = room - sum(widths) - len(GAP) * len(widths)
    if left < -len(GAP):
        return None, not has_evidence
    if left < _LEAST or not has_evidence:
        return _table(columns, widths), not has_evidence
    lines = [packed(row.evidence, left) for row in rows]
    columns["evidence"] = [next(iter(found), Text()) for found in lines]
    widths.append(max(len("evidence"), _widest(columns["evidence"])))
    return _table(columns, widths), all(len(found) <= 1 for found in lines)


def _in_columns(rows: Sequence[_Row], room: int) -> Table | None:
    """Places below names, and answers beside them; None where a name, a place or an answer would be broken."""
    labels = [row.label for row in rows]
    names = [Text("\n").join([row.name, *row.places]) for row in rows]
    label, name = _label_width(labels), _widest([part for row in rows for part in (row.name, *row.places)])
    left = room - label - name - 2 * len(GAP)
    if left < _widest([answer for row in rows for answer in row.answers]):
        return None
    answers = [Text("\n").join(packed(row.answers, left)) for row in rows]
    return _table({"label": labels, "name, where": names, "answers: p(yes)": answers}, [label, name, left])


def _stacked(rows: Sequence[_Row], room: int) -> Table:
    """All parts of a decision below each other; labels beside them if that leaves room."""
    labels = [row.label for row in rows]
    label = _label_width(labels)
    left = room - label - len(GAP)
    if left < _LEAST:
        cells = [Text("\n").join([row.label, row.name, *_below(row, room)]) for row in rows]
        return _table({"label, name, where, answers: p(yes)": cells}, [room])
    cells = [Text("\n").join([row.name, *_below(row, left)]) for row in rows]
    return _table({"label": labels, "name, where, answers: p(yes)": cells}, [label, left])


def _below(row: _Row, room: int) -> Iterable[Text]:
    return [*packed(row.places, room), *packed(row.answers, room)]


def _table(columns: Mapping[str, Sequence[Text]], widths: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head, width in zip(columns, widths, strict=True):
        table.add_column(head, width=width, overflow="fold")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _line(parts: Iterable[Text]) -> Text:
    return Text(GAP).join(parts)


def _label_width(labels: Iterable[Text]) -> int:
    return max(len("label"), _widest(labels))


def _widest(cells: Iterable[Text]) -> int:
    return max((cell.cell_len for cell in cells), default=0)
