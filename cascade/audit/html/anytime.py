"""What is found before all calls are made, and what a time budget buys. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cascade.audit.html.chart import Axis, Chart, Dots, Line, Mark, Table, Tone
from cascade.audit.html.subject import Subject
from cascade.config.figures import Figure
from cascade.engine.online_profile import OnlineProfile
from cascade.evaluation.metrics import QUALITY, macro_f1
from cascade.evaluation.replay import Array, replay

_SHARES = np.linspace(0, 1, 21)
_RECALL, _F1 = Figure.RECALL_PER_TASK.words, Figure.MACRO_F1_OVER_ROWS.words


def anytime(subject: Subject) -> Chart:
    """Share of the calls that are made against what they find: items in the order of the prior, and depth by depth."""
    depths = _depths(subject)
    full = max(depths[-1][0], 1e-9)
    points = tuple((calls / full, f1) for calls, f1 in depths)
    texts = tuple(f"depth {at}: {_F1} {f1:.3f}" for at, (_, f1) in enumerate(depths, 1))
    marks: list[Mark] = [Dots(points=points, texts=texts, name=f"{_F1} after depth", tone=Tone.SECOND)]
    rows = [(f"depth {at}", f"{share:.0%}", "-", f"{f1:.3f}") for at, (share, f1) in enumerate(points, 1)]
    caption = "All items get the first question before some get the next: each point is one depth. "
    found = _found(subject)
    if found is not None:
        by_prior, by_chance = (tuple(zip(_SHARES.tolist(), line.tolist(), strict=True)) for line in found)
        marks.append(Line(points=by_prior, name=f"{_RECALL}, likeliest first"))
        marks.append(Line(points=by_chance, name=f"{_RECALL}, any order", tone=Tone.QUIET, is_dashed=True))
        half = float(np.interp(0.5, _SHARES, found[0]) / max(found[0][-1], 1e-9))
        caption += (
            "The lines ask items one after the other to their end, likeliest by the prior first: half of the calls "
            f"find {half:.0%} of what all of them find."
        )
        rows += [("likeliest first", f"{share:.0%}", f"{recall:.3f}", "-") for share, recall in by_prior[::2]]
    return Chart(
        name="anytime",
        title="What is found before all calls are made",
        caption=caption,
        x=Axis.of_shares("share of the calls of a full run"),
        y=Axis.of_shares(f"{_RECALL}, or {_F1}"),
        marks=tuple(marks),
        table=Table(head=("order", "calls", _RECALL, _F1), rows=tuple(rows)),
    )


def _depths(subject: Subject) -> list[tuple[float, float]]:
    """Calls per item and macro F1 after each depth."""
    cascade, truths = subject.cascade, subject.scored.labels
    found = []
    for depth in range(1, OnlineProfile(cascade).n_levels + 1):
        at = replay(subject.run, depth)
        found.append((float(at.calls.mean()), macro_f1(at.confusion(truths, len(cascade.labels)))))
    return found


def _found(subject: Subject) -> tuple[Array, Array] | None:
    """Mean recall per task at each share of its calls, by the prior and in any order; None where all are alike.

    What a prior stage settles takes no call, so it is there from the start.
    """
    expected = OnlineProfile(subject.cascade)
    likely = np.array([expected.p_matters(item) for item in subject.items])
    first = np.array([item.priority for item in subject.items])
    if not subject.matters.any() or (np.unique(likely).size == 1 and np.unique(first).size == 1):
        return None
    order = np.lexsort((-likely, -first, subject.replayed.calls > 0, subject.scored.tasks))
    tasks, calls = subject.scored.tasks[order], subject.replayed.calls[order]
    hits = (subject.kept & subject.matters)[order]
    lines, ends = [], []
    for rows in np.split(np.arange(order.size), np.flatnonzero(np.diff(tasks)) + 1):
        n_mattering = int(subject.matters[order[rows]].sum())
        if n_mattering:
            spent = np.cumsum(calls[rows])
            done = np.searchsorted(spent, _SHARES * spent[-1] + 1e-9, side="right")
            recalls = np.concatenate(([0], np.cumsum(hits[rows]))) / n_mattering
            lines.append(recalls[done])
            ends.append((recalls[done[0]], recalls[-1]))
    start, end = np.mean(ends, axis=0)
    return np.mean(lines, axis=0), start + _SHARES * (end - start)


_TONES = {"accuracy": Tone.QUIET, Figure.MACRO_F1_OVER_ROWS: Tone.SECOND, Figure.RECALL_OVER_ROWS: Tone.FIRST}


def budgets(rows: Sequence[Mapping[str, Any]]) -> Chart:
    """What budgets buy, as ``cascade depth`` measured it.

    Args:
        rows: At least one row of ``Findings.anytime``.
    """
    marks: list[Mark] = []
    for key, name in QUALITY.items():
        tone = _TONES[key]
        known = [(float(row["budget_ms"]), float(row[key])) for row in rows if row[key] is not None]
        if known:
            texts = tuple(f"{name} {value:.3f} in {ms:.0f} ms" for ms, value in known)
            marks += [
                Line(points=tuple(known), tone=tone),
                Dots(points=tuple(known), texts=texts, name=name, tone=tone),
            ]
    cells = [(f"{row['budget_ms']:.0f}", f"{row['share']:.0%}", *(_shown(row[key]) for key in QUALITY)) for row in rows]
    return Chart(
        name="budgets",
        title="What a time budget buys",
        caption="Every request was given so much time, measured on the machine that `cascade depth` ran on.",
        x=Axis.of_numbers("budget of a request, ms", [float(row["budget_ms"]) for row in rows], 0.0),
        y=Axis.of_shares("quality"),
        marks=tuple(marks),
        table=Table(head=("ms", "of a full run", *QUALITY.values()), rows=tuple(cells)),
    )


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
