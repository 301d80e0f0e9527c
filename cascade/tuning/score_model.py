"""A parametric model of scores, fitted to few labelled tasks, and as many rows drawn from it as one likes. Pure numpy.

For each true label the raw log odds of all questions are jointly normal. Means and spreads lean on those of the labels
with the same true answer, the more the fewer rows a label has; correlations are one matrix for all labels, drawn
towards none. A drawn row lies between a row that was seen and the model: the part that is seen keeps the skew that a
normal has not, the part that is modelled keeps the accidents of few tasks out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade.scoring import logit, p_yes
from cascade.tree import Cascade
from cascade.tuning.scored import ScoredTasks

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

_TINY = 1e-6
_LEAN = 10  # rows at which a label's own mean and spread count as much as those it leans on
_LEAN_CORRELATION = 50  # the same for correlations
_LEAST_SPREAD = 0.05  # in log odds; scores that are all alike are still not certain


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreModel:
    """Normals of log odds, one for each label.

    Attributes:
        means: (n_labels, n_questions).
        spreads: Standard deviations; (n_labels, n_questions), above 0.
        mixing: Turns independent standard normals into correlated ones; (n_questions, n_questions).
    """

    means: Array
    spreads: Array
    mixing: Array

    @classmethod
    def fit(cls, cascade: Cascade, scored: ScoredTasks) -> ScoreModel:
        """Of at least one row; questions are in the order of ``scored.p``."""
        odds = _odds(scored)
        sides = np.array([_sides(cascade, stage) for stage, _ in scored.p]).T
        means, spreads = np.zeros(sides.shape), np.ones(sides.shape)
        for question in range(sides.shape[1]):
            means[:, question], spreads[:, question] = _moments(odds[:, question], scored.labels, sides[:, question])
        away = (odds - means[scored.labels]) / spreads[scored.labels]
        return cls(means=means, spreads=spreads, mixing=_mixing(away))

    def draw(self, scored: ScoredTasks, n_copies: Ints, share: float, seed: int = 0) -> ScoredTasks:
        """Rows like those given, each in its task, with its label and the tiers it is asked in.

        Args:
            scored: The rows that the model was fitted to.
            n_copies: How often each row is drawn; one entry a row.
            share: How much of a row's spread is the model's and not its own, in [0, 1].
            seed: Of the draws.
        """
        rows = np.repeat(np.arange(scored.labels.size), n_copies)
        labels = scored.labels[rows]
        noise = np.random.default_rng(seed).standard_normal((rows.size, self.means.shape[1])) @ self.mixing.T
        own = _odds(scored)[rows] - self.means[labels]
        odds = self.means[labels] + np.sqrt(1 - share**2) * own + share * self.spreads[labels] * noise
        p = p_yes(odds)
        return replace(
            scored,
            tasks=scored.tasks[rows],
            labels=labels,
            p={key: p[:, at] for at, key in enumerate(scored.p)},
            slices={name: values[rows] for name, values in scored.slices.items()},
            priors=None,
            facts=None,
        )


def _odds(scored: ScoredTasks) -> Array:
    """Raw log odds, (n_rows, n_questions); NaN where not asked."""
    return np.stack([logit(np.clip(p, _TINY, 1 - _TINY)) for p in scored.p.values()], axis=1)


def _sides(cascade: Cascade, stage: str) -> list[int]:
    """The stage's true answer for each label: 1, 0, or -1 where the label does not decide it."""
    return [
        next((int(answer) for known, answer in cascade.truths(label) if known.name == stage), -1)
        for label in cascade.labels
    ]


def _moments(odds: Array, labels: Ints, sides: Ints) -> tuple[Array, Array]:
    """Mean and spread of one question's log odds for each label."""
    asked = ~np.isnan(odds)
    values, labels = odds[asked], labels[asked]
    if not values.size:
        return np.zeros(sides.size), np.ones(sides.size)
    n = np.bincount(labels, minlength=sides.size).astype(float)
    sums = np.bincount(labels, weights=values, minlength=sides.size)
    n_side, sum_side = (np.array([part[sides == side].sum() for side in sides]) for part in (n, sums))
    side = (sum_side + _LEAN * values.mean()) / (n_side + _LEAN)
    means = (sums + _LEAN * side) / (n + _LEAN)
    off = (values - means[labels]) ** 2
    squares = np.bincount(labels, weights=off, minlength=sides.size)
    spreads = np.sqrt((squares + _LEAN * off.mean()) / (n + _LEAN))
    return means, np.maximum(spreads, _LEAST_SPREAD)


def _mixing(away: Array) -> Array:
    """A root of the correlations of standardised log odds; pairs that are seldom asked together count as apart."""
    asked = ~np.isnan(away)
    values = np.where(asked, away, 0.0)
    together = asked.T.astype(float) @ asked
    correlations = (values.T @ values) / (together + _LEAN_CORRELATION)
    np.fill_diagonal(correlations, 1.0)
    sizes, vectors = np.linalg.eigh(correlations)
    root = vectors * np.sqrt(np.maximum(sizes, 0))
    return np.asarray(root / np.sqrt((root**2).sum(axis=1, keepdims=True)))
