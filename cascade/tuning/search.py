"""Tunes all thresholds of a cascade at once: the cheapest that carry a guarantee. Pure numpy.

Some of the tasks are searched for candidates: the cheapest thresholds for each level of the metric, ordered from safest
to cheapest. The candidates are then tested in this order on the other tasks, and the last that passes is chosen. The
candidates and their order are fixed before the other tasks are looked at, so the guarantee holds however the search
went. A single threshold needs no search: its values in order are the candidates, and all tasks test them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from cascade.config.figures import RECALLS, Metric, Unit
from cascade.errors import InputError, counted
from cascade.evaluation.prior_fit import with_prior
from cascade.evaluation.replay import Outcome, Prices, Replay, Thresholds, own_thresholds
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.probability import Array
from cascade.profile import Prior
from cascade.stages import Threshold
from cascade.tree import Cascade
from cascade.tuning.free_thresholds import (
    LEAST,
    End,
    FreeKey,
    bounds_of,
    free_keys,
    is_safe_if_low,
    nothing_to_tune,
    placed,
    starts,
)
from cascade.tuning.pareto import Advance, best_of_each_level
from cascade.tuning.risk import betting_ps, fixed_sequence, tasks_needed
from cascade.tuning.stage_by_stage import stage_by_stage
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import ThresholdGrid

_SEED = 20210930
_SHARE, _SHARE_EACH, _MOST_SHARE = 0.1, 0.05, 0.5
_MOST_SEARCHED = 1_000  # tasks; a search gains nothing by more, and the test does
_BLOCK = 32  # vectors that are tested at once
_STEP = 1 / 40  # log odds between the values of a single threshold
_SEARCHING = 0.6  # share of the time
_LEAST_VARIANCE = 1e-6  # of losses, where all are alike


class TooFewTasksError(InputError):
    """A guarantee needs more labelled tasks.

    Args:
        told: What there is and what is needed, in sentences.
        remedy: What to give, without the end of the sentence.
    """

    def __init__(self, told: str, remedy: str) -> None:
        super().__init__(
            f"{told} {remedy}, or a larger delta; or choose without a guarantee by `cascade tune --no-guarantee`."
        )
        self.told, self.remedy = told, remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningResult:
    """Thresholds that carry a guarantee.

    Attributes:
        thresholds: Of every question, and of the prior stage.
        fixed: Stages that the metric does not depend on; they keep their thresholds.
        p_value: Of "the mean is below what is guaranteed", at these thresholds.
        n_searched: Tasks that were searched; 0 where there was nothing to search.
        n_held_out: Tasks that were tested.
        n_left_out: Tasks for which the metric is undefined, such as recall for tasks with nothing to find.
        largest: The most items that count in one task, which a guarantee for rows takes as a bound.
        held_out: What the thresholds come to on the tasks that were tested.
        per_stage: Stages tuned one by one to the same recall on those; None where none reaches it, or where something
            else is guaranteed.
        prior: What weighs the evidence, for a prior stage that goes by it.
    """

    thresholds: Thresholds
    fixed: tuple[str, ...]
    p_value: float
    n_searched: int
    n_held_out: int
    n_left_out: int
    largest: int
    held_out: Outcome
    per_stage: Outcome | None
    prior: Prior | None = None


def tune(
    cascade: Cascade,
    scored: ScoredTasks,
    target: TuningTarget,
    seed: int = _SEED,
    prices: Prices | None = None,
    advance: Advance = lambda _: None,
) -> TuningResult:
    """The cheapest certified thresholds.

    Args:
        cascade: Thresholds that the metric does not depend on stay as they are.
        scored: Labelled tasks.
        target: The guarantee.
        seed: Decides which tasks are searched and which are tested, and their order.
        prices: What an item costs, where latency is made small.
        advance: Told of the share of the work that is done.

    Raises:
        InputError: There are too few tasks for the guarantee (it says how many are needed), nothing can be tuned, or
            no thresholds pass.
    """
    target = target.of(cascade)
    free = free_keys(cascade, target.metric)
    if not free:
        raise InputError(nothing_to_tune(cascade, target.metric))
    if not scored.is_positive(cascade).any():
        msg = (
            f"No item matters, all of them are {cascade.dropped!r}, so nothing can be guaranteed. Give labelled tasks "
            "that have something to find."
        )
        raise InputError(msg)
    task_metric = TaskMetric(cascade, scored, target.metric, target.unit)
    is_single = len(free) == 1 and target.metric in RECALLS
    share = 0.0 if is_single else min(_MOST_SHARE, _SHARE + _SHARE_EACH * len(free))
    searched, tested = _parts(task_metric, scored, share, target, np.random.default_rng(seed))
    path, variances, before = _values_of_one(cascade, free[0], target.metric) if is_single else [], None, None
    if not is_single:
        cascade, priors = with_prior(cascade, searched)
        before = Replay(cascade, searched, priors, prices)
        path, variances = _laid(before, free, target, task_metric, lambda done: advance(_SEARCHING * done))
    replay = Replay(cascade, tested, prices=prices)
    test = TaskMetric(cascade, tested, target.metric, target.unit)
    tester = _Tester(replay=replay, task_metric=test, target=target, largest=task_metric.largest)
    at, p_value = tester.last_that_passes(path, variances, lambda done: advance(_SEARCHING + (1 - _SEARCHING) * done))
    held_out = replay.outcome(path[at])
    _check_use(target, held_out)
    named = {key.stage for key in free}
    return TuningResult(
        thresholds=path[at],
        fixed=tuple(stage.name for stage in cascade.stages if stage.name not in named),
        p_value=p_value,
        n_searched=task_metric.n_tasks - test.n_tasks,
        n_held_out=test.n_tasks,
        n_left_out=scored.n_tasks - task_metric.n_tasks,
        largest=task_metric.largest,
        held_out=held_out,
        per_stage=stage_by_stage(before or replay, replay, held_out.recall_per_task)
        if target.metric is Metric.RECALL
        else None,
        prior=cascade.prior_stage.prior if cascade.prior_stage is not None else None,
    )


def _check_use(target: TuningTarget, outcome: Outcome) -> None:
    """Refuse thresholds that keep their target by saying nothing of any use."""
    found, metric = f"What was found for {target.figure.one} of {target.level:g}", target.metric.replace("_", " ")
    if outcome.handed_on == 1:
        remedy = "Make small what is handed on, or say by a price what it is worth beside calls or latency"
        msg = f"{found} hands everything on, and that helps nobody. {remedy}; or give a lower {metric}."
        raise InputError(msg)
    if target.is_idle(outcome) and target.metric in {Metric.PRECISION, Metric.ACCURACY_AMONG_ANSWERED}:
        remedy = "Make misses small" if target.metric is Metric.PRECISION else "Guarantee a recall"
        msg = f"{found} keeps nothing, and that helps nobody. {remedy}, give more labelled tasks, or a lower {metric}."
        raise InputError(msg)


def _parts(
    task_metric: TaskMetric, scored: ScoredTasks, share: float, target: TuningTarget, rng: np.random.Generator
) -> tuple[ScoredTasks, ScoredTasks]:
    """The tasks to search, and those to test, each in an order by chance; with no share to search, all are tested."""
    n_needed = tasks_needed(target.level, target.delta)
    n_searched = min(math.ceil(share * task_metric.n_tasks), _MOST_SEARCHED)
    if task_metric.n_tasks - n_searched < n_needed:
        told = "something to find" if target.metric in RECALLS else "items"
        searched = f"a share of {share:.2g} of them is searched, and " if share else ""
        msg = (
            f"{counted(task_metric.n_tasks, 'task has', 'tasks have')} {told}; {target.figure.one} of "
            f"{target.level:g} at delta {target.delta:g} needs at least {math.ceil(n_needed / (1 - share))}: {searched}"
            f"{n_needed} must be tested even if nothing is lost."
        )
        raise TooFewTasksError(msg, f"Give more labelled tasks, or a lower {target.figure.words}")
    order = rng.permutation(task_metric.chosen)
    # Tasks for which the metric is undefined cost calls as well, so both parts get some, but none is tested.
    rest = rng.permutation(np.setdiff1d(np.arange(scored.n_tasks), task_metric.chosen))
    n_rest = math.ceil(rest.size * n_searched / max(task_metric.n_tasks, 1))
    return (
        scored.take(np.concatenate((order[:n_searched], rest[:n_rest]))),
        scored.take(np.concatenate((order[n_searched:], rest[n_rest:]))),
    )


def _values_of_one(cascade: Cascade, key: FreeKey, metric: Metric) -> list[dict[Key, Threshold]]:
    """The values of a single threshold from the safe end on; they depend on no task."""
    end = math.log((1 - LEAST) / LEAST)
    odds = np.arange(-end, end + _STEP, _STEP)
    stage = cascade.stage(key.stage)
    scale = len(stage.columns) - 1 if key.end is End.CUT else 1
    low, high = bounds_of(stage, key)
    values = np.unique(np.clip(scale / (1 + np.exp(-odds)), max(low, LEAST), high))
    own = own_thresholds(cascade)
    in_order = values if is_safe_if_low(cascade, key, metric) else values[::-1]
    return [placed(own, {key: float(value)}) for value in in_order]


def _laid(
    replay: Replay, free: list[FreeKey], target: TuningTarget, task_metric: TaskMetric, advance: Advance
) -> tuple[list[dict[Key, Threshold]], list[float]]:
    """The path, and what losses are thought to vary by at each vector of it."""
    cascade, here = replay.cascade, TaskMetric(replay.cascade, replay.scored, target.metric, target.unit)
    own = own_thresholds(cascade)
    threshold_grid = ThresholdGrid(replay, here, target.objective, own, free)
    spread = math.sqrt(target.level * (1 - target.level) / (task_metric.n_tasks - here.n_tasks)) / 2
    begins = starts(cascade, free, target.metric)
    values, places = best_of_each_level(
        threshold_grid, [threshold_grid.nearest(each) for each in begins], target.level, spread, advance
    )
    if values[0] < target.level:
        msg = (
            f"No thresholds reach {target.figure.one} of {target.level:g}: the best on "
            f"{counted(here.n_tasks, 'task')} that could be searched is {values[0]:.3f}. Give a lower "
            f"{target.figure.words}, or better questions."
        )
        raise InputError(msg)
    path = [threshold_grid.at(place) for place in places]
    if target.metric in RECALLS and here.means(here.counts(replay.labels(begins[0])))[0] >= values[0]:
        path.insert(0, begins[0])
    counts = [here.counts(replay.labels(vector)) for vector in path]
    losses = [here.losses(each, target.level, task_metric.largest) for each in counts]
    variances = [float(loss.var()) for loss in losses]
    first = 0
    if target.metric is Metric.ACCURACY_AMONG_ANSWERED:
        noise = [_noise(each[0], target, task_metric.largest) for each in counts]
        spare = [1 - target.level - float(loss.mean()) for loss in losses]
        deviations = np.sqrt(np.maximum(np.maximum(variances, noise), _LEAST_VARIANCE))
        first = int(np.argmax(spare / deviations))
    return path[first:], variances[first:]


def _noise(answered: Array, target: TuningTarget, largest: int) -> float:
    """What losses vary by at least, by how many items of each task are answered.

    The path begins where the target is kept most clearly: where next to nothing is answered, a single wrong answer
    makes all the difference, and the few tasks searched may show none.
    """
    of_one = target.level * (1 - target.level)
    if target.unit is Unit.ROW:
        return of_one * float(answered.mean()) / largest**2
    return of_one * float(np.divide(1, answered, out=np.zeros(answered.shape), where=answered > 0).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tester:
    """Tests vectors on tasks held out.

    Attributes:
        replay: The tasks.
        task_metric: The metric on them.
        target: The guarantee.
        largest: The most rows of one task.
    """

    replay: Replay
    task_metric: TaskMetric
    target: TuningTarget
    largest: int

    def last_that_passes(
        self, path: Sequence[Thresholds], variances: Sequence[float] | None, advance: Advance
    ) -> tuple[int, float]:
        """Place in the path of the last vector that passes in a row, and its p-value.

        Raises:
            InputError: Not even the first one passes.
        """
        found: list[float] = []
        for start in range(0, len(path), _BLOCK):
            losses = np.stack([self._losses(vector) for vector in path[start : start + _BLOCK]])
            thought = np.array(variances[start : start + _BLOCK]) if variances is not None else None
            found += betting_ps(losses, 1 - self.target.level, self.target.delta, thought).tolist()
            advance(min(1.0, (start + _BLOCK) / len(path)))
            if found[-1] > self.target.delta:
                break
        n_passed = fixed_sequence(found, self.target.delta)
        if not n_passed:
            self._refuse(found[0], self._losses(path[0]))
        advance(1.0)
        return n_passed - 1, found[n_passed - 1]

    def _losses(self, vector: Thresholds) -> Array:
        counts = self.task_metric.counts(self.replay.labels(vector))
        return np.asarray(self.task_metric.losses(counts, self.target.level, self.largest)[:, 0])

    def _refuse(self, p_value: float, losses: Array) -> NoReturn:
        """Say what fails, and how many tasks would do if they were like these."""
        target, spare = self.target, 1 - self.target.level - float(losses.mean())
        more = "Give"
        if spare > 0:
            needed = math.ceil(2 * math.log(1 / target.delta) * float(losses.var()) / spare**2)
            more = f"About {max(needed, losses.size + 1):,} tasks held out would do if they were like these; give"
        msg = (
            f"Not even the safest thresholds reach {target.figure.one} of {target.level:g} on "
            f"{counted(losses.size, 'task')} held out (p-value {p_value:.3g}, allowed {target.delta:g}). {more} more "
            f"labelled tasks, or a lower {target.figure.words}."
        )
        raise InputError(msg)
