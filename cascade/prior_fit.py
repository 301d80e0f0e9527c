"""A prior from examples: ridge-penalised logistic regression on what is known of items. Pure numpy.

Fitted by Newton's method with limited steps, which for a logistic model is iteratively reweighted
least squares (McCullagh and Nelder 1989).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.fact_table import FactTable
from cascade.metrics import auc_per_task
from cascade.outlook import Prior
from cascade.scoring import p_yes

_RIDGE = 1.0  # as much as one item that speaks against every weight
_RIDGE_BIAS = 1e-6
_TURNS = 50
_LONGEST_STEP = 2.0  # log odds: a full Newton step from far away can overshoot
_CLOSE = 1e-6
_BLOCK = 8_192  # rows that are floats at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Items of which it is known whether a cascade keeps them.

    Attributes:
        facts: What is known of the items.
        kept: Whether each is kept.
        tasks: Number of the task that each belongs to.
    """

    facts: FactTable
    kept: Sequence[bool] | NDArray[np.bool_]
    tasks: Sequence[int] | NDArray[np.int64]

    @property
    def has_both(self) -> bool:
        """Whether some are kept and some are not, without which there is nothing to tell apart."""
        return np.unique(self.kept).size > 1


def fit_prior(examples: Examples) -> Prior | None:
    """The prior that fits the examples best; None where all are kept, or none."""
    if not examples.has_both:
        return None
    bias, *weights = _fit(examples.facts.counts, np.asarray(examples.kept, dtype=float)).tolist()
    return Prior(bias=bias, weights=dict(zip(examples.facts.names, weights, strict=True)))


def prior_auc(examples: Examples, n_folds: int = 5) -> float:
    """Mean per-task AUC of priors, each fitted to other tasks than those that it ranks.

    Args:
        examples: The examples.
        n_folds: Parts that the tasks are dealt into; each is ranked by a prior fitted to the rest.

    Returns:
        In [0, 1]; NaN with fewer than two tasks, or where no task has both kept and other items.
    """
    p = _cross_fitted(examples, n_folds)
    return float("nan") if p is None else auc_per_task(p, examples.kept, examples.tasks)


def cross_fitted(examples: Examples, n_folds: int = 5) -> NDArray[np.float64]:
    """P that each item matters, by a prior fitted to the other folds of tasks.

    Args:
        examples: The examples.
        n_folds: Parts that the tasks are dealt into, in turn.

    Returns:
        In (0, 1); NaN with fewer than two tasks, and where nothing is known of an item.
    """
    p = _cross_fitted(examples, n_folds)
    return np.where(examples.facts.is_known, np.nan if p is None else p, np.nan)


def _cross_fitted(examples: Examples, n_folds: int) -> NDArray[np.float64] | None:
    kept, counts = np.asarray(examples.kept, dtype=float), examples.facts.counts
    deal = np.unique(np.asarray(examples.tasks, dtype=int), return_inverse=True)[1].ravel() % n_folds
    if not examples.has_both or deal.max() == 0:
        return None
    odds = np.zeros(kept.size)
    for fold in range(deal.max() + 1):
        theta = _fit(counts[deal != fold], kept[deal != fold])
        odds[deal == fold] = theta[0] + counts[deal == fold] @ theta[1:]
    return p_yes(np.clip(odds, -30, 30))


def _fit(counts: NDArray[np.uint8], kept: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bias and weights."""
    size = counts.shape[1] + 1
    penalty = np.full(size, _RIDGE)
    penalty[0] = _RIDGE_BIAS
    theta = np.zeros(size)
    for _ in range(_TURNS):
        gradient, hessian = -penalty * theta, np.diag(penalty)
        for start in range(0, len(kept), _BLOCK):
            rows = slice(start, start + _BLOCK)
            block: NDArray[np.float64] = np.column_stack((np.ones(len(kept[rows])), counts[rows]))
            p = p_yes(block @ theta)
            gradient += block.T @ (kept[rows] - p)
            hessian += (block * (p * (1 - p))[:, None]).T @ block
        step = np.linalg.solve(hessian, gradient)
        longest = float(np.abs(step).max())
        theta += step * min(1.0, _LONGEST_STEP / max(longest, _CLOSE))
        if longest < _CLOSE:
            break
    return theta
