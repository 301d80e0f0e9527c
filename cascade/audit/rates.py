"""Rates over rows of tasks, with intervals that know that rows of one task are not independent. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.evaluation.distributions import t_quantile, t_tail, wilson
from cascade.probability import Array, Bools, Ints

LEVEL = 0.95
"""The share of intervals that hold the true rate."""

_ASSUMED_CORRELATION = 0.2
"""Within a task, where no row is a hit, or all are, so that none can be measured; more than is common."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share of rows.

    Attributes:
        value: In [0, 1]; None without rows.
        low: Lower end of the 95 % interval, in [0, 1].
        high: Upper end; with rows of one task only, or none, the interval is all of [0, 1].
        n: Rows.
        n_tasks: Tasks that have one.
    """

    value: float | None
    low: float
    high: float
    n: int
    n_tasks: int

    @property
    def half_width(self) -> float:
        """Half of the interval's length."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        """In per cent, such as ``30.0 % (25.1 to 35.4)``."""
        return "-" if self.value is None else f"{self.value:.1%} ({100 * self.low:.1f} to {100 * self.high:.1f})"


def rate(hits: Bools, tasks: Ints) -> Rate:
    """The share of hits.

    The variance is that of a ratio over tasks. It says how many independent rows these are worth, at most as many as
    there are, and the interval is Wilson's for that number, with a t quantile for the tasks there are.

    Args:
        hits: Whether each row counts.
        tasks: Number of the task of each row.

    Source: Korn and Graubard (1998), Confidence intervals for proportions with small expected number of positive
    counts, with Wilson's interval in place of the exact one.
    """
    sizes, counts = by_task(hits, tasks)
    n, n_tasks = int(sizes.sum()), sizes.size
    value = float(counts.sum()) / n if n else None
    if value is None or n_tasks == 1:
        return Rate(value=value, low=0.0, high=1.0, n=n, n_tasks=n_tasks)
    worth = min(float(n), _worth(value, sizes, counts))
    low, high = wilson(value, worth, t_quantile(LEVEL, freedom(sizes)))
    return Rate(value=value, low=low, high=high, n=n, n_tasks=n_tasks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over rows.

    Attributes:
        value: The mean.
        low: Lower end of its 95 % interval.
        high: Upper end; both are None where all rows are of one task.
    """

    value: float
    low: float | None
    high: float | None

    def __str__(self) -> str:
        """Such as ``+0.10 (+0.05 to +0.15)``."""
        return f"{self.value:+.3f}" + ("" if self.low is None else f" ({self.low:+.3f} to {self.high:+.3f})")


def mean(values: Array, tasks: Ints) -> Mean:
    """The mean of at least one row, with the interval of a ratio over tasks."""
    sizes, sums = by_task(values, tasks)
    value = float(values.mean())
    if sizes.size == 1:
        return Mean(value=value, low=None, high=None)
    error = float(np.sqrt(_variance(value, sizes, sums)))
    reach = t_quantile(LEVEL, freedom(sizes)) * error
    return Mean(value=value, low=value - reach, high=value + reach)


def by_task(hits: Bools | Array, tasks: Ints) -> tuple[Array, Array]:
    """Rows of each task that has one, and the sum of ``hits`` over them; both (n_tasks,)."""
    _, numbers = np.unique(tasks, return_inverse=True)
    return np.bincount(numbers).astype(float), np.bincount(numbers, weights=hits.astype(np.float64)).astype(np.float64)


def freedom(sizes: Array) -> int:
    """Degrees of freedom of tasks of unequal sizes, at least 1.

    Source: Kish (1965): n tasks of unequal weight are worth (sum w) ** 2 / sum w ** 2 equal ones.
    """
    return max(1, int(sizes.sum() ** 2 / (sizes**2).sum() + 1e-9) - 1)


def _worth(value: float, sizes: Array, counts: Array) -> float:
    """The number of independent rows that would give the same variance."""
    n = sizes.sum()
    if value in {0.0, 1.0}:
        return float(n / (1 + ((sizes**2).sum() / n - 1) * _ASSUMED_CORRELATION))
    return float(value * (1 - value) / max(_variance(value, sizes, counts), 1e-300))


def _variance(value: float, sizes: Array, sums: Array) -> float:
    """Variance of a ratio of sums over tasks, of which there are at least two."""
    off = sums - value * sizes
    return sizes.size / (sizes.size - 1) * float((off**2).sum()) / float(sizes.sum()) ** 2


MIN_TASKS = 10
"""Fewer tasks than these on either side are too few to test."""

MIN_ERRORS = 10
"""Errors that each side must be expected to have, by the rate of both, for the test's normal sum to be one."""


def contrast(wrong: Bools, tasks: Ints, inside: Bools) -> float | None:
    """The p-value of "a slice and the rest err equally often", two-sided, in [0, 1]; None with too little to tell.

    The statistic is the difference of two ratios over its standard error under one common rate, from how far each
    task is off, both sides of a task together; but never less than independent rows would have, since a few rare
    errors look more alike than they are.

    Args:
        wrong: Whether each row is an error.
        tasks: Number of the task of each row.
        inside: Whether each row is in the slice.

    Source: Rao and Scott (1992), A simple method for the analysis of clustered binary data, as a score test with a t
    quantile.
    """
    n_in, n_out = int(inside.sum()), int((~inside).sum())
    if not n_in or not n_out:
        return None
    _, numbers = np.unique(tasks, return_inverse=True)
    pooled = float(wrong.mean())
    sizes = [np.bincount(numbers[rows], minlength=1).astype(float) for rows in (inside, ~inside)]
    if min((size > 0).sum() for size in sizes) < MIN_TASKS or pooled * min(n_in, n_out) < MIN_ERRORS or pooled == 1:
        return None
    rates = float(wrong[inside].mean()), float(wrong[~inside].mean())
    off = np.where(inside, (wrong - pooled) / n_in, -(wrong - pooled) / n_out)
    sums = np.bincount(numbers, weights=off).astype(np.float64)
    variance = sums.size * float(sums.var(ddof=1))
    variance = max(variance, pooled * (1 - pooled) * (1 / n_in + 1 / n_out))
    df = min(freedom(size) for size in sizes)
    return t_tail((rates[0] - rates[1]) / float(np.sqrt(variance)), df)
