"""What a cascade would answer under any thresholds, from scores that are there already. Pure numpy.

Answers equal those of ``Stage.is_yes`` and ``PriorStage.answer`` row by row; but no model is asked and no row is
looped over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cascade.config.figures import Metric
from cascade.engine.online_profile import OnlineProfile
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.evaluation.targets import Labels, TaskMetric
from cascade.stages import LOWER, UPPER, Combine, PriorStage, Source, Stage, Target
from cascade.tree import Cascade

Bools = NDArray[np.bool_]
Array = NDArray[np.float64]
Thresholds = Mapping[Key, float]
"""(stage, tier) -> threshold, yes from there on; a prior stage has ``LOWER`` and ``UPPER`` in place of tiers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What an item costs by what it is asked, in milliseconds.

    Attributes:
        item: Reading an item that is asked anything.
        questions: (stage, tier) -> asking it.
    """

    item: float = 0.0
    questions: Mapping[Key, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What thresholds come to on labelled tasks.

    Attributes:
        recall_per_task: Mean over tasks of the share of what matters that was kept, in [0, 1]; NaN where nothing does.
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


@dataclass(frozen=True, slots=True)
class Walk:
    """Where rows end, and what that takes.

    Attributes:
        labels: The label of each row.
        costs: What its way there costs.
    """

    labels: Labels
    costs: Array


class Replay:
    """Runs a cascade on scored tasks.

    Args:
        cascade: The cascade.
        scored: Its scores; at least one row.
        priors: What its prior stage goes by, NaN where nothing is known; None for what ``known_priors`` gives.
        prices: What an item costs; for ``Outcome.ms`` alone.

    Attributes:
        cascade: The cascade.
        scored: Its scores.
        prices: What an item costs.
        priors: What the prior stage goes by.
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
        self.matters = scored.kept(cascade)
        self.is_kept = np.array([label != cascade.dropped for label in cascade.labels])
        self._order = cascade.in_order()[::-1]
        self._task_metrics = {metric: TaskMetric(cascade, scored, metric) for metric in Metric}
        self.n_tasks = self._task_metrics[Metric.RECALL].n_tasks

    def outcome(self, thresholds: Thresholds) -> Outcome:
        """Measures and costs under thresholds."""
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
        """The label of each row, as its place in the cascade's labels."""
        return self.walk(self.all_answers(thresholds), self.settled(thresholds), {}).labels

    def losses(self, thresholds: Thresholds) -> Array:
        """1 - recall of each task that has something to find, in the tasks' order; (n_tasks,)."""
        task_metric = self._task_metrics[Metric.RECALL]
        return np.asarray(1 - task_metric.values(task_metric.counts(self.labels(thresholds)))[:, 0])

    def answers(self, stage: Stage, thresholds: Thresholds) -> Bools:
        """The stage's answer for every row."""
        p, asked = self.p[stage.name], self.asked[stage.name]
        limits = np.array([thresholds[stage.name, tier] for tier in stage.questions])
        if p.shape[1] == 1:
            return np.asarray(p[:, 0] >= limits[0])
        if stage.combine is Combine.MEAN:
            return np.asarray(np.where(asked, p, 0).sum(axis=1) >= np.where(asked, limits, 0).sum(axis=1))
        if stage.combine is Combine.MAX:
            best = np.where(asked, p, -1).argmax(axis=1)
            return np.asarray(p[np.arange(len(p)), best] >= limits[best])
        return np.asarray((p >= limits).any(axis=1))

    def all_answers(self, thresholds: Thresholds) -> dict[str, Bools]:
        """Every stage's answer for every row, also where it is not reached."""
        return {stage.name: self.answers(stage, thresholds) for stage in self.cascade.stages}

    def settled(self, thresholds: Thresholds) -> tuple[Bools, Bools] | None:
        """The rows that the prior stage answers with no, and those with yes; None where there is no prior stage."""
        stage = self.cascade.prior_stage
        if stage is None:
            return None
        lower, upper = thresholds[stage.name, LOWER], thresholds[stage.name, UPPER]
        return self.priors < lower, self.priors >= upper

    def calls(self) -> dict[str, Array]:
        """Stage -> queries that it takes for each row."""
        return {name: asked.sum(axis=1).astype(float) for name, asked in self.asked.items()}

    def ms(self) -> dict[str, Array]:
        """Stage -> milliseconds that its questions take for each row."""
        of = self.prices.questions
        return {
            stage.name: self.asked[stage.name] @ np.array([of.get((stage.name, tier), 0.0) for tier in stage.questions])
            for stage in self.cascade.stages
        }

    def walk(
        self,
        answers: Mapping[str, Bools],
        settled: tuple[Bools, Bools] | None,
        costs: Mapping[str, Array],
        entry: float = 0.0,
    ) -> Walk:
        """Where rows end.

        Args:
            answers: Stage -> its answer for each row.
            settled: The rows that the prior stage answers with no, and with yes.
            costs: Stage -> what it costs for each row; nothing where it is missing.
            entry: What being asked anything costs.
        """
        n_rows = self.matters.size
        ends: dict[Target, Walk] = {
            Target(label, is_label=True): Walk(np.full(n_rows, at, np.int8), np.zeros(n_rows))
            for at, label in enumerate(self.cascade.labels)
        }
        for stage in self._order:
            yes, no, answer = ends[stage.yes], ends[stage.no], answers[stage.name]
            cost = np.where(answer, yes.costs, no.costs) + costs.get(stage.name, 0.0)
            ends[Target(stage.name, is_label=False)] = Walk(np.where(answer, yes.labels, no.labels), cost)
        first = Target(self.cascade.first.name, is_label=False)
        prior = self.cascade.prior_stage
        found = ends[first]
        found = Walk(found.labels, found.costs + entry)
        if prior is not None and settled is not None:
            for rows, target in zip(settled, (prior.no, prior.yes), strict=True):
                end = ends[target]
                cost = end.costs if target.is_label else end.costs + entry
                found = Walk(np.where(rows, end.labels, found.labels), np.where(rows, cost, found.costs))
        return found


