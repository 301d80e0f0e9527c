"""What a report is about: one run of a cascade on labelled tasks, with the figures that charts show. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cascade.audit.label_noise import cross_fitted_p
from cascade.audit.questions import QuestionRows, question_rows
from cascade.config.figures import Metric
from cascade.engine.online_profile import OnlineProfile
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import CalibrationMetrics, HandedOn, equal_mass_bins, macro_f1
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import Outcome, Outcomes, Replay, deciding, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.items import Item
from cascade.probability import Array, Bools, Ints
from cascade.stages import Stage
from cascade.tree import Cascade
from cascade.tuning.free_thresholds import free_keys, placed, safest
from cascade.tuning.objective import Cost, Objective
from cascade.tuning.pareto import best_of_each_level
from cascade.tuning.threshold_grid import ThresholdGrid

SHARES = np.linspace(0, 1, 21)
"""Shares of the calls at which ``Subject.recall_by_share`` tells the recall."""

_N_BINS = 10  # of p(yes), of equal mass
_LOWEST = 0.5  # recall down to which the front is searched
_SPREAD = 0.1  # of recall, within which the front may be coarse
_MOST_POINTS = 40

Bin = tuple[float, float, int]
"""Mean p(yes), share of rows where yes is true, rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How well one question's p(yes) is calibrated.

    Attributes:
        question: The question's rows; at least one.
        raw: Of the raw p(yes).
        calibrated: Of the calibrated one, each task by curves of other tasks.
        raw_bins: What the raw p(yes) said, and what came true.
        calibrated_bins: The same of the calibrated one.
    """

    question: QuestionRows
    raw: CalibrationMetrics
    calibrated: CalibrationMetrics
    raw_bins: tuple[Bin, ...]
    calibrated_bins: tuple[Bin, ...]

    @classmethod
    def of(cls, question: QuestionRows, calibrated: Array) -> Self:
        """Of a question's rows and their calibrated p(yes)."""
        truths = question.truths.astype(float)
        return cls(
            question=question,
            raw=CalibrationMetrics.of(question.p, truths, question.tasks),
            calibrated=CalibrationMetrics.of(calibrated, truths, question.tasks),
            raw_bins=_bins(question.p, truths),
            calibrated_bins=_bins(calibrated, truths),
        )


