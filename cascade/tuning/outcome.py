"""What a cascade would answer under any thresholds, from scores that are there already. Pure numpy.

Answers equal those of ``Stage.is_yes`` row by row; but no model is asked and no row is looped over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.stage import Combine, Stage
from cascade.tree import Cascade
from cascade.tuning.scored import Key, ScoredTasks

Bools = NDArray[np.bool_]
Thresholds = Mapping[Key, float]
"""(stage, tier) -> threshold; yes from there on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What thresholds come to on labelled tasks.

    Attributes:
        recall: Mean over tasks of the share of what matters that was kept, in [0, 1]; NaN where nothing matters.
        calls: Probes per item.
        false_positives: Items kept that do not matter, per item.
    """

    recall: float
    calls: float
    false_positives: float


class Replay:
    """Runs a cascade on scored tasks.

    Args:
        cascade: The cascade.
        scored: Its scores; at least one row.

    Attributes:
        n_tasks: Tasks with at least one item that matters; only they have a recall.
    """

    def __init__(self, cascade: Cascade, scored: ScoredTasks) -> None:
        self._cascade = cascade
        self._p = {
            stage.name: np.stack([scored.p[stage.name, tier] for tier in stage.questions], axis=1)
            for stage in cascade.stages
        }
        self._asked = {name: ~np.isnan(p) for name, p in self._p.items()}
        self._n_asked = {name: asked.sum(axis=1) for name, asked in self._asked.items()}
        self._n_rows = scored.tasks.size
        self._matters = scored.kept(cascade)
        self._mattering = np.flatnonzero(self._matters)
        _, self._task = np.unique(scored.tasks[self._mattering], return_inverse=True)
        self._sizes = np.bincount(self._task)
        self.n_tasks = self._sizes.size

    def outcome(self, thresholds: Thresholds) -> Outcome:
        """Recall and costs under thresholds."""
        kept, calls = self._walk(thresholds)
        recalls = self._recalls(kept)
        return Outcome(
            recall=float(recalls.mean()) if recalls.size else float("nan"),
            calls=calls / self._n_rows,
            false_positives=int((kept & ~self._matters).sum()) / self._n_rows,
        )

    def losses(self, thresholds: Thresholds) -> NDArray[np.float64]:
        """1 - recall of each task that has something to find, in the tasks' order; (n_tasks,)."""
        return 1 - self._recalls(self._walk(thresholds)[0])

    def answers(self, stage: Stage, thresholds: Thresholds) -> Bools:
        """The stage's answer for every row."""
        p, asked = self._p[stage.name], self._asked[stage.name]
        limits = np.array([thresholds[stage.name, tier] for tier in stage.questions])
        if p.shape[1] == 1:
            return np.asarray(p[:, 0] >= limits[0])
        if stage.combine is Combine.MEAN:
            return np.asarray(np.where(asked, p, 0).sum(axis=1) >= np.where(asked, limits, 0).sum(axis=1))
        if stage.combine is Combine.MAX:
            best = np.where(asked, p, -1).argmax(axis=1)
            return np.asarray(p[np.arange(self._n_rows), best] >= limits[best])
        return np.asarray((p >= limits).any(axis=1))

    def _recalls(self, kept: Bools) -> NDArray[np.float64]:
        hits = np.bincount(self._task, weights=kept[self._mattering], minlength=self.n_tasks)
        return np.asarray(hits / self._sizes, np.float64)

    def _walk(self, thresholds: Thresholds) -> tuple[Bools, int]:
        """Which rows are kept, and how many probes that takes."""
        here = {stage.name: np.zeros(self._n_rows, np.bool_) for stage in self._cascade.stages}
        here[self._cascade.first.name][:] = True
        kept, calls = np.zeros(self._n_rows, np.bool_), 0
        for stage in in_order(self._cascade):
            reached, yes = here[stage.name], self.answers(stage, thresholds)
            calls += int(self._n_asked[stage.name][reached].sum())
            for answer, target in ((yes, stage.yes), (~yes, stage.no)):
                if not target.is_label:
                    here[target.name] |= reached & answer
                elif target.name != self._cascade.dropped:
                    kept |= reached & answer
        return kept, calls


def in_order(cascade: Cascade) -> list[Stage]:
    """The stages, each after all that may lead to it."""
    return sorted(cascade.stages, key=lambda stage: -len(cascade.after(stage)))


def deciding(cascade: Cascade) -> list[Stage]:
    """The stages whose answer can change whether an item is kept; recall depends on no other."""
    found = []
    for stage in cascade.stages:
        ends = {label == cascade.dropped for label, _ in cascade.paths(stage)}
        if len(ends) > 1:
            found.append(stage)
    return found


def own_thresholds(cascade: Cascade) -> dict[Key, float]:
    """The thresholds that a cascade has."""
    return {
        (stage.name, tier): question.threshold for stage in cascade.stages for tier, question in stage.questions.items()
    }
