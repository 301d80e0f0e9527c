"""Metric and cost at every value of one threshold at once, all others held. Pure numpy.

With all other thresholds fixed, a row has one of two outcomes: one if the threshold is above its p, one if it is not.
So two replays and a histogram over p give the outcomes of all values, instead of one replay for each value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.config.figures import Metric
from cascade.evaluation.replay import Outcomes, Replay, Thresholds, deciding, parting
from cascade.evaluation.scored import Key
from cascade.evaluation.targets import Labels, TaskMetric
from cascade.probability import Array
from cascade.stages import (
    ANY_TIER,
    Answers,
    Limits,
    Stage,
    StageAnswers,
    Target,
    Threshold,
    highest_threshold,
    limits_of,
)
from cascade.tree import Cascade

_SHARES = np.unique(np.concatenate((np.linspace(0, 0.3, 91), np.linspace(0.3, 1, 36))))
_SHARES_OF_ALL = np.linspace(0, 1, 41)
LEAST = 1e-6
"""Thresholds of questions lie at least this far within (0, 1)."""
_TIE = 1e-3  # weight of the second cost, which only breaks ties

Codes = NDArray[np.intp]
"""For each row, how many values of a threshold's grid are at most its p."""
NO_BELOW, YES_FROM = "no_below", "yes_from"
"""The two thresholds of a prior stage, where those of questions go by tier."""
_BOTH = "both"
"""Both moved as one: the prior stage settles everything, and no question comes first."""

GridIndex = dict[Key, int]
"""Threshold -> its place in its grid."""


class Cost(StrEnum):
    """A cost to make small.

    ``calls``: queries per item. ``false_positives``: items kept that do not matter, per item. ``misses``: the share
    of what matters that is lost. ``latency``: predicted milliseconds per item.
    """

    CALLS = "calls"
    FALSE_POSITIVES = "false_positives"
    MISSES = "misses"
    LATENCY = "latency"

    @property
    def is_spent(self) -> bool:
        """True for calls and milliseconds, in which a false positive can be priced."""
        return self in {Cost.CALLS, Cost.LATENCY}


@dataclass(frozen=True, slots=True)
class Objective:
    """A cost to make small, with a tie-breaker.

    Attributes:
        cost: The cost.
        false_positive: What a false positive counts beside calls or milliseconds, in their unit; at least 0. By itself
            it only breaks ties; the other costs have ties broken by calls.
    """

    cost: Cost
    false_positive: float = _TIE

    def __str__(self) -> str:
        """In words."""
        is_priced = self.cost.is_spent and self.false_positive != _TIE
        return f"{self.cost} + {self.false_positive:g} false_positives" if is_priced else str(self.cost)

    def of_rows(self, replay: Replay, rows: Outcomes) -> Array:
        """The cost of each row, whose mean is that of them all; ``rows`` has calls or milliseconds."""
        kept = replay.is_kept[rows.labels]
        false = (kept & ~replay.matters).astype(float)
        if self.cost.is_spent:
            return np.asarray(rows.costs + self.false_positive * false)
        if self.cost is Cost.FALSE_POSITIVES:
            return np.asarray(false + _TIE * rows.costs)
        weight = replay.matters.size / max(int(replay.matters.sum()), 1)
        return np.asarray(weight * (replay.matters & ~kept) + _TIE * rows.costs)


@dataclass(frozen=True, slots=True)
class Line:
    """Metric and cost at each value of one threshold.

    Attributes:
        values: The metric; (grid,).
        costs: The cost, infinite where the value is not allowed; (grid,).
    """

    values: Array
    costs: Array


def free_keys(cascade: Cascade, metric: Metric) -> list[Key]:
    """The thresholds that a metric depends on, those of the prior stage last."""
    stages = parting(cascade) if metric is Metric.MACRO_F1 else deciding(cascade)
    prior = cascade.prior_stage
    ends = [(prior.name, NO_BELOW), (prior.name, YES_FROM)] if prior is not None else []
    may_move = [stage for stage in stages if not stage.has_values or stage.may_be_uncertain]
    return [(stage.name, tier) for stage in may_move for tier in stage.questions] + ends


def keeps_on_yes(cascade: Cascade, stage: Stage) -> bool:
    """True if a larger share of the ways from yes than from no leads to labels that are kept.

    Never of a choice or score: the higher its least confidence, the less it drops.
    """
    if stage.has_values:
        return False
    axes = {label: cascade.n_ways(label) for label in cascade.labels}

    def dropped(target: Target) -> float:
        return axes[cascade.dropped][target] / sum(to_label[target] for to_label in axes.values())

    return dropped(stage.yes) <= dropped(stage.no)


