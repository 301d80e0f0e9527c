"""Tails and quantiles of Student's t and of the binomial. Pure numpy."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

Z_95 = 1.959964
"""The normal deviate that 95 % lie within on both sides together."""

_N_HALVINGS = 60


def t_tail(t: float, df: int) -> float:
    """The chance that |T| is at least ``|t|``, in [0, 1].

    Args:
        t: A value of the statistic.
        df: Degrees of freedom, at least 1.

    Source: Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: finite sums, exact for whole degrees of freedom.
    """
    angle = math.atan(abs(t) / math.sqrt(df))
    square = math.cos(angle) ** 2
    if df % 2:
        ranks = np.arange(1, (df - 3) // 2 + 1)
        series = 1 + float(np.cumprod(2 * ranks / (2 * ranks + 1) * square).sum())
        inside = 2 / math.pi * (angle + (math.sin(angle) * math.cos(angle) * series if df > 1 else 0.0))
    else:
        ranks = np.arange(1, (df - 2) // 2 + 1)
        inside = math.sin(angle) * (1 + float(np.cumprod((2 * ranks - 1) / (2 * ranks) * square).sum()))
    return min(1.0, max(0.0, 1 - inside))


@cache
def t_quantile(level: float, df: int) -> float:
    """The t that |T| stays below with a chance of ``level``.

    Args:
        level: In (0, 1), such as 0.95.
        df: Degrees of freedom, at least 1.
    """
    low, high = 0.0, 1.0
    while t_tail(high, df) > 1 - level:
        high *= 2
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, df) > 1 - level else (low, middle)
    return high


def wilson(value: float, n: float, z: float) -> tuple[float, float]:
    """Both ends of Wilson's interval of a share, in [0, 1].

    Args:
        value: The share that was seen, in [0, 1].
        n: Independent rows that it is worth, above 0.
        z: Quantile of the normal distribution or of Student's t.

    Source: Wilson (1927), Probable inference, the law of succession, and statistical inference.
    """
    square = z**2 / n
    middle = (value + square / 2) / (1 + square)
    reach = math.sqrt(square * value * (1 - value) + square**2 / 4) / (1 + square)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def binomial_p(n_losses: int, n: int, risk: float) -> float:
    """Exact p-value where every task is a full loss or none: P(Bin(n, risk) <= n_losses), in [0, 1].

    Args:
        n_losses: Tasks that were lost, 0..n.
        n: Tasks.
        risk: The share that is allowed, in (0, 1).
    """
    if n_losses >= n:
        return 1.0
    ranks = np.arange(1, n_losses + 1)
    steps = np.log((n - ranks + 1) / ranks) + math.log(risk / (1 - risk))
    logs = n * math.log1p(-risk) + np.concatenate(([0.0], np.cumsum(steps)))
    return float(min(1.0, np.exp(logs).sum()))
