"""How ``cascade classify`` shows its decisions: label, name, where it lies, what was answered, evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cascade.cli.output import plain
from cascade.cli.sheet import GAP, Trimmed, packed
from cascade.items import Item
from cascade.report import Decision, Step
from cascade.tree import Cascade

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