def safest(cascade: Cascade, key: Key) -> float:
    """The value of a threshold at which its question drops nothing."""
    if cascade.prior_stage is not None and key[0] == cascade.prior_stage.name:
        return 0.0 if key[1] == NO_BELOW else 1.0
    return LEAST if keeps_on_yes(cascade, cascade.stage(key[0])) else 1 - LEAST


def placed(thresholds: Thresholds, values: Mapping[Key, float]) -> dict[Key, Threshold]:
    """Thresholds with other values for some of the free ones, those of the prior stage included."""
    found = dict(thresholds)
    for (stage, tier), value in values.items():
        if (stage, tier) in thresholds:
            found[stage, tier] = value
        else:
            found[stage, ANY_TIER] = limits_of(found[stage, ANY_TIER])._replace(**{tier: value})
    return found


def value_of(thresholds: Thresholds, key: Key) -> float:
    """The value of a free threshold; for a question, yes from there on."""
    if key in thresholds:
        return limits_of(thresholds[key]).yes_from
    return float(getattr(limits_of(thresholds[key[0], ANY_TIER]), key[1]))


class ThresholdGrid:
    """Metric and cost of free thresholds on scored tasks.

    Args:
        replay: The tasks.
        task_metric: The metric.
        objective: The cost that is made small.
        fixed: All thresholds; those that are not free stay.
        free: Thresholds that may change.

    Attributes:
        grids: Free threshold -> its values, rising.
        axes: What can be moved: each free threshold, and the two of a prior stage together.
    """

    def __init__(
        self, replay: Replay, task_metric: TaskMetric, objective: Objective, fixed: Thresholds, free: list[Key]
    ) -> None:
        self._replay, self._task_metric, self._objective, self._fixed = replay, task_metric, objective, fixed
        prior = replay.cascade.prior_stage
        self._prior = prior.name if prior is not None else None
        self.grids = {key: self._grid(key) for key in free}
        is_moved = self._prior is not None and (self._prior, NO_BELOW) in free
        self.axes = [*free, *([(self._prior, _BOTH)] if self._prior is not None and is_moved else [])]
        self._codes = {key: _codes(self._p(key), self.grids[key]) for key in free}
        is_timed = objective.cost is Cost.LATENCY
        self._own = replay.ms() if is_timed else replay.calls()
        self._entry = replay.prices.item if is_timed else 0.0

    def at(self, grid_index: GridIndex) -> dict[Key, Threshold]:
        """All thresholds, the free ones at these indices."""
        return placed(self._fixed, {key: float(self.grids[key][place]) for key, place in grid_index.items()})

    def nearest(self, thresholds: Thresholds) -> GridIndex:
        """The indices whose values are closest to some thresholds."""
        return {key: int(np.abs(grid - value_of(thresholds, key)).argmin()) for key, grid in self.grids.items()}

    def moved(self, grid_index: GridIndex, axis: Key, place: int) -> GridIndex:
        """The indices with one axis moved to another index."""
        if axis == (self._prior, _BOTH):
            return grid_index | {(axis[0], NO_BELOW): place, (axis[0], YES_FROM): place}
        return grid_index | {axis: place}

    def line(self, grid_index: GridIndex, axis: Key) -> Line:
        """Metric and cost at every value on one axis, the other thresholds held."""
        key = (axis[0], NO_BELOW) if axis == (self._prior, _BOTH) else axis
        thresholds, grid = self.at(grid_index), self.grids[key]
        above, below, codes = self._sides(thresholds, axis)
        counts = self._counts(above.labels, below.labels, codes, grid.size)
        costs = self._objective.of_rows(self._replay, below)
        gain = self._objective.of_rows(self._replay, above) - costs
        total = costs.mean() + _from_above(np.bincount(codes, gain, grid.size + 1)) / codes.size
        if self._prior is not None and axis == key:
            lower, upper = (
                grid if key == (self._prior, end) else value_of(thresholds, (self._prior, end))
                for end in (NO_BELOW, YES_FROM)
            )
            total = np.where(np.less_equal(lower, upper), total, np.inf)
        return Line(self._task_metric.means(counts), total)

    def _counts(self, above: Labels, below: Labels, codes: Codes, size: int) -> list[Array]:
        """The sums behind the metric at every value: those with the answer no, plus the change up to each row's p.

        Returns:
            (n_tasks, grid) each.
        """
        task_metric, found = self._task_metric, []
        base = task_metric.counts(below)
        rows = np.flatnonzero(above[task_metric.rows] != below[task_metric.rows])
        cells = task_metric.task[rows] * (size + 1) + codes[task_metric.rows[rows]]
        for high, low, count in zip(task_metric.parts(above), task_metric.parts(below), base, strict=True):
            change = high[rows].astype(float) - low[rows]
            table = np.bincount(cells, change, task_metric.n_tasks * (size + 1)).reshape(task_metric.n_tasks, size + 1)
            found.append(np.asarray(count + _from_above(table)))
        return found

    def _sides(self, thresholds: Thresholds, key: Key) -> tuple[Outcomes, Outcomes, Codes]:
        """Outcomes if all rows get the answer, and if none does; and how many grid values give it to each row."""
        replay = self._replay
        answers = replay.all_answers(thresholds)
        if key[0] == self._prior:
            known = ~np.isnan(replay.priors)
            nothing = np.zeros(known.size, np.bool_)
            own: Limits = limits_of(thresholds[self._prior, ANY_TIER])
            low, high = replay.priors < own.no_below, replay.priors >= own.yes_from
            sides: dict[str, tuple[StageAnswers, StageAnswers]] = {
                NO_BELOW: (Answers(high, nothing), Answers(nothing, known)),
                YES_FROM: (Answers(known & ~low, low), Answers(nothing, low)),
                _BOTH: (Answers(known, nothing), Answers(nothing, known)),
            }
            above, below = sides[key[1]]
            codes = self._codes[key[0], YES_FROM if key[1] == YES_FROM else NO_BELOW]
        else:
            codes = self._codes[key]
            stage = replay.cascade.stage(key[0])
            above, below = _value_sides(stage, replay.p[stage.name]) if stage.has_values else _yes_no_sides(codes.size)
            if stage.is_tiered and len(stage.questions) > 1:
                codes = self._tier_codes(stage, thresholds, key)
        walks = [self._replay.walk({**answers, key[0]: side}, self._own, self._entry) for side in (above, below)]
        return walks[0], walks[1], codes

    def _tier_codes(self, stage: Stage, thresholds: Thresholds, key: Key) -> Codes:
        """Number of values of one tier's threshold at which the whole stage says yes; (n,)."""
        limits = np.array([limits_of(thresholds[stage.name, tier]).yes_from for tier in stage.questions])
        at = list(stage.questions).index(key[1])
        highest = highest_threshold(stage.combine, self._replay.p[stage.name], limits, at)
        return _codes(highest, self.grids[key])

    def _p(self, key: Key) -> Array:
        """The p that is compared with a threshold; infinite where a tier is not asked or a prior is not known; (n,)."""
        if key[0] == self._prior:
            unknown = np.inf if key[1] == NO_BELOW else -np.inf
            return np.where(np.isnan(self._replay.priors), unknown, self._replay.priors)
        stage = self._replay.cascade.stage(key[0])
        if stage.has_values:
            return stage.question(ANY_TIER).confidence(self._replay.p[stage.name])
        p = self._replay.scored.p[key]
        return np.where(np.isnan(p), -np.inf, p)

    def _grid(self, key: Key) -> Array:
        """Values between the p of items, at shares of those that matter and of all; rising."""
        p = self._p(key)
        is_known = np.isfinite(p)
        known, mattering = np.unique(p[is_known]), p[is_known & self._replay.matters]
        ends = (0.0, 1.0)
        if key[0] != self._prior:
            ends = (0.0 if self._replay.cascade.stage(key[0]).has_values else LEAST, 1 - LEAST)
        if not mattering.size:
            return np.array([value_of(self._fixed, key)] if key[0] != self._prior else ends)
        of_some = np.quantile(mattering, _SHARES, method="lower")
        marks = np.concatenate((of_some, np.quantile(known, _SHARES_OF_ALL, method="lower")))
        # Half way to the next lower p, so that the last digits of a p decide nothing.
        upper = np.unique(np.searchsorted(known, np.unique(marks)))
        between = (known[upper[upper > 0]] + known[upper[upper > 0] - 1]) / 2
        return np.unique(np.clip(np.concatenate((between, ends)), *ends))


def _yes_no_sides(n: int) -> tuple[StageAnswers, StageAnswers]:
    """The answers if all rows get yes, and if none does."""
    return Answers.sure(np.ones(n, np.bool_)), Answers.sure(np.zeros(n, np.bool_))


def _value_sides(stage: Stage, p: Array) -> tuple[StageAnswers, StageAnswers]:
    """The answers if the stage is sure of all rows, and if of none."""
    every, none = (stage.answers(p, {ANY_TIER: Limits(least, least)}) for least in (0.0, np.inf))
    return every, none


def _codes(p: Array, grid: Array) -> Codes:
    """Number of grid values that are at most p; (n,)."""
    return np.searchsorted(grid, p, side="right")


def _from_above(table: NDArray[Any]) -> Array:
    """Sums over all codes above each index of the grid, along the last axis."""
    return np.asarray(np.cumsum(table[..., ::-1], axis=-1)[..., ::-1][..., 1:])
