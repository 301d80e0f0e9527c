"""The names of figures, the same in options, files, JSON and text: a metric, and what its mean is over."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from cascade.errors import InputError


class Figure(StrEnum):
    """The one name of each figure that can be meant over rows or per task: in JSON, files and options, and as words.

    Over rows, the items of all tasks are put together. Per task, it is the mean over tasks of each task's own.
    """

    RECALL_OVER_ROWS = "recall_over_rows"
    RECALL_PER_TASK = "recall_per_task"
    RECALL_OR_HANDED_ON_OVER_ROWS = "recall_or_handed_on_over_rows"
    RECALL_OR_HANDED_ON_PER_TASK = "recall_or_handed_on_per_task"
    PRECISION_OVER_ROWS = "precision_over_rows"
    PRECISION_PER_TASK = "precision_per_task"
    F1_OVER_ROWS = "f1_over_rows"
    MACRO_F1_OVER_ROWS = "macro_f1_over_rows"
    MACRO_F1_PER_TASK = "macro_f1_per_task"
    ACCURACY_AMONG_ANSWERED_OVER_ROWS = "accuracy_among_answered_over_rows"
    ACCURACY_AMONG_ANSWERED_PER_TASK = "accuracy_among_answered_per_task"
    AUC_OVER_ROWS = "auc_over_rows"
    AUC_PER_TASK = "auc_per_task"

    @property
    def words(self) -> str:
        """The name in text, such as ``macro F1 per task`` or ``recall over all rows``."""
        words = str(self).replace("over_rows", "over_all_rows").replace("_", " ")
        return words.replace("f1", "F1").replace("auc", "AUC")

    @property
    def one(self) -> str:
        """The name in text with its article, such as ``a recall per task`` or ``an accuracy per task``."""
        return f"an {self.words}" if self.words[0] in "aAF" else f"a {self.words}"


class Metric(StrEnum):
    """A metric of one task, in [0, 1].

    ``recall``: the share of what matters that is kept; a task with nothing to find has none and is left out.
    ``recall_or_handed_on``: the share of what matters that is kept or handed on as uncertain; likewise.
    ``precision``: the share of what is kept that matters; 1 for a task that keeps nothing.
    ``accuracy_among_answered``: the share of what is not handed on that has its true label; 1 for a task that answers
    nothing. One minus it is the error among what is answered.
    ``macro_f1``: the mean F1 of the labels that a task has, as truth or as answer.
    """

    RECALL = "recall"
    PRECISION = "precision"
    MACRO_F1 = "macro_f1"
    RECALL_OR_HANDED_ON = "recall_or_handed_on"
    ACCURACY_AMONG_ANSWERED = "accuracy_among_answered"


RECALLS = frozenset({Metric.RECALL, Metric.RECALL_OR_HANDED_ON})
"""The metrics of what matters alone."""

OF_HANDED_ON = frozenset({Metric.RECALL_OR_HANDED_ON, Metric.ACCURACY_AMONG_ANSWERED})
"""The metrics that handing an item on can only raise."""


class Unit(StrEnum):
    """What the mean is over.

    ``task``: tasks; each counts the same.
    ``row``: items, those of all tasks together; tasks are still what is drawn and tested.
    """

    TASK = "task"
    ROW = "row"

    @property
    def suffix(self) -> str:
        """The end of a figure's name, behind the metric."""
        return "per_task" if self is Unit.TASK else "over_rows"


def figure_of(metric: Metric, unit: Unit) -> Figure:
    """The name of a metric over a unit.

    Raises:
        InputError: Macro F1 over rows.
    """
    if metric is Metric.MACRO_F1 and unit is Unit.ROW:
        msg = "A macro F1 over rows is no mean, so none can be guaranteed. Give --unit task, or macro_f1_per_task."
        raise InputError(msg)
    return Figure(f"{metric}_{unit.suffix}")


GUARANTEED: Mapping[Figure, tuple[Metric, Unit]] = {
    figure_of(metric, unit): (metric, unit)
    for metric in Metric
    for unit in Unit
    if (metric, unit) != (Metric.MACRO_F1, Unit.ROW)
}
"""Figures that can be guaranteed, each with its metric and unit."""
