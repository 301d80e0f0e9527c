"""Thresholds of a whole cascade from few labelled tasks: the best under a model of scores, without a guarantee.

Thirty tasks are too few to test anything on, and enough rows to overfit three thresholds. So thresholds are not chosen
on the rows that were seen but on many drawn from ``ScoreModel``. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cascade.metrics import best_f1_threshold
from cascade.scoring import p_yes
from cascade.stage import Stage
from cascade.tree import Cascade
from cascade.tuning.outcome import Replay, Thresholds, in_order
from cascade.tuning.score_model import ScoreModel
from cascade.tuning.scored import Key, ScoredTasks

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_N_SWEEPS = 6
_GAIN = 1e-9


class Board:
    """Labels that a cascade gives to scored rows, and their macro F1, under any thresholds.

    Args:
        cascade: The cascade.
        scored: Its scores.
        weights: What each row counts; None for 1.
    """

    def __init__(self, cascade: Cascade, scored: ScoredTasks, weights: Array | None = None) -> None:
        self._cascade, self._replay = cascade, Replay(cascade, scored)
        self._order = in_order(cascade)
        self._n_labels = len(cascade.labels)
        self._base = scored.labels * self._n_labels
        self._weights = weights
        self._n = scored.labels.size

    def confusion(self, answers: Ints) -> Array:
        """Rows are truths, columns answers."""
        flat = np.bincount(self._base + answers, weights=self._weights, minlength=self._n_labels**2)
        return flat.reshape(self._n_labels, -1).astype(float)

    def labels(self, thresholds: Thresholds) -> Ints:
        says = {stage.name: self._replay.answers(stage, thresholds) for stage in self._order}
        return self._from(says)[self._cascade.first.name]

    def _from(self, says: Mapping[str, Bools]) -> dict[str, Ints]:
        """Stage -> the label of each row were it to reach it."""
        found: dict[str, Ints] = {}
        for stage in reversed(self._order):
            yes, no = (self._end(target, found) for target in (stage.yes, stage.no))
            found[stage.name] = np.where(says[stage.name], yes, no)
        return found

    def _end(self, target, found):
        if target.is_label:
            return np.full(self._n, self._cascade.labels.index(target.name))
        return found[target.name]

    def score(self, thresholds):
        return macro(self.confusion(self.labels(thresholds)))

    def best(self, start: Thresholds, grids: Mapping[Key, Array]) -> tuple[float, dict[Key, float]]:
        """Coordinate ascent."""
        here = dict(start)
        level = self.score(here)
        for _ in range(_N_SWEEPS):
            before = level
            for (stage_name, tier), grid in grids.items():
                stage = self._cascade.stage(stage_name)
                says = {s.name: self._replay.answers(s, here) for s in self._order}
                yes = self._from(says | {stage_name: np.ones(self._n, bool)})[self._cascade.first.name]
                no = self._from(says | {stage_name: np.zeros(self._n, bool)})[self._cascade.first.name]
                rows = np.flatnonzero(yes != no)
                scores = []
                for t in grid:
                    ans = self._replay.answers(stage, here | {(stage_name, tier): float(t)})
                    scores.append(macro(self.confusion(np.where(ans, yes, no))))
                at = int(np.argmax(scores))
                if scores[at] > level + _GAIN:
                    level = scores[at]
                    here[stage_name, tier] = float(grid[at])
            if level <= before + _GAIN:
                break
        return level, here


def macro(confusion: Array) -> float:
    both = np.diag(confusion)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurs = confusion.sum(axis=1) > 0
    return float((2 * both[occurs] / total[occurs]).mean())


def own_thresholds(cascade):
    return {(s.name, t): q.threshold for s in cascade.stages for t, q in s.questions.items()}


def per_stage(cascade, scored):
    out = own_thresholds(cascade)
    for stage in cascade.stages:
        truths = scored.truths(cascade, stage.name)
        for tier in stage.questions:
            p = scored.p[stage.name, tier]
            known = (truths >= 0) & ~np.isnan(p)
            out[stage.name, tier] = best_f1_threshold(p[known], truths[known] == 1)
    return out


def grids(cascade, scored, n=48):
    q = np.linspace(0, 1, n)
    out = {}
    for key, p in scored.p.items():
        ok = ~np.isnan(p)
        if not ok.any(): continue
        kept = scored.kept(cascade) & ok
        v = [np.quantile(p[ok], q)] + ([np.quantile(p[kept], q)] if kept.any() else [])
        out[key] = np.unique(np.clip(np.concatenate(v), 1e-6, 1 - 1e-6))
    return out


def fallback(cascade, scored, share=0.5, n_draws=4000, seed=0):
    model = ScoreModel.fit(cascade, scored)
    n = np.bincount(scored.labels, minlength=len(cascade.labels))
    per = np.ceil(n_draws / np.maximum(n, 1)).astype(np.int64)
    copies = per[scored.labels]
    drawn = model.draw(scored, copies, share, seed)
    weights = (1 / per)[drawn.labels]
    board = Board(cascade, drawn, weights)
    g = grids(cascade, drawn)
    starts = [per_stage(cascade, scored), own_thresholds(cascade)]
    return max((board.best(s, g) for s in starts), key=lambda x: x[0])[1]


def joint_raw(cascade, scored):
    board = Board(cascade, scored)
    g = grids(cascade, scored)
    starts = [per_stage(cascade, scored), own_thresholds(cascade)]
    return max((board.best(s, g) for s in starts), key=lambda x: x[0])[1]