def _bins(p: Array, truths: Array) -> tuple[Bin, ...]:
    numbers = equal_mass_bins(p, _N_BINS)
    parts = [numbers == number for number in np.unique(numbers)]
    return tuple((float(p[part].mean()), float(truths[part].mean()), int(part.sum())) for part in parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Labelled tasks as a cascade leaves them.

    Attributes:
        cascade: The cascade.
        scored: Its scores; a row is an item.
        tasks: The tasks, each with at least one item.
        items: Their items, one a row.
        questions: What each question says of which rows.
        calibrations: Of every question that has a row.
        run: The cascade on these scores, at any thresholds.
        replayed: What the rows are given and asked at its own.
        matters: Whether the true label of each row is another than the dropped one.
    """

    cascade: Cascade
    scored: ScoredTasks
    tasks: tuple[Labelled, ...]
    items: tuple[Item, ...]
    questions: tuple[QuestionRows, ...]
    calibrations: tuple[Calibration, ...]
    run: Replay
    replayed: Outcomes
    matters: Bools

    @classmethod
    def of(cls, cascade: Cascade, scored: ScoredTasks, tasks: Sequence[Labelled]) -> Self:
        """From scores and the tasks that were scored, in their order.

        Raises:
            InputError: No task has an item, or the scores are not of these tasks.
        """
        if len(tasks) != scored.n_tasks or sum(len(labelled.items) for labelled in tasks) != scored.tasks.size:
            msg = (
                f"Scored: {counted(scored.n_tasks, 'task')} with {counted(scored.tasks.size, 'item')}; given: "
                f"{counted(len(tasks), 'task')}, and not the same. Give the tasks that were scored, in their order."
            )
            raise InputError(msg)
        if not scored.tasks.size:
            msg = "No task has an item, so there is nothing to show. Give labelled tasks with items."
            raise InputError(msg)
        scored = scored.take(np.unique(scored.tasks))
        filled = tuple(labelled for labelled in tasks if labelled.items)
        items = tuple(item for labelled in filled for item in labelled.items)
        run = Replay(cascade, scored, priors_of(cascade, items))
        questions, calibrated = tuple(question_rows(cascade, scored)), cross_fitted_p(cascade, scored)
        return cls(
            cascade=cascade,
            scored=scored,
            tasks=filled,
            items=items,
            questions=questions,
            calibrations=tuple(
                Calibration.of(rows, calibrated[rows.key][rows.rows]) for rows in questions if rows.p.size
            ),
            run=run,
            replayed=run.at_own_thresholds(),
            matters=run.matters,
        )

    def stage(self, name: str) -> Stage:
        """A stage by its name, the prior stage among them."""
        prior = self.cascade.prior_stage
        return prior if prior is not None and prior.name == name else self.cascade.stage(name)

    @property
    def calls(self) -> Ints:
        """How many questions each row was asked; (n,)."""
        return self.replayed.costs.astype(np.int64)

    @property
    def predicted_positive(self) -> Bools:
        """Whether each row is kept: the label given is neither the dropped one nor one of what is handed on; (n,)."""
        return self.run.is_kept[self.replayed.labels]

    @property
    def handed_on(self) -> list[tuple[str, float | None]]:
        """What is handed on as uncertain, in words; nothing where nothing can be."""
        if not self.cascade.handed_on:
            return []
        place = self.cascade.labels.index
        columns = [place(label) for label in self.cascade.handed_on]
        found = HandedOn.of(self.confusion, place(self.cascade.dropped), columns)
        return [
            ("handed on as uncertain", found.share),
            ("of what matters, handed on", found.of_mattering),
            ("of what is answered, wrong", found.error_among_answered),
        ]

    @property
    def confusion(self) -> Ints:
        """How many rows of each true label (rows) were given which label (columns)."""
        return self.replayed.confusion(self.scored.labels, len(self.cascade.labels))

    @property
    def outcome(self) -> Outcome | None:
        """What the thresholds in use come to; None where nothing matters."""
        recall = self.recall(self.predicted_positive)
        if recall is None:
            return None
        return Outcome(
            recall_per_task=recall,
            calls=float(self.calls.mean()),
            false_positives=float((self.predicted_positive & ~self.matters).mean()),
        )

    def recall(self, found: Bools) -> float | None:
        """Mean over tasks of the share of what matters that was found; None where nothing matters."""
        if not self.matters.any():
            return None
        _, numbers = np.unique(self.scored.tasks[self.matters], return_inverse=True)
        return float((np.bincount(numbers, found[self.matters]) / np.bincount(numbers)).mean())

    def front(self, cost: Cost) -> list[Outcome]:
        """What the best thresholds come to, from cheap to dear, each with more recall than the one before.

        Returns:
            Nothing where thresholds decide nothing, or nothing matters.
        """
        if not self.matters.any() or not deciding(self.cascade):
            return []
        own, free = own_thresholds(self.cascade), free_keys(self.cascade, Metric.RECALL)
        if not free:
            return []
        task_metric = TaskMetric(self.cascade, self.scored, Metric.RECALL)
        grid = ThresholdGrid(self.run, task_metric, Objective(cost), own, free)
        safe = {key: safest(self.cascade, key, Metric.RECALL) for key in free}
        starts = [grid.nearest(placed(own, safe)), grid.nearest(own)]
        _, path = best_of_each_level(grid, starts, _LOWEST, _SPREAD)
        chosen = np.unique(np.linspace(0, len(path) - 1, _MOST_POINTS).round().astype(int))
        outcomes = [self.run.outcome(grid.at(path[at])) for at in chosen]
        found: list[Outcome] = []
        for outcome in sorted(outcomes, key=lambda each: (cost_of(cost, each), -each.recall_per_task)):
            if not found or outcome.recall_per_task > found[-1].recall_per_task:
                found.append(outcome)
        return found

    def depths(self) -> list[tuple[float, float]]:
        """Share of the calls of a full run that each depth takes, and the macro F1 over rows that it comes to."""
        truths, n_labels = self.scored.labels, len(self.cascade.labels)
        runs = [self.run.at_own_thresholds(depth) for depth in range(1, OnlineProfile(self.cascade).n_levels + 1)]
        full = max(float(runs[-1].costs.mean()), 1e-9)
        return [(float(run.costs.mean()) / full, macro_f1(run.confusion(truths, n_labels))) for run in runs]

    def recall_by_share(self) -> tuple[Array, Array] | None:
        """Mean recall per task after each of ``SHARES`` of its calls: items likeliest first, and in any order.

        Items are asked one after the other to their end. What a prior stage settles takes no call, so it is there
        from the start.

        Returns:
            None where nothing matters, or the prior holds all items for equally likely.
        """
        expected = OnlineProfile(self.cascade)
        likely = np.array([expected.p_matters(item) for item in self.items])
        first = np.array([item.priority for item in self.items])
        if not self.matters.any() or (np.unique(likely).size == 1 and np.unique(first).size == 1):
            return None
        order = np.lexsort((-likely, -first, self.calls > 0, self.scored.tasks))
        tasks, calls = self.scored.tasks[order], self.calls[order]
        hits = (self.predicted_positive & self.matters)[order]
        lines, ends = [], []
        for rows in np.split(np.arange(order.size), np.flatnonzero(np.diff(tasks)) + 1):
            n_mattering = int(self.matters[order[rows]].sum())
            if n_mattering:
                spent = np.cumsum(calls[rows])
                done = np.searchsorted(spent, SHARES * spent[-1] + 1e-9, side="right")
                recalls = np.concatenate(([0], np.cumsum(hits[rows]))) / n_mattering
                lines.append(recalls[done])
                ends.append((recalls[done[0]], recalls[-1]))
        start, end = np.mean(ends, axis=0)
        return np.mean(lines, axis=0), start + SHARES * (end - start)


def cost_of(cost: Cost, outcome: Outcome) -> float:
    """What an outcome costs an item, in calls or false positives."""
    return outcome.calls if cost is Cost.CALLS else outcome.false_positives
