"""P-values for a risk that must stay low, and tests of many thresholds at once. Pure numpy.

Learn then Test: for each vector of thresholds the null hypothesis is "its risk is above what is allowed". A rejected
one carries the guarantee that its risk is not, and all rejected ones together do with probability 1 - delta.

Source: Angelopoulos, Bates, Candes, Jordan and Lei (2021), Learn then Test.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from cascade.probability import Array, Bools

_FULL_BET = 0.99
"""Share of the wealth that a bet may risk at most; all of it would end at 0 after one full loss."""

_N_THOUGHT = 30.0  # tasks that a variance known beforehand weighs
_LEAST_VARIANCE = 1e-4  # where it was 0, bets would know no bound but the full one
_NORMAL = NormalDist()
_SHARES = np.linspace(math.log(1e-12), math.log(0.9999), 2_000)
"""Shares of the wealth to be won that are there already, as logarithms."""
_HEDGES = np.array([_NORMAL.pdf(_NORMAL.inv_cdf(share)) / share for share in np.exp(_SHARES)])
"""What to bet at each, in standard deviations of the sum of the losses to come."""


def betting_p(losses: ArrayLike, risk: float, delta: float = 0.05, variance: float | None = None) -> float:
    """P-value for losses in [0, 1] of one vector of thresholds; see ``betting_ps``."""
    return float(betting_ps(np.asarray(losses, dtype=float)[None], risk, delta, variance)[0])


def betting_ps(losses: Array, risk: float, delta: float = 0.05, variance: ArrayLike | None = None) -> Array:
    """P-values for losses in [0, 1] from bets against "the mean is at least ``risk``", in [0, 1].

    Wealth starts at 1 and is multiplied by 1 - bet * (loss - risk) for each task in turn; under the null it is a
    supermartingale, so that 1 / (the most that it ever was) is a p-value (Ville), whatever the bets, as long as each
    depends on earlier tasks alone. They are sized anew after each task by what is still to be won, a wealth of
    1 / delta, in the tasks that are left: as one hedges a claim that pays 1 / delta where the mean of the losses turns
    out below what a normal test would reject. The order of the tasks must not depend on their losses.

    Args:
        losses: A row for each vector, a column for each task in the order in which they are bet on; (vectors, tasks).
        risk: The mean loss that is allowed, in (0, 1).
        delta: The level for which bets are sized; any value is valid, one in (0, 1).
        variance: What the variance of losses is thought to be before the first task, of each vector or of all; it must
            not come from these tasks.

    Source: Waudby-Smith and Ramdas (2024), Estimating means of bounded random variables by betting; Voracek and
    Orabona (2025), STaR-Bets, arXiv:2505.22422, for bets by what is still to be won in the tasks that are left. Where
    they bet sqrt(2 log(what the wealth must be multiplied by)) standard deviations, the hedge bets a little less, and
    the chance that they add in the end (a uniform number in place of Ville's 1) is left out.
    """
    n_vectors, n = losses.shape
    weight = _N_THOUGHT if variance is not None else 1.0
    start = weight * np.maximum(risk * (1 - risk) if variance is None else variance, _LEAST_VARIANCE)
    goal = math.log(1 / delta)
    log_wealth, most, total, squares = np.zeros((4, n_vectors))
    for at, loss in enumerate(losses.T):
        mean = (0.5 * risk + total) / (at + 1)
        variances = (start + np.maximum(squares - 2 * mean * total + at * mean**2, 0)) / (weight + at)
        size = np.where(
            most < goal, np.interp(log_wealth - goal, _SHARES, _HEDGES) / math.sqrt(n - at), math.sqrt(2 * goal / n)
        )
        bets = np.minimum(_FULL_BET / (1 - risk), size / np.sqrt(variances))
        log_wealth = log_wealth + np.log1p(-bets * (loss - risk))
        most = np.maximum(most, log_wealth)
        total, squares = total + loss, squares + loss**2
    return np.exp(-most)


def fixed_sequence(p_values: ArrayLike, delta: float) -> int:
    """Number of hypotheses that are rejected when they are tested in order until one is not.

    The chance of rejecting any true one is at most ``delta``, whatever their number. Source: Maurer, Hothorn and
    Lehmacher (1995).
    """
    kept = np.flatnonzero(np.asarray(p_values, dtype=float) > delta)
    return int(kept[0]) if kept.size else int(np.size(p_values))


def holm(p_values: ArrayLike, delta: float) -> Bools:
    """True for rejected hypotheses; valid in any order and under any dependence. Source: Holm (1979)."""
    values = np.asarray(p_values, dtype=float)
    order = np.argsort(values, kind="stable")
    n_rejected = fixed_sequence(values[order] * (values.size - np.arange(values.size)), delta)
    rejected = np.zeros(values.size, np.bool_)
    rejected[order[:n_rejected]] = True
    return rejected


def tasks_needed(target: float, delta: float) -> int:
    """The least number of tasks with which a mean of ``target`` can be certified: none of them may lose anything.

    Args:
        target: The least mean per task, such as a recall; in (0, 1).
        delta: The chance that the guarantee may be wrong, in (0, 1).
    """
    low, high = 0, 1
    while betting_p(np.zeros(high), 1 - target, delta) > delta:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = betting_p(np.zeros(middle), 1 - target, delta) <= delta
        low, high = (low, middle) if enough else (middle, high)
    return high
