"""The metrics that can be guaranteed: recall, precision, macro F1 and their like, per task or over rows. Pure numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cascade.config.figures import RECALLS, Metric, Unit, figure_of
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import Array, Bools
from cascade.tree import Cascade

Labels = NDArray[np.int16]
"""A label's place in the cascade's labels, for each row."""


def kept_labels(cascade: Cascade) -> Bools:
    """Whether each label keeps its items: neither dropped nor handed on; (n_labels,)."""
    return np.array([label in cascade.answers and label != cascade.dropped for label in cascade.labels])


def handed_on_labels(cascade: Cascade) -> Bools:
    """Whether only uncertain answers lead to each label; (n_labels,)."""
    return np.array([label in cascade.handed_on for label in cascade.labels])


class TaskMetric:
    """A metric of predicted labels on scored tasks.

    Args:
        cascade: Its labels.
        scored: The tasks, with their true labels.
        metric: Which.
        unit: Whether the mean is over tasks or over rows.

    Attributes:
        chosen: Numbers of the tasks for which the metric is defined; (n_tasks,).
        n_tasks: How many those are.
        rows: Indices of the rows that count; (n,).
        task: Index in ``chosen`` of the task of each of those rows; (n,).

    Raises:
        InputError: Macro F1 over rows, which cannot be guaranteed.
    """

    def __init__(self, cascade: Cascade, scored: ScoredTasks, metric: Metric, unit: Unit = Unit.TASK) -> None:
        figure_of(metric, unit)  # refuses a macro F1 of rows
        self._metric, self._unit = metric, unit
        self._is_kept, self._is_handed_on = kept_labels(cascade), handed_on_labels(cascade)
        matters = scored.is_positive(cascade)
        self.rows = np.flatnonzero(matters) if metric in RECALLS else np.arange(scored.tasks.size)
        self.chosen, self.task = np.unique(scored.tasks[self.rows], return_inverse=True)
        self.n_tasks = self.chosen.size
        self._matters, self._truths = matters[self.rows], scored.labels[self.rows]
        self._sizes = np.bincount(self.task, minlength=self.n_tasks)
        size = len(cascade.labels)
        self._of_label = np.bincount(self.task * size + self._truths, minlength=self.n_tasks * size)
        self._of_label = self._of_label.reshape(self.n_tasks, size).T

    @property
    def largest(self) -> int:
        """The most items that count in one task."""
        return int(self._sizes.max(initial=1))

    def parts(self, labels: Labels) -> list[Bools]:
        """The indicators that the metric sums, one value for each of ``rows``.

        Args:
            labels: The label given to each row of all; (n_all,).
        """
        given = labels[self.rows]
        if self._metric is Metric.MACRO_F1:
            labelled = [given == label for label in range(self._is_kept.size)]
            return labelled + [given_so & (self._truths == label) for label, given_so in enumerate(labelled)]
        if self._metric is Metric.ACCURACY_AMONG_ANSWERED:
            answered = ~self._is_handed_on[given]
            return [answered, answered & (given == self._truths)]
        kept = self._is_kept[given]
        if self._metric is Metric.RECALL_OR_HANDED_ON:
            return [kept | self._is_handed_on[given]]
        return [kept] if self._metric is Metric.RECALL else [kept, kept & self._matters]

    def counts(self, labels: Labels) -> list[Array]:
        """The parts summed by task; (n_tasks, 1) each."""
        by_task = [np.bincount(self.task, part, self.n_tasks) for part in self.parts(labels)]
        return [np.asarray(sums, np.float64)[:, None] for sums in by_task]

    def values(self, counts: list[Array]) -> Array:
        """The metric of each task, in [0, 1]; (n_tasks, any).

        Args:
            counts: The parts, summed by task; (n_tasks, any) each.
        """
        if self._metric is Metric.MACRO_F1:
            half = len(counts) // 2
            total = np.stack(counts[:half]) + self._of_label[:, :, None]
            f1 = np.divide(2 * np.stack(counts[half:]), total, out=np.zeros(total.shape), where=total > 0)
            return np.asarray(f1.sum(axis=0) / (total > 0).sum(axis=0))
        hits, of = self._shares(counts)
        return np.divide(hits, of, out=np.ones(hits.shape), where=of > 0)

    def means(self, counts: list[Array]) -> Array:
        """The mean of the metric over tasks, or the metric over all rows; (any,)."""
        if self._unit is Unit.TASK:
            return np.asarray(self.values(counts).mean(axis=0))
        hits, of = (np.asarray(part.sum(axis=0)) for part in self._shares(counts))
        return np.asarray(np.divide(hits, of, out=np.ones(hits.shape), where=of > 0))

    def losses(self, counts: list[Array], level: float, largest: int) -> Array:
        """Losses in [0, 1] whose mean exceeds 1 - level exactly if the metric is below ``level``; (n_tasks, any).

        By row, a task with a hits of b loses (level * b - a) / largest more than 1 - level: over tasks the mean of
        that is above 0 where the hits of all rows are a smaller share than ``level``, however a task's rows depend
        on each other.

        Args:
            counts: The parts, summed by task.
            level: What is guaranteed.
            largest: The most rows that one task may have that count; for rows alone.
        """
        if self._unit is Unit.TASK:
            return np.asarray(1 - self.values(counts))
        hits, of = self._shares(counts)
        return np.asarray(np.clip(1 - level + (level * of - hits) / largest, 0, 1))

    def _shares(self, counts: list[Array]) -> tuple[Array, Array]:
        """Numerator and denominator of the metric for each task; (n_tasks, any) each."""
        if self._metric in RECALLS:
            return counts[0], np.broadcast_to(self._sizes[:, None], counts[0].shape).astype(float)
        return counts[1], counts[0]
