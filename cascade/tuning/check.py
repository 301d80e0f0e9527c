"""Tests whether a guarantee still holds on new labelled tasks. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from cascade.config.figures import Figure, Metric, Unit, figure_of
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.probability import Array
from cascade.tree import Cascade
from cascade.tuning.risk import betting_p, tasks_needed

Losses = Callable[[float], Array]
"""A level -> a loss in [0, 1] for each task, whose mean exceeds 1 - level exactly if the metric is below the level."""

_N_HALVINGS = 10
_SPARE = 1e-3  # a smaller distance from the guaranteed level would take too many tasks to decide
_SEED = 19390101


class Verdict(StrEnum):
    """Verdict of new tasks on a guarantee.

    ``holds``: it is confirmed anew.
    ``broken``: the mean is below what was guaranteed, by more than chance.
    ``unclear``: there are too few tasks to say.
    """

    HOLDS = "holds"
    BROKEN = "broken"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """A guarantee.

    Attributes:
        level: The least mean, in (0, 1).
        metric: Of what.
        unit: What the mean is over.
        largest: The most items that count in one task, where it is over rows.
    """

    level: float
    metric: Metric = Metric.RECALL
    unit: Unit = Unit.TASK
    largest: int = 1

    def __str__(self) -> str:
        """In words."""
        what = f"{self.figure.one} of at least {self.level:g}"
        return what if self.unit is Unit.TASK else f"{what}, if no task has more than {self.largest} that count"

    @property
    def figure(self) -> Figure:
        """The name of what was guaranteed."""
        return figure_of(self.metric, self.unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class GuaranteeCheck:
    """A guarantee on new tasks.

    Attributes:
        guaranteed: What was guaranteed.
        measured: The mean over the new tasks; None if the metric is defined for none.
        low: Lower end of its interval, which is wrong with a chance of at most alpha / 2.
        high: Upper end, likewise.
        n_tasks: Tasks for which the metric is defined.
        p_broken: Of "the mean is at least what was guaranteed".
        p_holds: Of "the mean is below it".
        verdict: Broken or holds where that p-value is at most alpha / 2.
        n_needed: If the verdict is unclear, about how many such tasks would decide it; None if the measured mean is so
            near the guaranteed level that no number would.
        largest: The most items that count in one new task; 0 where nobody counted.
        handed_on: Share of the new items that is handed on as uncertain; None where the cascade hands nothing on.
        mattering_handed_on: Of those of them that matter, the share that is; likewise.
    """

    guaranteed: Guarantee
    measured: float | None
    low: float
    high: float
    n_tasks: int
    p_broken: float
    p_holds: float
    verdict: Verdict
    n_needed: int | None = None
    largest: int = 0
    handed_on: float | None = None
    mattering_handed_on: float | None = None

    @property
    def is_outgrown(self) -> bool:
        """True if a new task has more items that count than the guarantee over rows assumes."""
        return self.guaranteed.unit is Unit.ROW and self.largest > self.guaranteed.largest


def check_guarantee(
    cascade: Cascade,
    scored: ScoredTasks,
    guaranteed: Guarantee,
    alpha: float,
    priors: Array | None = None,
    seed: int = _SEED,
) -> GuaranteeCheck:
    """A guarantee on new labelled tasks.

    Args:
        cascade: With the thresholds that the guarantee is about.
        scored: The tasks.
        guaranteed: What was guaranteed.
        alpha: The chance of a wrong verdict, half of it for either side.
        priors: What the prior stage goes by for each row, as ``priors_of`` gives it; None without such a stage.
        seed: Decides the order in which tasks are bet on, so that the order given does not matter.
    """
    task_metric = TaskMetric(cascade, scored, guaranteed.metric, guaranteed.unit)
    replay = Replay(cascade, scored, priors)
    labels = replay.labels(own_thresholds(cascade))
    counts, handed_on = task_metric.counts(labels), replay.is_handed_on[labels]
    largest, order = (
        max(guaranteed.largest, task_metric.largest),
        np.random.default_rng(seed).permutation(task_metric.n_tasks),
    )
    measured = float(task_metric.means(counts)[0]) if task_metric.n_tasks else None
    found = judged(lambda level: task_metric.losses(counts, level, largest)[order, 0], measured, guaranteed, alpha)
    found = replace(found, largest=task_metric.largest)
    if not cascade.handed_on or not labels.size:
        return found
    of_mattering = float(handed_on[replay.matters].mean()) if replay.matters.any() else None
    return replace(found, handed_on=float(handed_on.mean()), mattering_handed_on=of_mattering)


def judged(losses: Losses, measured: float | None, guaranteed: Guarantee, alpha: float) -> GuaranteeCheck:
    """A guarantee by the losses of tasks, in an order that does not depend on them.

    Args:
        losses: The losses at each level.
        measured: The mean; None without tasks.
        guaranteed: What was guaranteed.
        alpha: The chance of a wrong verdict, half of it for either side.
    """
    half = alpha / 2

    def p_broken(level: float) -> float:
        return betting_p(1 - losses(level), level, half)

    def p_holds(level: float) -> float:
        return betting_p(losses(level), 1 - level, half)

    broken, holds = p_broken(guaranteed.level), p_holds(guaranteed.level)
    low, high = 0.0, 1.0
    if measured is not None:
        high = _halved(measured, 1.0, lambda level: p_broken(level) <= half)
        low = _halved(measured, 0.0, lambda level: p_holds(level) <= half)
    verdict = Verdict.BROKEN if broken <= half else Verdict.HOLDS if holds <= half else Verdict.UNCLEAR
    return GuaranteeCheck(
        guaranteed=guaranteed,
        measured=measured,
        low=low,
        high=high,
        n_tasks=losses(guaranteed.level).size,
        p_broken=broken,
        p_holds=holds,
        verdict=verdict,
        n_needed=_needed(losses(guaranteed.level), guaranteed.level, half) if verdict is Verdict.UNCLEAR else None,
    )


def _needed(losses: Array, level: float, half: float) -> int | None:
    """Number of tasks that would decide.

    It is at least the number with which the level can be confirmed if nothing is lost. Beyond that it is as many tasks
    as a bet needs to win 1 / half, whose wealth grows by spare ** 2 / (2 * variance) a task.
    """
    least = tasks_needed(level, half)
    if losses.size < least:
        return least
    spare = abs(1 - level - float(losses.mean()))
    if spare < _SPARE:
        return None
    return max(losses.size + 1, math.ceil(2 * math.log(1 / half) * float(losses.var()) / spare**2))


def _halved(inside: float, outside: float, is_refuted: Callable[[float], bool]) -> float:
    """Bisects for the level from which on levels are refuted; ``outside`` if none is."""
    for _ in range(_N_HALVINGS if inside != outside else 0):  # no level lies beyond a mean of 0 or 1
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if is_refuted(middle) else (middle, outside)
    return outside
