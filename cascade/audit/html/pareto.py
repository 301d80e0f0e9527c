"""What missing little costs: calls and false positives against recall, with the thresholds in use. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade.audit.html.chart import Axis, Chart, Dots, Line, Mark, Table, Tone
from cascade.audit.html.subject import Subject
from cascade.config.figures import Figure, Metric
from cascade.evaluation.replay import Outcome, deciding, own_thresholds
from cascade.evaluation.targets import TaskMetric
from cascade.tuning.pareto import best_of_each_level
from cascade.tuning.threshold_grid import Cost, Objective, ThresholdGrid, free_keys, safest

_RECALL = Figure.RECALL_PER_TASK.words
_LOWEST = 0.5  # recall down to which the front is searched
_SPREAD = 0.1  # of recall, within which the front may be coarse
_MOST_POINTS = 40
_WORDS = {Cost.CALLS: ("calls", "calls per item"), Cost.FALSE_POSITIVES: ("false alarms", "false positives per item")}


def pareto_fronts(subject: Subject, guaranteed: float | None = None) -> list[Chart]:
    """The front of each cost that thresholds change; none where they decide nothing or nothing matters.

    Args:
        subject: What it is about.
        guaranteed: The recall per task that the thresholds were tuned for; None where they were not.
    """
    recall = subject.recall(subject.kept)
    if recall is None or not deciding(subject.cascade):
        return []
    own = Outcome(
        recall_per_task=recall,
        calls=float(subject.replayed.calls.mean()),
        false_positives=float((subject.kept & ~subject.matters).mean()),
    )
    found = {cost: _front(subject, cost) for cost in _WORDS}
    return [_chart(cost, outcomes, own, guaranteed) for cost, outcomes in found.items() if len(outcomes) > 1]


def _chart(cost: Cost, outcomes: Sequence[Outcome], own: Outcome, guaranteed: float | None) -> Chart:
    name, unit = _WORDS[cost]
    words = f"{_RECALL} of {own.recall_per_task:.3f} at {_of(cost, own):.2f} {unit}"
    marks: list[Mark] = [
        Line(points=tuple((_of(cost, found), found.recall_per_task) for found in outcomes), name="cheapest thresholds"),
        Dots(
            points=((_of(cost, own), own.recall_per_task),),
            texts=(words,),
            name="in use",
            tone=Tone.SECOND,
            is_large=True,
        ),
    ]
    x = Axis.of_numbers(unit, [_of(cost, found) for found in (*outcomes, own)])
    caption = f"The thresholds in use come to a {words}. "
    if guaranteed is not None:
        ends = ((x.low, guaranteed), (x.high, guaranteed))
        marks.insert(0, Line(points=ends, name="guaranteed", tone=Tone.QUIET, is_dashed=True))
        caption += f"Guaranteed was a {_RECALL} of {guaranteed:g}. "
    least = min(own.recall_per_task, *(found.recall_per_task for found in outcomes), guaranteed or 1.0)
    return Chart(
        name=f"front-{name.replace(' ', '-')}",
        title=f"What missing little costs in {name}",
        caption=f"{caption}The line is found and measured on the same tasks, so it flatters a little.",
        x=x,
        y=Axis.of_shares(_RECALL, float(np.floor(least * 10) / 10), 1.0),
        marks=tuple(marks),
        table=_table(outcomes, own),
    )


def _of(cost: Cost, outcome: Outcome) -> float:
    return outcome.calls if cost is Cost.CALLS else outcome.false_positives


def _front(subject: Subject, cost: Cost) -> list[Outcome]:
    """Outcomes of the searched path, from cheap to dear, each better than the one before."""
    cascade, measured = subject.cascade, subject.run
    own, free = own_thresholds(cascade), free_keys(cascade, Metric.RECALL)
    task_metric = TaskMetric(cascade, subject.scored, Metric.RECALL)
    threshold_grid = ThresholdGrid(measured, task_metric, Objective(cost), own, free)
    starts = [threshold_grid.nearest(own | {key: safest(cascade, key) for key in free}), threshold_grid.nearest(own)]
    _, path = best_of_each_level(threshold_grid, starts, _LOWEST, _SPREAD)
    chosen = np.unique(np.linspace(0, len(path) - 1, _MOST_POINTS).round().astype(int))
    outcomes = [measured.outcome(threshold_grid.at(path[at])) for at in chosen]
    found: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda each: (_of(cost, each), -each.recall_per_task)):
        if not found or outcome.recall_per_task > found[-1].recall_per_task:
            found.append(outcome)
    return found


def _table(outcomes: Sequence[Outcome], own: Outcome) -> Table:
    rows = [("in use", own), *(("cheapest", outcome) for outcome in outcomes[::-3])]
    return Table(
        head=("thresholds", _RECALL, "calls per item", "false positives per item"),
        rows=tuple(
            (name, f"{at.recall_per_task:.3f}", f"{at.calls:.3f}", f"{at.false_positives:.3f}") for name, at in rows
        ),
    )
