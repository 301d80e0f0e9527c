"""Ridge-penalised logistic regression by Newton's method, for calibration curves and priors. Pure numpy.

For a logistic model Newton's method is iteratively reweighted least squares. Source: McCullagh and Nelder (1989).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.probability import Array, p_yes

_MOST_STEPS = 50
_LONGEST_STEP = 1.0  # of one weight; a full step from far away can overshoot
_CLOSE = 1e-8  # a step so small is the last
_BLOCK = 8_192  # rows that are floats at once


def fit_logistic(
    x: NDArray[Any],
    yes: Array,
    count: Array,
    *,
    start: Array,
    penalty: Array,
    least: float = -np.inf,
) -> Array:
    """The weights with the least penalised log loss.

    Args:
        x: Features, a constant column included; (n, k).
        yes: What each row counts as a yes, from 0 to ``count``; (n,).
        count: What each row counts in all; (n,).
        start: The weights to begin with, to which the penalty draws; (k,).
        penalty: Half of it times the squared distance of each weight from its start is added to the loss; (k,).
        least: The least value of all weights but the last, whose column is the constant one.

    Returns:
        (k,).
    """
    weights = start.copy()
    for _ in range(_MOST_STEPS if len(x) else 0):
        slope, bend = penalty * (weights - start), np.diag(penalty)
        for first in range(0, len(x), _BLOCK):
            rows = slice(first, first + _BLOCK)
            block: Array = x[rows].astype(np.float64)
            p = p_yes(block @ weights)
            slope += block.T @ (count[rows] * p - yes[rows])
            bend += (block * (count[rows] * p * (1 - p))[:, None]).T @ block
        step = np.linalg.solve(bend, slope)
        longest = float(np.abs(step).max())
        weights = weights - step * min(1.0, _LONGEST_STEP / max(longest, _CLOSE))
        weights[:-1] = np.maximum(weights[:-1], least)
        if longest < _CLOSE:
            break
    return weights
