"""Replays a cascade on given scores, under any thresholds, without asking a model. Pure numpy.

Answers equal those that an engine gives item by item; here all rows are led down the tree together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from cascade.config.figures import Metric
from cascade.engine.online_profile import OnlineProfile
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.evaluation.targets import Labels, TaskMetric
from cascade.probability import Array, Bools, Ints
from cascade.stages import LOWER, UPPER, PriorStage, Source, Stage, Target, combine
from cascade.tree import Cascade

Thresholds = Mapping[Key, float]
"""(stage, tier) -> threshold, yes from there on; a prior stage has ``LOWER`` and ``UPPER`` in place of tiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Predicted costs of an item, in milliseconds.

    Attributes:
        item: Cost of reading an item, paid once if it is asked at least one question.
        questions: (stage, tier) -> cost of that question.
    """

    item: float = 0.0
    questions: Mapping[Key, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Metrics and costs of thresholds on labelled tasks.

    Attributes:
        recall_per_task: Mean over tasks of the share of positives that was kept, in [0, 1]; NaN without positives.
        calls: Queries per item.
        false_positives: Items kept that do not matter, per item.
        precision_per_task: Mean over tasks of the share of what was kept that matters; 1 for a task that keeps nothing.
        macro_f1_per_task: Mean over tasks of the mean F1 of the labels that a task has, as truth or as answer.
        misses: Share of all that matters that was not kept, tasks put together; 0 where nothing matters.
        ms: Predicted milliseconds per item; 0 without prices.
    """

    recall_per_task: float
    calls: float
    false_positives: float
    precision_per_task: float = float("nan")
    macro_f1_per_task: float = float("nan")
    misses: float = 0.0
    ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """The label of each row, and how the row got it.

    Attributes:
        labels: The label given, as its index in the cascade's labels; (n,).
        costs: Cost of all questions that the row was asked, in queries or milliseconds; (n,).
        reached: Stage -> whether each row was asked it; (n,).
        answers: Stage -> its answer to each row, also where it was not asked; (n,).
    """

    labels: Labels
    costs: Array
    reached: Mapping[str, Bools]
    answers: Mapping[str, Bools]

    def confusion(self, truths: Ints, n_labels: int) -> Ints:
        """Rows are truths, columns answers; (n_labels, n_labels)."""
        counts = np.bincount(truths * n_labels + self.labels, minlength=n_labels**2)
        return np.asarray(counts.reshape(n_labels, n_labels), np.int64)