def known_priors(cascade: Cascade, scored: ScoredTasks) -> Array:
    """What the cascade's prior stage goes by for each row; NaN where nothing is known, or where there is none.

    A prior that goes by evidence must have been fitted to facts of this table; for any other there is ``priors_of``.
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
    """The stages whose answer can change whether an item is kept; recall depends on no other."""
    ends: dict[Target, set[bool]] = {Target(name, is_label=True): {name == cascade.dropped} for name in cascade.labels}
    for stage in cascade.in_order()[::-1]:
        ends[Target(stage.name, is_label=False)] = ends[stage.yes] | ends[stage.no]
    return [stage for stage in parting(cascade) if len(ends[Target(stage.name, is_label=False)]) > 1]


def parting(cascade: Cascade) -> list[Stage]:
    """The stages whose answers lead to different places; on no other does anything depend."""
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


Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Rows as a cascade leaves them.

    Attributes:
        labels: The label given, as its place in the cascade's labels; (n,).
        calls: Queries; (n,).
        answers: Stage -> its answer to each row; (n,).
        reached: Stage -> whether each row was asked it; (n,).
    """

    labels: Ints
    calls: Ints
    answers: dict[str, Bools]
    reached: dict[str, Bools]

    def confusion(self, truths: Ints, n_labels: int) -> Ints:
        """Rows are truths, columns answers; (n_labels, n_labels)."""
        counts = np.bincount(truths * n_labels + self.labels, minlength=n_labels**2)
        return np.asarray(counts.reshape(n_labels, n_labels), np.int64)


def replay(run: Replay, depth: int | None = None) -> Replayed:
    """Run a cascade on scores that are there already, at its own thresholds.

    Args:
        run: The cascade with its scores, and what its prior stage goes by for each row.
        depth: Stages after which items stop, with the label that is likeliest where they stand; None for no limit.
    """
    cascade, n = run.cascade, run.scored.tasks.size
    stages, places = cascade.in_order(), {label: at for at, label in enumerate(cascade.labels)}
    thresholds, cost = own_thresholds(cascade), run.calls()
    expected, settled, prior = OnlineProfile(cascade), run.settled(thresholds), cascade.prior_stage
    here = {stage.name: np.zeros(n, np.bool_) for stage in stages}
    labels, calls, n_passed = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)

    def lead(rows: Bools, target: Target) -> None:
        if target.is_label:
            labels[rows] = places[target.name]
        else:
            here[target.name] |= rows

    here[cascade.first.name][:] = True
    if prior is not None and settled is not None:
        here[cascade.first.name] &= ~(settled[0] | settled[1])
        for rows, target in zip(settled, (prior.no, prior.yes), strict=True):
            lead(rows, target)
    answers = {}
    for stage in stages:
        if depth is not None:
            stops = here[stage.name] & (n_passed >= depth)
            labels[stops] = places[expected.likeliest(stage)[0]]
            here[stage.name] &= ~stops
        rows, yes = here[stage.name], run.answers(stage, thresholds)
        calls[rows] += cost[stage.name][rows].astype(np.int64)
        n_passed[rows] += 1
        answers[stage.name] = yes
        lead(rows & yes, stage.yes)
        lead(rows & ~yes, stage.no)
    return Replayed(labels=labels, calls=calls, answers=answers, reached=here)
