"""Does a slice err more often than the rest? A test whose unit is the task. Pure numpy."""

from __future__ import annotations

import numpy as np

from cascade.audit.rate import Bools, Ints, freedom
from cascade.audit.student import t_tail

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
