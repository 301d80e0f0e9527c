"""What missing little costs: calls per item against recall, with the thresholds that are in use. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade.page.chart import Axis, Chart, Dots, Line, Mark, Table, Tone
from cascade.page.subject import Subject
from cascade.tuning.outcome import Outcome, Replay, deciding
from cascade.tuning.search import Wish, find_path

_LOWEST = 0.5  # recall down to which the front is searched
_MOST_POINTS = 40


def front(subject: Subject, promised: float | None = None) -> Chart | None:
    """The front, or None where thresholds decide nothing or nothing matters.

    Args:
        subject: What it is about.
        promised: The recall that the thresholds were tuned for; None where they were not.
    """
    recall = subject.recall(subject.kept)
    if recall is None or not deciding(subject.cascade):
        return None
    outcomes = _front(subject)
    calls = float(subject.replayed.calls.mean())
    own = f"recall {recall:.3f} at {calls:.2f} calls"
    marks: list[Mark] = [
        Line(points=tuple((found.calls, found.recall) for found in outcomes), name="the cheapest thresholds"),
        Dots(
            points=((calls, recall),), texts=(f"in use: {own}",), name="in use", tone=Tone.SECOND, is_large=True
        ),
    ]
    x = Axis.of_numbers("calls per item", [*(found.calls for found in outcomes), calls])
    words = f"The thresholds in use come to a mean recall per task of {recall:.3f} at {calls:.2f} calls per item. "
    if promised is not None:
        marks.append(Line(points=((x.low, promised), (x.high, promised)), name="promised", tone=Tone.QUIET, is_dashed=True))
        words += f"Promised was {promised:g}. "
    least = min([recall, *(found.recall for found in outcomes), promised or 1.0])
    return Chart(
        name="front",
        title="What missing little costs",
        caption=words + "The line is found and measured on the same tasks, so it flatters a little and promises nothing.",
        x=x,
        y=Axis.of_shares("mean recall per task", np.floor(least * 10) / 10, 1.0),
        marks=tuple(marks),
        table=_table(outcomes, Outcome(recall=recall, calls=calls, false_positives=_false_positives(subject))),
    )


def _front(subject: Subject) -> list[Outcome]:
    """Outcomes of the searched path, from few calls to many, each better than the one before."""
    measured = Replay(subject.cascade, subject.scored)
    path = find_path(subject.cascade, subject.scored, Wish(recall=_LOWEST))
    chosen = np.unique(np.linspace(0, len(path) - 1, _MOST_POINTS).round().astype(int))
    found: list[Outcome] = []
    for outcome in sorted((measured.outcome(path[at]) for at in chosen), key=lambda each: (each.calls, -each.recall)):
        if not found or outcome.recall > found[-1].recall:
            found.append(outcome)
    return found


def _false_positives(subject: Subject) -> float:
    return float((subject.kept & ~subject.matters).mean())


def _table(outcomes: Sequence[Outcome], own: Outcome) -> Table:
    rows = [("in use", own), *(("cheapest", outcome) for outcome in reversed(outcomes))]
    return Table(
        head=("thresholds", "recall", "calls per item", "false positives per item"),
        rows=tuple((name, f"{at.recall:.3f}", f"{at.calls:.3f}", f"{at.false_positives:.3f}") for name, at in rows),
    )
