"""Metric and cost at every value of one threshold at once, all others held. Pure numpy.

With all other thresholds fixed, a row has one of two outcomes: one if the threshold is above its p, one if it is not.
So two replays and a histogram over p give the outcomes of all values, instead of one replay for each value. A stage
that may be uncertain has two thresholds, which are moved each by itself and both as one. A cut point of a score is
compared with the expected score in the same way, and moves between those beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.evaluation.replay import Outcomes, Replay, Thresholds
from cascade.evaluation.scored import Key
from cascade.evaluation.targets import Labels, TaskMetric
from cascade.probability import Array, expected_score
from cascade.stages import (
    ANY_TIER,
    Answers,
    Limits,
    ScoreLimits,
    Stage,
    StageAnswers,
    Threshold,
    ValueAnswers,
    combine,
    cuts_of,
    highest_threshold,
    limits_of,
)
from cascade.tuning.free_thresholds import GAP, End, FreeKey, bounds_of, placed, value_of
from cascade.tuning.objective import Cost, Objective

_SHARES = np.unique(np.concatenate((np.linspace(0, 0.3, 91), np.linspace(0.3, 1, 36))))
_SHARES_OF_ALL = np.linspace(0, 1, 41)

Codes = NDArray[np.intp]
"""For each row, how many values of a threshold's grid are at most its p."""

GridIndex = dict[FreeKey, int]
"""Threshold -> its place in its grid."""


@dataclass(frozen=True, slots=True)
class Line:
    """Metric and cost at each value of one threshold.

    Attributes:
        values: The metric; (grid,).
        costs: The cost, infinite where the value is not allowed; (grid,).
    """

    values: Array
    costs: Array


