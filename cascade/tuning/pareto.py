"""Candidate threshold vectors, chosen on the tasks that are searched and ordered from safest to cheapest. Pure.

The search is coordinate descent: one threshold at a time goes to the best of all its values, for many weights of metric
against cost; then pairs of thresholds are changed near the target level. All outcomes seen on the way are kept. Those
that no other beats in both metric and cost, the Pareto front, are the candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from cascade.probability import Array
from cascade.tuning.free_thresholds import FreeKey
from cascade.tuning.threshold_grid import GridIndex, Line, ThresholdGrid, nudged

_PRICES = np.geomspace(8, 0.05, 12)
_MOST_TURNS = 4
_NUDGES = (-8, -3, -1, 1, 3, 8)
_N_ROUNDS = 2
_N_SPOTS = 4
_MOST_VECTORS = 240

Advance = Callable[[float], object]
"""Called with the share of the work that is done, in [0, 1]."""


@dataclass(slots=True)
class _Pool:
    """All outcomes seen during the search.

    Attributes:
        threshold_grid: The grid that is searched.
        values: The metric; one array for each line.
        costs: The cost, likewise.
        lines: Each line's starting index, its axis, and the indices kept on that axis.
    """

    threshold_grid: ThresholdGrid
    values: list[Array] = field(default_factory=list)
    costs: list[Array] = field(default_factory=list)
    lines: list[tuple[GridIndex, FreeKey, np.ndarray]] = field(default_factory=list)

    def add(self, grid_index: GridIndex, axis: FreeKey) -> Line:
        """Evaluate all values on one axis, and keep those that no other on it beats."""
        line = self.threshold_grid.line(grid_index, axis)
        chosen = _unbeaten(line.values, line.costs)
        self.values.append(line.values[chosen])
        self.costs.append(line.costs[chosen])
        self.lines.append((dict(grid_index), axis, chosen))
        return line

    def pareto_front(self) -> tuple[Array, Array, list[GridIndex]]:
        """The Pareto front: metric, falling; cost, falling; and grid indices."""
        values, costs = np.concatenate(self.values), np.concatenate(self.costs)
        line = np.repeat(np.arange(len(self.lines)), [part.size for part in self.values])
        place = np.concatenate([chosen for _, _, chosen in self.lines])
        chosen = _unbeaten(values, costs)
        grid_index = []
        for row in chosen:
            others, axis, _ = self.lines[line[row]]
            grid_index.append(self.threshold_grid.moved(others, axis, int(place[row])))
        return values[chosen], costs[chosen], grid_index


def _unbeaten(values: Array, costs: Array) -> np.ndarray:
    """Indices of the entries that no other beats in both value and cost, ordered by falling value."""
    order = np.lexsort((costs, -values))
    best = np.minimum.accumulate(np.append(np.inf, costs[order][:-1]))
    return order[costs[order] < best]


def best_of_each_level(
    threshold_grid: ThresholdGrid,
    starts: list[GridIndex],
    level: float,
    spread: float,
    advance: Advance = lambda _: None,
) -> tuple[Array, list[GridIndex]]:
    """The vectors on the Pareto front, from the highest metric down to a little below ``level``.

    Args:
        threshold_grid: The grid on the tasks that are searched.
        starts: Indices to begin from.
        level: The target; the search is finest around it.
        spread: How far from the target the metric of the final choice may lie, such as its standard error.
        advance: Called with the share of the work that is done.

    Returns:
        Their metrics, falling, and their grid indices.
    """
    pool = _Pool(threshold_grid)
    n_steps = 2 * len(starts) * _PRICES.size + _N_ROUNDS * _N_SPOTS
    done = 0
    for start in starts:
        grid_index = dict(start)
        for price in np.concatenate((_PRICES, _PRICES[::-1])):
            grid_index = _descended(grid_index, float(price), level, pool)
            done += 1
            advance(done / n_steps)
    for _ in range(_N_ROUNDS):
        values, _, found = pool.pareto_front()
        for mark in level + spread * np.linspace(0, 3, _N_SPOTS):
            _pairs(found[int(np.abs(values - mark).argmin())], pool)
            done += 1
            advance(done / n_steps)
    values, _, found = pool.pareto_front()
    floor = min(level - (1 - level) / 2, values[0])
    chosen = _spaced(values, spread / 20, floor)
    return values[chosen], [found[at] for at in chosen]


def _descended(start: GridIndex, price: float, level: float, pool: _Pool) -> GridIndex:
    """Coordinate descent on cost - price * metric: ends where no single threshold lowers it."""
    grid_index, before = dict(start), GridIndex()
    unit, here = 0.0, np.inf
    for _ in range(_MOST_TURNS):
        if before == grid_index:
            break
        before = dict(grid_index)
        for axis in pool.threshold_grid.axes:
            line = pool.add(grid_index, axis)
            unit = unit or float(line.costs[np.isfinite(line.costs)].max()) / (1 - level)
            aims = line.costs - price * unit * line.values
            if aims.min() < here:
                here = float(aims.min())
                grid_index = pool.threshold_grid.moved(grid_index, axis, int(aims.argmin()))
    return grid_index


def _pairs(grid_index: GridIndex, pool: _Pool) -> None:
    """Moves each threshold a little, and for each move evaluates all values of every other threshold."""
    for key in pool.threshold_grid.grids:
        low, high = pool.threshold_grid.reach(key)
        for nudge in _NUDGES:
            place = min(max(grid_index[key] + nudge, low), high)
            moved = nudged(grid_index, key, place)
            for other in pool.threshold_grid.axes:
                if other != key and (other in pool.threshold_grid.grids or other.stage != key.stage):
                    pool.add(moved, other)


def _spaced(values: Array, least: float, floor: float) -> list[int]:
    """Indices of falling values that are at least ``least`` apart and above the floor."""
    chosen: list[int] = []
    gap = max(least, float(values[0] - floor) / _MOST_VECTORS)
    for at, value in enumerate(values):
        if value < floor:
            break
        if not chosen or values[chosen[-1]] - value >= gap:
            chosen.append(at)
    return chosen
