"""A prior from examples: ridge-penalised logistic regression on what is known of items. Pure numpy.

Fitted by Newton's method with limited steps, which for a logistic model is iteratively reweighted
least squares (McCullagh and Nelder 1989). Facts are counted as ``Prior.p_matters`` adds them up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.items import Item
from cascade.metrics import auc_per_task
from cascade.outlook import Prior, facts_of
from cascade.scoring import p_yes

LEAST_SEEN = 20
"""Items that must have a fact for it to get a weight; rarer ones say more of these items than of others."""

LEAST_SHARE = 0.1
"""Share of the tasks that must have it: the words of one project say little of another."""

_RIDGE = 1.0  # as much as one item that speaks against every weight
_RIDGE_BIAS = 1e-6
_TURNS = 50
_LONGEST_STEP = 2.0  # log odds: a full Newton step from far away can overshoot
_CLOSE = 1e-6
_BLOCK = 8_192  # rows that are floats at once
_MOST_COUNT = 255  # of one fact in one item


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Items of which it is known whether a cascade keeps them.

    Attributes:
        items: The items.
        kept: Whether each is kept.
        tasks: Number of the task that each belongs to.
    """

    items: Sequence[Item]
    kept: Sequence[bool]
    tasks: Sequence[int]

    @property
    def has_both(self) -> bool:
        """Whether some are kept and some are not, without which there is nothing to tell apart."""
        return len(set(self.kept)) > 1


def fit_prior(examples: Examples) -> Prior | None:
    """The prior that fits the examples best; None where all are kept, or none."""
    if not examples.has_both:
        return None
    names, counts = _table(examples)
    bias, *weights = _fit(counts, np.asarray(examples.kept, dtype=float)).tolist()
    return Prior(bias=bias, weights=dict(zip(names, weights, strict=True)))


def prior_auc(examples: Examples, n_folds: int = 5) -> float:
    """Mean per-task AUC of priors, each fitted to other tasks than those that it ranks.

    Args:
        examples: The examples.
        n_folds: Parts that the tasks are dealt into; each is ranked by a prior fitted to the rest.

    Returns:
        In [0, 1]; NaN with fewer than two tasks, or where no task has both kept and other items.
    """
    tasks, kept = np.asarray(examples.tasks, dtype=int), np.asarray(examples.kept, dtype=float)
    deal = np.unique(tasks, return_inverse=True)[1].ravel() % n_folds
    if not examples.has_both or deal.max() == 0:
        return float("nan")
    _, counts = _table(examples)
    odds = np.zeros(len(kept))
    for fold in range(deal.max() + 1):
        theta = _fit(counts[deal != fold], kept[deal != fold])
        odds[deal == fold] = theta[0] + counts[deal == fold] @ theta[1:]
    return auc_per_task(odds, kept, tasks)


def _table(examples: Examples) -> tuple[list[str], NDArray[np.uint8]]:
    """The facts that are seen often enough, and how often each item has each: (items, facts)."""
    found = [Counter(facts_of(item)) for item in examples.items]
    n_items = Counter(fact for facts in found for fact in facts)
    in_tasks = {(fact, task) for facts, task in zip(found, examples.tasks, strict=True) for fact in facts}
    n_tasks = Counter(fact for fact, _ in in_tasks)
    least = LEAST_SHARE * len(set(examples.tasks))
    names = sorted(fact for fact in n_items if n_items[fact] >= LEAST_SEEN and n_tasks[fact] >= least)
    place = {name: at for at, name in enumerate(names)}
    counts = np.zeros((len(found), len(names)), np.uint8)
    for row, facts in enumerate(found):
        for fact, n in facts.items():
            if fact in place:
                counts[row, place[fact]] = min(n, _MOST_COUNT)
    return names, counts


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