def nudged(grid_index: GridIndex, key: FreeKey, place: int) -> GridIndex:
    """The indices with one threshold moved; the others of its question go along where they would be passed."""
    found = grid_index | {key: place}
    for other in _cuts_beside(grid_index, key):
        between = key.at - other.at  # cut points never have the same value
        found[other] = (min if between > 0 else max)(grid_index[other], place - between)
    if key.end is End.NO_BELOW:
        upper = key._replace(end=End.YES_FROM)
        found[upper] = max(place, grid_index[upper])
    if key.end is End.YES_FROM:
        lower = key._replace(end=End.NO_BELOW)
        found[lower] = min(place, grid_index[lower])
    return found


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
        axes: What can be moved: each free threshold, and the two of a question or of a prior stage together.
    """

    def __init__(
        self, replay: Replay, task_metric: TaskMetric, objective: Objective, fixed: Thresholds, free: list[FreeKey]
    ) -> None:
        self._replay, self._task_metric, self._objective, self._fixed = replay, task_metric, objective, fixed
        prior = replay.cascade.prior_stage
        self._stages = {stage.name: stage for stage in (*replay.cascade.stages, *([prior] if prior else []))}
        self.grids = {key: self._grid(key) for key in free}
        self.axes = [*free, *(FreeKey(*key.key) for key in free if key.end is End.NO_BELOW)]
        self._codes = {key: _codes(self._p(key), self.grids[key]) for key in free}
        is_timed = objective.cost is Cost.LATENCY
        self._own = replay.ms() if is_timed else replay.calls()
        self._entry = replay.prices.item if is_timed else 0.0

    def at(self, grid_index: GridIndex) -> dict[Key, Threshold]:
        """All thresholds, the free ones at these indices."""
        return placed(self._fixed, {key: float(self.grids[key][place]) for key, place in grid_index.items()})

    def nearest(self, thresholds: Thresholds) -> GridIndex:
        """The indices whose values are closest to some thresholds; cut points keep their order."""
        found: GridIndex = {}
        for key, grid in self.grids.items():
            low, high = self._in_order(found, key)
            found[key] = low + int(np.abs(grid[low : high + 1] - value_of(thresholds, key)).argmin())
        return found

    def reach(self, key: FreeKey) -> tuple[int, int]:
        """The lowest and the highest place of a threshold; a cut point leaves room for the others of its score."""
        size = self.grids[key].size
        return (key.at, size - len(self._stages[key.stage].cuts) + key.at) if key.end is End.CUT else (0, size - 1)

    def _in_order(self, grid_index: GridIndex, key: FreeKey) -> tuple[int, int]:
        """The lowest and the highest place of a threshold beside the others of its question at some indices."""
        low, high = self.reach(key)
        for other in _cuts_beside(grid_index, key):
            low, high = (
                (max(low, grid_index[other] + 1), high)
                if other.at < key.at
                else (low, min(high, grid_index[other] - 1))
            )
        if key.end is End.NO_BELOW:
            high = grid_index.get(key._replace(end=End.YES_FROM), high)
        if key.end is End.YES_FROM:
            low = grid_index.get(key._replace(end=End.NO_BELOW), low)
        return low, high

    def moved(self, grid_index: GridIndex, axis: FreeKey, place: int) -> GridIndex:
        """The indices with one axis moved to another index."""
        if axis in self.grids:
            return grid_index | {axis: place}
        return grid_index | {axis._replace(end=end): place for end in (End.NO_BELOW, End.YES_FROM)}

    def line(self, grid_index: GridIndex, axis: FreeKey) -> Line:
        """Metric and cost at every value on one axis, the other thresholds held."""
        key = axis if axis in self.grids else axis._replace(end=End.NO_BELOW)
        thresholds, grid = self.at(grid_index), self.grids[key]
        below, steps = self._sides(thresholds, axis)
        counts = self._task_metric.counts(below.labels)
        costs = self._objective.of_rows(self._replay, below)
        total = np.full(grid.size, costs.mean())
        for above, codes in steps:
            changes = self._changes(above.labels, below.labels, codes, grid.size)
            counts = [count + change for count, change in zip(counts, changes, strict=True)]
            after = self._objective.of_rows(self._replay, above)
            total = total + _from_above(np.bincount(codes, after - costs, grid.size + 1)) / codes.size
            below, costs = above, after
        if axis in self.grids:
            low, high = self._in_order(grid_index, axis)
            total[:low], total[high + 1 :] = np.inf, np.inf
        return Line(self._task_metric.means(counts), total)

    def _changes(self, above: Labels, below: Labels, codes: Codes, size: int) -> list[Array]:
        """What the sums behind the metric change by at every value where rows have another outcome up to their p.

        Returns:
            (n_tasks, grid) each.
        """
        task_metric, found = self._task_metric, []
        rows = np.flatnonzero(above[task_metric.rows] != below[task_metric.rows])
        cells = task_metric.task[rows] * (size + 1) + codes[task_metric.rows[rows]]
        for high, low in zip(task_metric.parts(above), task_metric.parts(below), strict=True):
            change = high[rows].astype(float) - low[rows]
            table = np.bincount(cells, change, task_metric.n_tasks * (size + 1)).reshape(task_metric.n_tasks, size + 1)
            found.append(_from_above(table))
        return found

    def _sides(self, thresholds: Thresholds, axis: FreeKey) -> tuple[Outcomes, list[tuple[Outcomes, Codes]]]:
        """Outcomes if no row reaches the threshold; and those of rows that do, with how many grid values each reaches.

        There are two of the latter where both thresholds of one tier of several move as one: a row may then reach the
        one and not the other.
        """
        replay, stage = self._replay, self._stages[axis.stage]
        limits = [limits_of(thresholds[stage.name, tier]) for tier in stage.limits]
        no_below, yes_from = (np.array([each[at] for each in limits]) for at in range(len(Limits._fields)))
        is_split = axis not in self.grids and len(limits) > 1
        answers = replay.all_answers(thresholds)
        given = answers[stage.name]
        if axis.end is End.CUT and isinstance(given, ValueAnswers):
            found = _cut_sides(given, axis.at)
        elif stage.has_values:
            found = _value_sides(stage, replay.p[stage.name], thresholds[axis.key])
        else:
            found = _sides_of(stage, replay.p[stage.name], axis.end, no_below, yes_from)
        found = found if is_split or len(found) == len(("below", "above")) else [found[0], found[-1]]
        sides = [replay.walk({**answers, stage.name: side}, self._own, self._entry) for side in found]
        ends = [End.NO_BELOW, End.YES_FROM] if is_split else [axis.end]
        codes = [self._reached(stage, axis, no_below if end is End.NO_BELOW else yes_from, end) for end in ends]
        return sides[0], list(zip(sides[1:], codes, strict=True))

    def _reached(self, stage: Stage, axis: FreeKey, limits: Array, end: End) -> Codes:
        """Number of values of one tier's threshold that each row reaches, those of the other tiers held; (n,)."""
        key = axis._replace(end=end)
        if len(limits) == 1:
            return self._codes[key if key in self.grids else axis._replace(end=End.NO_BELOW)]
        at = list(stage.limits).index(axis.tier)
        return _codes(highest_threshold(stage.combine, self._replay.p[stage.name], limits, at), self.grids[key])

    def _p(self, key: FreeKey) -> Array:
        """The p that is compared with a threshold; infinite where a tier is not asked or a prior is not known; (n,)."""
        if self._stages[key.stage].source is not None:
            unknown = np.inf if key.end is End.NO_BELOW else -np.inf
            return np.where(np.isnan(self._replay.priors), unknown, self._replay.priors)
        stage = self._stages[key.stage]
        if not stage.has_values:
            p = self._replay.scored.p[key.key]
        elif key.end is End.CUT:
            p = expected_score(self._replay.p[stage.name])
        else:
            p = stage.question(ANY_TIER).confidence(self._replay.p[stage.name])
        return np.where(np.isnan(p), -np.inf, p)

    def _grid(self, key: FreeKey) -> Array:
        """Values between the p of items, at shares of those that matter and of all; rising."""
        p = self._p(key)
        is_known = np.isfinite(p)
        known, mattering = np.unique(p[is_known]), p[is_known & self._replay.matters]
        stage = self._stages[key.stage]
        if key.end is End.CUT:
            return _grid_of_cuts(stage, _between(known, mattering) if mattering.size else known[:0])
        ends = bounds_of(stage, key)
        if not mattering.size:
            return np.array(ends if key.end is not End.BOTH else [value_of(self._fixed, key)])
        return np.unique(np.clip(np.concatenate((_between(known, mattering), ends)), *ends))


