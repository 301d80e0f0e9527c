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
from cascade.evaluation.targets import Labels, TaskMetric, handed_on_labels, kept_labels
from cascade.probability import Array, Bools, Ints
from cascade.stages import ANY_TIER, Source, Stage, StageAnswers, Target, Threshold
from cascade.tree import Cascade

Thresholds = Mapping[Key, Threshold]
"""(stage, tier) -> one threshold, or both; a prior stage has ``ANY_TIER``."""


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
        recall_per_task: Mean over tasks of the share of positives that was kept, in [0, 1]; NaN without positives. What
            is handed on is not kept.
        calls: Queries per item.
        false_positives: Items kept that do not matter, per item.
        precision_per_task: Mean over tasks of the share of what was kept that matters; 1 for a task that keeps nothing.
        macro_f1_per_task: Mean over tasks of the mean F1 of the labels that a task has, as truth or as answer.
        misses: Share of all that matters that was not kept, tasks put together; 0 where nothing matters.
        ms: Predicted milliseconds per item; 0 without prices.
        recall_or_handed_on_per_task: As ``recall_per_task``, with what is handed on counted in.
        handed_on: Share of all items that is handed on as uncertain.
        mattering_handed_on: Share of all that matters that is handed on, tasks put together; 0 where nothing matters.
        accuracy_among_answered_per_task: Mean over tasks of the share of what is not handed on that has its true
            label; 1 for a task that answers nothing.
        error_among_answered: Share of what is not handed on that has a wrong label, tasks put together; 0 where all is.
    """

    recall_per_task: float
    calls: float
    false_positives: float
    precision_per_task: float = float("nan")
    macro_f1_per_task: float = float("nan")
    misses: float = 0.0
    ms: float = 0.0
    recall_or_handed_on_per_task: float = float("nan")
    handed_on: float = 0.0
    mattering_handed_on: float = 0.0
    accuracy_among_answered_per_task: float = float("nan")
    error_among_answered: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """The label of each row, and how the row got it.

    Attributes:
        labels: The label given, as its index in the cascade's labels; (n,).
        costs: Cost of all questions that the row was asked, in queries or milliseconds; (n,).
        reached: Stage -> whether each row came to it; (n,).
        answers: Stage -> its answer to each row, also where it was not asked.
    """

    labels: Labels
    costs: Array
    reached: Mapping[str, Bools]
    answers: Mapping[str, StageAnswers]

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
        p: Stage -> p(yes) by tier, NaN where a row is not asked; (n, tiers). Of a choice or score the probabilities of
            its values; (n, values). The prior stage has its own p.
        asked: Stage -> whether each row is asked in each tier; (n, tiers).
        matters: Whether each row is a positive by its true label; (n,).
        is_kept: Whether a row with each label is kept; (n_labels,).
        is_handed_on: Whether a row with each label is handed on; (n_labels,).
        prices: Predicted costs of an item.
        priors: Prior probability of each row; (n,).
        n_tasks: Tasks with at least one item that matters; only they have a recall.
    """

    def __init__(
        self, cascade: Cascade, scored: ScoredTasks, priors: Array | None = None, prices: Prices | None = None
    ) -> None:
        self.cascade, self.scored, self.prices = cascade, scored, prices or Prices()
        self.p = {stage.name: scored.of_stage(stage) for stage in cascade.stages}
        self.asked = {stage.name: ~np.isnan(self.p[stage.name][:, : len(stage.questions)]) for stage in cascade.stages}
        self.priors = priors if priors is not None else known_priors(cascade, scored)
        self.matters = scored.is_positive(cascade)
        self.is_kept, self.is_handed_on = kept_labels(cascade), handed_on_labels(cascade)
        prior = cascade.prior_stage
        self._all_stages = cascade.stages if prior is None else (prior, *cascade.stages)
        self._order = cascade.in_order() if prior is None else [prior, *cascade.in_order()]
        if prior is not None:
            self.p[prior.name] = self.priors[:, None]
        self._expected = OnlineProfile(cascade)
        self._place = {label: at for at, label in enumerate(cascade.labels)}
        self._task_metrics = {metric: TaskMetric(cascade, scored, metric) for metric in Metric}
        self.n_tasks = self._task_metrics[Metric.RECALL].n_tasks

    def outcome(self, thresholds: Thresholds) -> Outcome:
        """Metrics and costs under thresholds."""
        answers = self.all_answers(thresholds)
        walk = self.walk(answers, self.calls())
        kept, handed_on, n_rows = self.is_kept[walk.labels], self.is_handed_on[walk.labels], walk.labels.size
        wrong, n_mattering = walk.labels != self.scored.labels, max(int(self.matters.sum()), 1)
        means = {
            name: float(task_metric.means(task_metric.counts(walk.labels))[0]) if task_metric.n_tasks else float("nan")
            for name, task_metric in self._task_metrics.items()
        }
        ms = 0.0
        if self.prices.questions:
            ms = float(self.walk(answers, self.ms(), self.prices.item).costs.mean())
        return Outcome(
            recall_per_task=means[Metric.RECALL],
            precision_per_task=means[Metric.PRECISION],
            macro_f1_per_task=means[Metric.MACRO_F1],
            calls=float(walk.costs.mean()),
            false_positives=int((kept & ~self.matters).sum()) / n_rows,
            misses=int((self.matters & ~kept).sum()) / n_mattering,
            ms=ms,
            recall_or_handed_on_per_task=means[Metric.RECALL_OR_HANDED_ON],
            handed_on=int(handed_on.sum()) / n_rows,
            mattering_handed_on=int((self.matters & handed_on).sum()) / n_mattering,
            accuracy_among_answered_per_task=means[Metric.ACCURACY_AMONG_ANSWERED],
            error_among_answered=int((wrong & ~handed_on).sum()) / max(int((~handed_on).sum()), 1),
        )

    def labels(self, thresholds: Thresholds) -> Labels:
        """The label of each row, as its index in the cascade's labels."""
        return self.walk(self.all_answers(thresholds), {}).labels

    def losses(self, thresholds: Thresholds) -> Array:
        """1 - recall of each task that has something to find, in the tasks' order; (n_tasks,)."""
        task_metric = self._task_metrics[Metric.RECALL]
        return np.asarray(1 - task_metric.values(task_metric.counts(self.labels(thresholds)))[:, 0])

    def answers(self, stage: Stage, thresholds: Thresholds) -> StageAnswers:
        """The stage's answer for every row."""
        return stage.answers(self.p[stage.name], {tier: thresholds[stage.name, tier] for tier in stage.limits})

    def all_answers(self, thresholds: Thresholds) -> dict[str, StageAnswers]:
        """Every stage's answer for every row, also where it is not reached; that of the prior stage among them."""
        return {stage.name: self.answers(stage, thresholds) for stage in self._all_stages}

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
        return self.walk(self.all_answers(own_thresholds(self.cascade)), self.calls(), depth=depth)

    def walk(
        self,
        answers: Mapping[str, StageAnswers],
        costs: Mapping[str, Array],
        entry: float = 0.0,
        depth: int | None = None,
    ) -> Outcomes:
        """Lead every row down the tree.

        Args:
            answers: Stage -> its answer for each row; those of the prior stage among them.
            costs: Stage -> its cost for each row; stages that are missing cost nothing.
            entry: Cost of a row that is asked at least one question.
            depth: Stages after which a row stops, with the likeliest label of rows that stand there; None for no limit.
        """
        n = self.matters.size
        here = {stage.name: np.zeros(n, np.bool_) for stage in self._order}
        here[self._order[0].name][:] = True
        labels, spent = np.zeros(n, np.int16), np.zeros(n)
        n_passed = np.zeros(n, np.int16)
        for stage in self._order:
            rows = here[stage.name]
            if depth is not None and stage.source is None:
                stops = rows & (n_passed >= depth)
                labels[stops] = self._place[self._expected.likeliest(stage)[0]]
                here[stage.name] = rows = rows & ~stops
                n_passed += rows
            if stage.name in costs:
                spent += np.where(rows, costs[stage.name], 0.0)
            for answer, target in stage.ways.items():
                led = rows & answers[stage.name].of(answer)
                if target.is_label:
                    labels[led] = self._place[target.name]
                else:
                    here[target.name] |= led
        if entry:
            spent += entry * np.any([here[stage.name] for stage in self.cascade.stages], axis=0)
        return Outcomes(labels=labels, costs=spent, reached=here, answers=answers)


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


