"""What few labelled tasks say of the label of any scored item. Pure numpy.

Thirty tasks have a handful of rows of a rare label; thresholds chosen on them follow their accidents. Scores are plenty.
So each row counts towards every label, by the probability that its scores give to it: the product of its stages' p(yes)
along the label's path, each through a beta curve of three parameters. How far a curve may leave the raw p(yes) is
decided by tasks left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade.stage import Combine, Stage
from cascade.tree import Cascade
from cascade.tuning.calibration import N_FOLDS, Curve, pulled_beta
from cascade.tuning.scored import ScoredTasks

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_PULLS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelModel:
    """P of each label from scores.

    Attributes:
        curves: Stage -> its curve; of several tiers' p(yes) it takes the highest, or the mean where the stage does.
        pulls: Stage -> how strongly its curve was drawn towards the raw p(yes).
    """

    curves: Mapping[str, Curve]
    pulls: Mapping[str, float]

    @classmethod
    def fit(cls, cascade: Cascade, scored: ScoredTasks) -> LabelModel:
        """Of labelled tasks; a stage that shows one answer alone keeps nearly its raw p(yes)."""
        curves, pulls = {}, {}
        for stage in cascade.stages:
            truths = scored.truths(cascade, stage.name)
            known = truths >= 0
            p, yes, tasks = _p_stage(stage, scored)[known], truths[known].astype(float), scored.tasks[known]
            pulls[stage.name] = _pull(p, yes, tasks) if np.unique(yes).size > 1 else _PULLS[-1]
            curves[stage.name] = pulled_beta(p, yes, pulls[stage.name])
        return cls(curves=curves, pulls=pulls)

    def p_labels(self, cascade: Cascade, scored: ScoredTasks) -> Array:
        """P of each label for each row, from its scores and not from its label; (n_rows, n_labels), rows sum to 1."""
        p_yes = {stage.name: self.curves[stage.name](_p_stage(stage, scored)) for stage in cascade.stages}
        found = np.zeros((scored.labels.size, len(cascade.labels)))
        for label, steps in cascade.paths():
            along = [p_yes[stage.name] if answer else 1 - p_yes[stage.name] for stage, answer in steps]
            found[:, cascade.labels.index(label)] += np.prod(along, axis=0)
        return found


def with_drawn_labels(scored: ScoredTasks, p_labels: Array, n_draws: int, seed: int = 0) -> ScoredTasks:
    """The same tasks ``n_draws`` times, their labels drawn anew each time.

    Args:
        scored: The tasks.
        p_labels: P of each label for each row; (n_rows, n_labels).
        n_draws: How often.
        seed: Of the draws.
    """
    rows = np.tile(np.arange(scored.labels.size), n_draws)
    levels = np.cumsum(p_labels, axis=1)[rows]
    drawn = (np.random.default_rng(seed).random(rows.size)[:, None] * levels[:, -1:] >= levels[:, :-1]).sum(axis=1)
    return replace(
        scored,
        tasks=scored.tasks[rows] + scored.n_tasks * np.repeat(np.arange(n_draws), scored.labels.size),
        labels=drawn.astype(np.int64),
        p={key: values[rows] for key, values in scored.p.items()},
        n_tasks=scored.n_tasks * n_draws,
        slices={name: values[rows] for name, values in scored.slices.items()},
        priors=scored.priors[rows] if scored.priors is not None else None,
        facts=scored.facts.take(rows) if scored.facts is not None else None,
    )


def _p_stage(stage: Stage, scored: ScoredTasks) -> Array:
    """One p(yes) for each row from those of its tiers."""
    p = np.stack([scored.p[stage.name, tier] for tier in stage.questions], axis=1)
    asked = ~np.isnan(p)
    known = np.where(asked, p, 0.0)
    if stage.combine is Combine.MEAN:
        return np.asarray(known.sum(axis=1) / np.maximum(asked.sum(axis=1), 1))
    return np.asarray(known.max(axis=1))


def _pull(p: Array, yes: Array, tasks: Ints) -> float:
    """The strongest pull whose loss on tasks left out is within one standard error of the least.

    Source: Breiman, Friedman, Olshen and Stone (1984), Classification and regression trees, the 1 SE rule; the error
    is that of the difference, over tasks.
    """
    _, task = np.unique(tasks, return_inverse=True)
    n_tasks = int(task.max()) + 1
    folds = (np.random.default_rng(0).permutation(n_tasks) % N_FOLDS)[task]
    losses = np.array([_losses(p, yes, folds, pull) for pull in _PULLS])
    by_task = np.array([np.bincount(task, weights=row, minlength=n_tasks) for row in losses])
    best = by_task[int(by_task.sum(axis=1).argmin())]
    more = by_task - best
    is_near = more.sum(axis=1) <= more.std(axis=1) * np.sqrt(n_tasks)
    return _PULLS[int(np.flatnonzero(is_near)[-1])]


def _losses(p: Array, yes: Array, folds: Ints, pull: float) -> Array:
    """Log loss of each row by the curve of the other folds, in nats."""
    honest = np.empty_like(p)
    for fold in range(N_FOLDS):
        left = folds == fold
        honest[left] = pulled_beta(p[~left], yes[~left], pull)(p[left])
    honest = np.clip(honest, _TINY, 1 - _TINY)
    return np.asarray(-(yes * np.log(honest) + (1 - yes) * np.log1p(-honest)))