def _between(known: Array, mattering: Array) -> Array:
    """Values between the p of items, at shares of those that matter and of all; ``known`` rises."""
    of_some = np.quantile(mattering, _SHARES, method="lower")
    marks = np.concatenate((of_some, np.quantile(known, _SHARES_OF_ALL, method="lower")))
    # Half way to the next lower p, so that the last digits of a p decide nothing.
    upper = np.unique(np.searchsorted(known, np.unique(marks)))
    return (known[upper[upper > 0]] + known[upper[upper > 0] - 1]) / 2


def _grid_of_cuts(stage: Stage, between: Array) -> Array:
    """The same values for all cut points of a score, with room for every one of them at either end; rising."""
    keys = [FreeKey(stage.name, end=End.CUT, at=at) for at in range(len(stage.cuts))]
    ends = [bounds_of(stage, key) for key in keys]
    inner = np.clip(between, ends[-1][0], ends[0][1])
    return np.asarray(np.unique(np.round(np.concatenate((inner, *ends)) / GAP)) * GAP)


def _cuts_beside(keys: Iterable[FreeKey], key: FreeKey) -> list[FreeKey]:
    """The other cut points of the same score among some thresholds; none beside another threshold."""
    if key.end is not End.CUT:
        return []
    return [other for other in keys if other.key == key.key and other.end is End.CUT and other != key]


def _sides_of(stage: Stage, p: Array, end: End, no_below: Array, yes_from: Array) -> list[StageAnswers]:
    """The answers of rows that do not reach a threshold, and of those that do; between them, of those that reach one.

    Rows of a source that knows nothing of them are uncertain, whatever the thresholds.
    """
    known = ~np.isnan(p[:, 0]) if stage.source is not None else np.ones(len(p), np.bool_)
    nothing = np.zeros(len(p), np.bool_)
    if end is End.NO_BELOW:
        return [Answers(nothing, known), Answers(combine(stage.combine, p, yes_from), nothing)]
    if end is End.YES_FROM:
        low = known & ~combine(stage.combine, p, no_below)
        return [Answers(nothing, low), Answers(known & ~low, low)]
    return [Answers(nothing, known), Answers(nothing, nothing), Answers(known, nothing)]


def _value_sides(stage: Stage, p: Array, threshold: Threshold) -> list[StageAnswers]:
    """The answers if a choice or score is sure of no row, and if of all."""
    return [stage.answers(p, {ANY_TIER: ScoreLimits(least, cuts_of(threshold))}) for least in (np.inf, 0.0)]


def _cut_sides(answers: ValueAnswers, at: int) -> list[StageAnswers]:
    """The answers of a score if no row reaches one of its cut points, and if all do; what is uncertain stays so."""
    sides = (np.minimum(answers.places, at), np.maximum(answers.places, at + 1))
    return [answers._replace(places=np.where(answers.uncertain, -1, places)) for places in sides]


def _codes(p: Array, grid: Array) -> Codes:
    """Number of grid values that are at most p; (n,)."""
    return np.searchsorted(grid, p, side="right")


def _from_above(table: NDArray[Any]) -> Array:
    """Sums over all codes above each index of the grid, along the last axis."""
    return np.asarray(np.cumsum(table[..., ::-1], axis=-1)[..., ::-1][..., 1:])