Ends = dict[Target, set[tuple[bool, bool]]]
"""Stage or label -> what may become of an item there: whether it is dropped, and whether it is handed on."""


def ends_of_ways(cascade: Cascade) -> Ends:
    """What may become of an item at each stage and label."""
    ends: Ends = {
        Target(name, is_label=True): {(name == cascade.dropped, name in cascade.handed_on)} for name in cascade.labels
    }
    for stage in cascade.in_order()[::-1]:
        ends[Target(stage.name, is_label=False)] = set().union(*(ends[target] for target in stage.ways.values()))
    return ends


def deciding(cascade: Cascade) -> list[Stage]:
    """The stages whose answer can change whether an item is kept, dropped or handed on; recall depends on these."""
    ends = ends_of_ways(cascade)
    return [stage for stage in parting(cascade) if len(ends[Target(stage.name, is_label=False)]) > 1]


def parting(cascade: Cascade) -> list[Stage]:
    """The stages whose answers lead to different targets; no result depends on the others."""
    return [stage for stage in cascade.stages if len({*stage.ways.values()}) > 1]


def own_thresholds(cascade: Cascade) -> dict[Key, Threshold]:
    """The thresholds that a cascade has, those of its prior stage last; one number where both are the same."""
    own: dict[Key, Threshold] = {
        (stage.name, tier): threshold for stage in cascade.stages for tier, threshold in stage.thresholds.items()
    }
    prior = cascade.prior_stage
    return own if prior is None else own | {(prior.name, ANY_TIER): prior.limits[ANY_TIER]}