class Replay:
    """Runs a cascade on scored tasks.

    Args:
        cascade: The cascade.
        scored: Its scores; at least one row.
        priors: Prior probability of each row for the prior stage, NaN if a row has none; None for ``known_priors``.
        prices: Predicted costs of an item; for ``Outcome.ms`` alone.

    Attributes:
        cascade: The cascade.
        scored: Its scores.
        p: Stage -> p(yes) by tier, NaN where a row is not asked; (n, tiers).
        asked: Stage -> whether each row is asked in each tier; (n, tiers).
        matters: Whether each row is a positive by its true label; (n,).
        prices: Predicted costs of an item.
        priors: Prior probability of each row; (n,).
        n_tasks: Tasks with at least one item that matters; only they have a recall.
    """

    def __init__(
        self, cascade: Cascade, scored: ScoredTasks, priors: Array | None = None, prices: Prices | None = None
    ) -> None:
        self.cascade, self.scored, self.prices = cascade, scored, prices or Prices()
        self.p = {
            stage.name: np.stack([scored.p[stage.name, tier] for tier in stage.questions], axis=1)
            for stage in cascade.stages
        }
        self.asked = {name: ~np.isnan(p) for name, p in self.p.items()}
        self.priors = priors if priors is not None else known_priors(cascade, scored)
        self.matters = scored.is_positive(cascade)
        self.is_kept = np.array([label != cascade.dropped for label in cascade.labels])
        self._order, self._expected = cascade.in_order(), OnlineProfile(cascade)
        self._place = {label: at for at, label in enumerate(cascade.labels)}
        self._task_metrics = {metric: TaskMetric(cascade, scored, metric) for metric in Metric}
        self.n_tasks = self._task_metrics[Metric.RECALL].n_tasks

    def outcome(self, thresholds: Thresholds) -> Outcome:
        """Metrics and costs under thresholds."""
        answers, settled = self.all_answers(thresholds), self.settled(thresholds)
        walk = self.walk(answers, settled, self.calls())
        kept, n_rows = self.is_kept[walk.labels], walk.labels.size
        means = {
            name: float(task_metric.means(task_metric.counts(walk.labels))[0]) if task_metric.n_tasks else float("nan")
            for name, task_metric in self._task_metrics.items()
        }
        ms = 0.0
        if self.prices.questions:
            ms = float(self.walk(answers, settled, self.ms(), self.prices.item).costs.mean())
        return Outcome(
            recall_per_task=means[Metric.RECALL],
            precision_per_task=means[Metric.PRECISION],
            macro_f1_per_task=means[Metric.MACRO_F1],
            calls=float(walk.costs.mean()),
            false_positives=int((kept & ~self.matters).sum()) / n_rows,
            misses=int((self.matters & ~kept).sum()) / max(int(self.matters.sum()), 1),
            ms=ms,
        )

    def labels(self, thresholds: Thresholds) -> Labels:
        """The label of each row, as its index in the cascade's labels."""
        return self.walk(self.all_answers(thresholds), self.settled(thresholds), {}).labels

    def losses(self, thresholds: Thresholds) -> Array:
        """1 - recall of each task that has something to find, in the tasks' order; (n_tasks,)."""
        task_metric = self._task_metrics[Metric.RECALL]
        return np.asarray(1 - task_metric.values(task_metric.counts(self.labels(thresholds)))[:, 0])

    def answers(self, stage: Stage, thresholds: Thresholds) -> Bools:
        """The stage's answer for every row."""
        limits = np.array([thresholds[stage.name, tier] for tier in stage.questions])
        return combine(stage.combine, self.p[stage.name], limits)

    def all_answers(self, thresholds: Thresholds) -> dict[str, Bools]:
        """Every stage's answer for every row, also where it is not reached."""
        return {stage.name: self.answers(stage, thresholds) for stage in self.cascade.stages}

    def settled(self, thresholds: Thresholds) -> tuple[Bools, Bools] | None:
        """The rows that the prior stage answers with no, and those with yes; None if there is no prior stage."""
        stage = self.cascade.prior_stage
        if stage is None:
            return None
        lower, upper = thresholds[stage.name, LOWER], thresholds[stage.name, UPPER]
        return self.priors < lower, self.priors >= upper

    def calls(self) -> dict[str, Array]:
        """Stage -> number of queries for each row."""
        return {name: asked.sum(axis=1).astype(float) for name, asked in self.asked.items()}

    def ms(self) -> dict[str, Array]:
        """Stage -> predicted milliseconds of its questions for each row."""
        of = self.prices.questions
        return {
            stage.name: self.asked[stage.name] @ np.array([of.get((stage.name, tier), 0.0) for tier in stage.questions])
            for stage in self.cascade.stages
        }

    def at_own_thresholds(self, depth: int | None = None) -> Outcomes:
        """Outcomes at the cascade's own thresholds, with queries as costs.

        Args:
            depth: As in ``walk``.
        """
        own = own_thresholds(self.cascade)
        return self.walk(self.all_answers(own), self.settled(own), self.calls(), depth=depth)

    def walk(
        self,
        answers: Mapping[str, Bools],
        settled: tuple[Bools, Bools] | None,
        costs: Mapping[str, Array],
        entry: float = 0.0,
        depth: int | None = None,
    ) -> Outcomes:
        """Lead every row down the tree.

        Args:
            answers: Stage -> its answer for each row.
            settled: The rows that the prior stage answers with no, and with yes; None where there is none.
            costs: Stage -> its cost for each row; stages that are missing cost nothing.
            entry: Cost of a row that is asked at least one question.
            depth: Stages after which a row stops, with the likeliest label of rows that stand there; None for no limit.
        """
        cascade, n = self.cascade, self.matters.size
        here = {stage.name: np.zeros(n, np.bool_) for stage in cascade.stages}
        labels, spent = np.zeros(n, np.int16), np.zeros(n)
        n_passed = np.zeros(n, np.int16)

        def lead(rows: Bools, target: Target) -> None:
            if target.is_label:
                labels[rows] = self._place[target.name]
            else:
                here[target.name] |= rows

        for rows, target in _starts(cascade, settled, n):
            lead(rows, target)
        for stage in self._order:
            rows, yes = here[stage.name], answers[stage.name]
            if depth is not None:
                stops = rows & (n_passed >= depth)
                labels[stops] = self._place[self._expected.likeliest(stage)[0]]
                here[stage.name] = rows = rows & ~stops
                n_passed += rows
            if stage.name in costs:
                spent += np.where(rows, costs[stage.name], 0.0)
            lead(rows & yes, stage.yes)
            lead(rows & ~yes, stage.no)
        if entry:
            spent += entry * np.any(list(here.values()), axis=0)
        return Outcomes(labels=labels, costs=spent, reached=here, answers=answers)


def _starts(cascade: Cascade, settled: tuple[Bools, Bools] | None, n: int) -> list[tuple[Bools, Target]]:
    """Targets after the prior stage, each with the rows that it leads there; the first stage for all other rows."""
    first, prior = Target(cascade.first.name, is_label=False), cascade.prior_stage
    if prior is None or settled is None:
        return [(np.ones(n, np.bool_), first)]
    no, yes = settled
    return [(~(no | yes), first), (no & ~yes, prior.no), (yes, prior.yes)]


def known_priors(cascade: Cascade, scored: ScoredTasks) -> Array:
    """Prior probability of each row for the prior stage; NaN if the row has none, or there is no prior stage.

    A prior that weighs evidence must have been fitted to features of this table; for any other use ``priors_of``.
    """
    stage = cascade.prior_stage
    nothing = np.full(scored.tasks.size, np.nan)
    if stage is None:
        return nothing
    if stage.source is Source.CALLER:
        return scored.priors if scored.priors is not None else nothing
    if stage.prior is None or scored.features is None:
        return nothing
    return scored.features.p_matters(stage.prior)


def deciding(cascade: Cascade) -> list[Stage]:
    """The stages whose answer can change whether an item is kept; recall depends on these alone."""
    ends: dict[Target, set[bool]] = {Target(name, is_label=True): {name == cascade.dropped} for name in cascade.labels}
    for stage in cascade.in_order()[::-1]:
        ends[Target(stage.name, is_label=False)] = ends[stage.yes] | ends[stage.no]
    return [stage for stage in parting(cascade) if len(ends[Target(stage.name, is_label=False)]) > 1]


def parting(cascade: Cascade) -> list[Stage]:
    """The stages whose two answers lead to different targets; no result depends on the others."""
    return [stage for stage in cascade.stages if stage.yes != stage.no]


def own_thresholds(cascade: Cascade) -> dict[Key, float]:
    """The thresholds that a cascade has, those of its prior stage included."""
    own = {
        (stage.name, tier): question.threshold for stage in cascade.stages for tier, question in stage.questions.items()
    }
    prior: PriorStage | None = cascade.prior_stage
    if prior is not None:
        own |= {(prior.name, LOWER): prior.lower, (prior.name, UPPER): prior.upper}
    return own
