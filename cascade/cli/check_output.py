"""What ``cascade check`` found, in words."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from cascade.cli.output import results
from cascade.cli.tables import Sheet
from cascade.errors import counted
from cascade.tuning.check import GuaranteeCheck, Verdict
from cascade.tuning.shift import Shift, ShiftVerdict

_FIGURES = {"items": "items of a task", "matters": "share that matters", "asked": "share with a score"}
_FIGURES |= {"mean": "mean log odds", "spread": "spread of log odds"}
_VERDICTS = {ShiftVerdict.SHIFTED: "yes", ShiftVerdict.AS_BEFORE: "no", ShiftVerdict.UNCLEAR: "too few tasks"}


def show_check(guarantee: GuaranteeCheck, shifts: Sequence[Shift] | None, n_tasks: int) -> None:
    """Print the verdicts, and what they rest on.

    Args:
        guarantee: The guarantee on the new tasks.
        shifts: Every figure of the inputs; None where nothing is known of those of the tuning.
        n_tasks: New tasks.
    """
    console = results()
    console.print(_guarantee(guarantee, n_tasks))
    if guarantee.is_outgrown:
        console.print(
            f"A task has {counted(guarantee.largest, 'item')} that count; the guarantee is for tasks of at most "
            f"{guarantee.guaranteed.largest}. Tune again with tasks as large."
        )
    if guarantee.handed_on is not None:
        of_mattering = guarantee.mattering_handed_on
        told = "" if of_mattering is None else f", {of_mattering:.1%} of what matters"
        console.print(f"Handed on as uncertain: {guarantee.handed_on:.1%} of the items{told}.")
    if shifts is None:
        return
    console.print()
    sheet = Sheet(("of a task",), ("then", "now", "tasks", "p-value", "effect", "shifted"))
    before = ""
    for shift in shifts:
        what, *question = shift.statistic
        asked = " ".join(question).strip()
        if asked != before:
            sheet.add(asked, *[""] * 6)
            before = asked
        name = Text(f"{'  ' * bool(asked)}{_FIGURES[what]}")
        now, p_value, effect = "-", "-", "-"
        if shift.now is not None and shift.p_value is not None:
            now, p_value = f"{shift.now:.3g}", f"{shift.p_value:.2g}"
            effect = f"{'PSI' if shift.is_of_scores else 'KS'} {shift.effect:.3f}"
        sheet.add(name, f"{shift.then:.3g}", now, str(shift.n), p_value, effect, _VERDICTS[shift.verdict])
    sheet.show(console)
    console.print()
    console.print(_inputs(shifts))


def _guarantee(guarantee: GuaranteeCheck, n_tasks: int) -> str:
    said = {
        Verdict.HOLDS: "The guarantee holds",
        Verdict.BROKEN: "The guarantee is broken",
        Verdict.UNCLEAR: "Too few tasks to say whether the guarantee holds",
    }[guarantee.verdict]
    measured = "no task has one"
    if guarantee.measured is not None:
        interval = f"{guarantee.low:.3f} to {guarantee.high:.3f}"
        measured = (
            f"{guarantee.measured:.3f} ({interval}) on the {guarantee.n_tasks:,} of {counted(n_tasks, 'task')} with one"
        )
    needed = ""
    if guarantee.verdict is Verdict.UNCLEAR:
        needed = (
            f" It takes about {guarantee.n_needed} of them."
            if guarantee.n_needed is not None
            else " It is too near to the guarantee for any number of them to tell."
        )
    return f"{said}: {guarantee.guaranteed} was guaranteed; now: {measured}.{needed}"


def _inputs(shifts: Sequence[Shift]) -> str:
    verdict = ShiftVerdict.of_all(shifts)
    if verdict is ShiftVerdict.SHIFTED:
        return "The inputs have shifted."
    if verdict is ShiftVerdict.AS_BEFORE:
        return "The inputs are as they were, but for chance and trifles."
    unclear = [shift for shift in shifts if shift.verdict is ShiftVerdict.UNCLEAR]
    if len(unclear) == len(shifts):
        most = max(shift.n for shift in unclear)
        return f"Too few tasks to say whether the inputs have shifted: {_needed(unclear, most)}."
    names, least = ", ".join(map(_name, unclear)), min(shift.n for shift in unclear)
    return f"Too few tasks to say whether these have shifted, the others have not: {names}; {_needed(unclear, least)}."


def _needed(unclear: Sequence[Shift], n_here: int) -> str:
    """What it takes for a large shift to be found in four of five cases."""
    few = min(unclear, key=lambda shift: shift.n_then)
    if few.n_needed is None:
        return f"the thresholds were tuned with {few.n_then}, too few to be held against any number; tune with more"
    most = max(shift.n_needed or 0 for shift in unclear)
    return f"{n_here} here, and {most} are needed to find a large shift, if there is one"


def _name(shift: Shift) -> str:
    what, *question = shift.statistic
    return " ".join([*question, _FIGURES[what]]).strip()
