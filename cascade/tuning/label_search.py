"""Which label each scored row gets under any thresholds, and the thresholds of the best macro F1. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from cascade.metrics import macro_f1
from cascade.tree import Cascade
from cascade.tuning.measure import Array, Labels
from cascade.tuning.outcome import Bools, Replay, Thresholds, own_thresholds, parting
from cascade.tuning.scored import Key, ScoredTasks

_N_SWEEPS = 8
_LEAST = 1e-6
_N_PLACES = 48
_GAIN = 1e-9


class LabelReplay:
    """Labels and macro F1 of scored rows under any thresholds.

    Args:
        cascade: The cascade. A prior stage of it keeps its own thresholds, and is passed over without ``priors``.
        scored: Its scores.
        p_labels: What each row counts towards each label as truth, (n_rows, n_labels); None for its own label alone.
        priors: What its prior stage goes by for each row, NaN where nothing is known.
    """

    def __init__(
        self, cascade: Cascade, scored: ScoredTasks, p_labels: Array | None = None, priors: Array | None = None
    ) -> None:
        self._cascade, self._scored = cascade, scored
        self._replay = Replay(cascade, scored, priors)
        self._settled = self._replay.settled(own_thresholds(cascade)) if priors is not None else None
        self._n_rows, self._n_labels = scored.labels.size, len(cascade.labels)
        self._truths = p_labels

    def labels(self, thresholds: Thresholds) -> Labels:
        """The label of each row, as its place in the cascade's labels."""
        return self._end(self._replay.all_answers(thresholds))

    def macro_f1(self, thresholds: Thresholds) -> float:
        """Over all rows, in [0, 1]."""
        return self._score(self.labels(thresholds))

    def best(self, start: Thresholds) -> Thresholds:
        """Thresholds of the highest macro F1 found, one question after the other until none gains.

        Args:
            start: Where one of two climbs begins, the other begins in the middle of all scores; questions that no row
                is asked, or on which nothing depends, keep theirs.
        """
        stages = {stage.name for stage in parting(self._cascade)}
        grids = {key: grid for key in self._scored.p if key[0] in stages and (grid := self._grid(key)).size}
        middle = dict(start) | {key: float(np.median(grid)) for key, grid in grids.items()}
        return max((self._climb(place, grids) for place in (dict(start), middle)), key=self.macro_f1)

    def _climb(self, start: dict[Key, float], grids: Mapping[Key, Array]) -> Thresholds:
        here, level = start, self.macro_f1(start)
        for _ in range(_N_SWEEPS):
            before = level
            for key, grid in grids.items():
                scores = self._along(key, grid, here)
                at = int(scores.argmax())
                if scores[at] > level + _GAIN:
                    here, level = here | {key: float(grid[at])}, float(scores[at])
            if level == before:
                break
        return here

    def _along(self, key: Key, grid: Array, here: Thresholds) -> Array:
        """Macro F1 at each threshold of one question, all others held."""
        name, stage = key[0], self._cascade.stage(key[0])
        says = self._replay.all_answers(here)
        yes, no = (self._end(says | {name: np.full(self._n_rows, answer)}) for answer in (True, False))
        moved = (self._replay.answers(stage, {**here, key: float(value)}) for value in grid)
        return np.array([self._score(np.where(answers, yes, no)) for answers in moved])

    def _end(self, says: Mapping[str, Bools]) -> Labels:
        """The label that each row ends with."""
        return self._replay.walk(says, self._settled, {}).labels

    def _score(self, labels: Labels) -> float:
        if self._truths is None:
            flat = np.bincount(self._scored.labels * self._n_labels + labels, minlength=self._n_labels**2)
            return macro_f1(flat.reshape(self._n_labels, -1))
        rows = [np.bincount(labels, weights=column, minlength=self._n_labels) for column in self._truths.T]
        return macro_f1(np.array(rows))

    def _grid(self, key: Key) -> Array:
        """Scores at even shares of all rows and of those that matter."""
        p = self._scored.p[key]
        asked = ~np.isnan(p)
        parts = [p[rows] for rows in (asked, asked & self._scored.kept(self._cascade)) if rows.any()]
        shares = np.linspace(0, 1, _N_PLACES)
        values = [np.quantile(part, shares) for part in parts]
        return np.unique(np.clip(np.concatenate(values), _LEAST, 1 - _LEAST)) if values else np.empty(0)
