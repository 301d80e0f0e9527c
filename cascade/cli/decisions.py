"""How ``cascade classify`` shows its decisions: label, p, name, where it lies, and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cascade.cli.output import plain
from cascade.cli.tables import GAP, Trimmed
from cascade.engine.ranking import p_shown
from cascade.items import Item
from cascade.report import Decision, Status, Step
from cascade.repository.places import Places
from cascade.stages import in_words
from cascade.tree import Cascade

_LEAST = 24
"""Cells that names should have; with fewer labels stand above them."""

_WIDE = 40
"""Cells that reasons should have to stand beside names; with fewer they stand below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One decision in parts.

    Attributes:
        label: Its label.
        p: How likely the item has the leading label, or its own; see ``p_shown``.
        name: The item's name.
        where: Where it lies, and its id where the rest does not tell it.
        why: The reasons in words, or what was answered where there are none.
    """

    label: Text
    p: Text
    name: Text
    where: Text
    why: Text


def show_decisions(
    console: Console,
    decisions: Sequence[Decision],
    cascade: Cascade,
    items: Mapping[str, Item],
    places: Places | None = None,
) -> None:
    """Print decisions: a line each where there is room, otherwise places and reasons below the names.

    Args:
        console: Where to.
        decisions: What to show, in this order.
        cascade: Whose decisions they are.
        items: Their items by id.
        places: Where they lie and why they may matter; None for items of one's own, of which answers are shown.
    """
    has_ids = any(_needs_id(items[decision.id]) for decision in decisions)
    rows = [_row(decision, items[decision.id], cascade, places, has_id=has_ids) for decision in decisions]
    console.print(Trimmed(_in_lines(rows, console.width) or _in_columns(rows, console.width)))


def _row(decision: Decision, item: Item, cascade: Cascade, places: Places | None, *, has_id: bool) -> _Row:
    where = places.where(decision.id) if places is not None else item.group.name if item.group is not None else ""
    if has_id and places is None:
        where = f"{where}  id {item.id}".strip()
    why = [Text(plain(reason)) for reason in places.why(decision.id)[:_REASONS]] if places is not None else []
    if places is None:
        why = _answers(decision, cascade)
    elif not why:
        why = [Text("little ties it to the task")]
    if decision.p_label is not None:
        why.append(Text(f"{decision.status}, p(label) {decision.p_label:.2f}", "yellow"))
    elif decision.status is Status.UNCERTAIN:
        why.append(Text(decision.status, "yellow"))
    return _Row(
        label=Text(plain(decision.label), _colour(decision, cascade)),
        p=Text(f"{p_shown(decision, cascade, item.prior):.2f}"),
        name=Text(plain(item.name)),
        where=Text(plain(where), "dim"),
        why=Text("; ").join(why) if places is not None else Text(GAP).join(why),
    )


def _colour(decision: Decision, cascade: Cascade) -> str:
    if decision.status is not Status.DECIDED:
        return "yellow"
    return "dim" if decision.label == cascade.dropped else "green"


_REASONS = 3
"""Reasons that are shown of one candidate."""


def _needs_id(item: Item) -> bool:
    """Whether an item's id says more than its name and its file."""
    return item.id not in {item.name, f"{item.group.name}::{item.name}" if item.group is not None else ""}


def _answers(decision: Decision, cascade: Cascade) -> list[Text]:
    names_tier_alone = sum(stage.is_tiered for stage in cascade.stages) <= 1
    return [
        _answer(step, step.tier if step.tier and names_tier_alone else f"{step.stage} {step.tier}".strip())
        for step in decision.steps
    ]


def _answer(step: Step, question: str) -> Text:
    if step.probabilities:
        said = "uncertain" if step.answer is None else step.choice or f"{step.score:.2f}"
        colour = "yellow" if step.answer is None else "green"
        return Text.assemble(f"{plain(question)} ", (plain(said), colour), f" {step.confidence:.2f}")
    colour = "yellow" if step.answer is None else "green" if step.answer else "red"
    return Text.assemble(f"{plain(question)} ", (in_words(step.answer), colour), f" {step.p_yes:.2f}")


def _in_lines(rows: Sequence[_Row], room: int) -> Table | None:
    """All parts side by side; None where that leaves too little for the reasons."""
    columns = {
        "label": [row.label for row in rows],
        "p": [row.p for row in rows],
        "name": [row.name for row in rows],
        "where": [row.where for row in rows],
    }
    columns = {head: cells for head, cells in columns.items() if any(cells)}
    widths = [max(len(head), _widest(cells)) for head, cells in columns.items()]
    left = room - sum(widths) - len(GAP) * len(widths)
    why = [row.why for row in rows]
    if left < min(_WIDE, _widest(why)):
        return None
    return _table(columns | {"why": why}, [*widths, min(left, max(len("why"), _widest(why)))])


def _in_columns(rows: Sequence[_Row], room: int) -> Table:
    """Places and reasons below names; all below each other where a name or a place would be broken."""
    labels, ps = [row.label for row in rows], [row.p for row in rows]
    widths = [max(len("label"), _widest(labels)), max(len("p"), _widest(ps))]
    left = room - sum(widths) - 2 * len(GAP)
    widest = _widest([part for row in rows for part in (row.name, row.where)])
    if left >= max(_LEAST, min(widest, room)):
        cells = [_below(row.name, row.where, row.why) for row in rows]
        return _table({"label": labels, "p": ps, "name, where, why": cells}, [*widths, left])
    heads = [Text(GAP).join((row.label, row.p)) for row in rows]
    cells = [_below(head, row.name, row.where, row.why) for head, row in zip(heads, rows, strict=True)]
    return _table({"label, p, name, where, why": cells}, [room])


def _below(*parts: Text) -> Text:
    return Text("\n").join([part for part in parts if part])


def _table(columns: Mapping[str, Sequence[Text]], widths: Sequence[int]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head, width in zip(columns, widths, strict=True):
        table.add_column(head, width=width, overflow="fold", justify="right" if head == "p" else "left")
    for cells in zip(*columns.values(), strict=True):
        table.add_row(*cells)
    return table


def _widest(cells: Iterable[Text]) -> int:
    return max((cell.cell_len for cell in cells), default=0)
