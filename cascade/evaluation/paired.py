"""Whether one adapter answers a question better than another, of the same items. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import comb, erfc, isfinite
from typing import Any

import numpy as np

from cascade.evaluation.metrics import auc, rows_by_task
from cascade.probability import Array, Bools, Ints

FEWEST = 10
"""Tasks with both answers below which no comparison is made."""

_DRAWS = 10_000
_MANY = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Two adapters on the same items of the same tasks.

    Attributes:
        n_tasks: Tasks with both true answers, which alone have an AUC; of a choice or score all with a known one.
        n_rows: Items whose true answer is known.
        before: Mean AUC per task of the adapter that is live; NaN without such tasks. Of a choice or score it is that
            of all answers' probabilities, true ones against the others.
        after: The same of the new one.
        low: Lower end of the interval in which their difference lies with a chance of 95 %; NaN without such tasks.
        high: Upper end of it.
        p_better: Share of the draws of tasks, with replacement, in which the new one has the higher mean.
        only_before: Items that the live one alone answers right, each at the thresholds that it has.
        only_after: Items that the new one alone answers right.
        p_equal: The chance of so uneven a split of those two if both are equally good (McNemar's exact test). It takes
            items of a task for independent, which they are not, so it decides nothing.
    """

    n_tasks: int
    n_rows: int
    before: float
    after: float
    low: float
    high: float
    p_better: float
    only_before: int
    only_after: int
    p_equal: float

    @property
    def gain(self) -> float:
        """How much higher the new one's mean AUC per task is."""
        return self.after - self.before

    def is_enough(self) -> bool:
        """Whether there are tasks enough to say anything."""
        return self.n_tasks >= FEWEST

    def is_better(self, by: float = 0.0) -> bool:
        """Whether the new one is better by more than so much, but for a chance of 2.5 %."""
        return self.is_enough() and self.low > by

    def is_worse(self) -> bool:
        """Whether the new one is worse, but for a chance of 2.5 %."""
        return self.is_enough() and self.high < 0

    def as_dict(self) -> Mapping[str, Any]:
        """JSON form; what is not known is null."""
        return {name: value if isfinite(value) else None for name, value in asdict(self).items()}


def paired(before: Array, after: Array, truths: Ints, tasks: Ints, right: tuple[Bools, Bools], seed: int = 0) -> Paired:
    """Compare what two adapters say: p(yes), (n,) each, or p of the answers of a choice or score, (n, answers).

    Args:
        before: Of the adapter that is live; NaN where it was not asked.
        after: Of the new one.
        truths: 1 for yes, 0 for no, or the place of the answer; -1 where it is not known; (n,).
        tasks: Number of each item's task; (n,).
        right: Whether either one's answer is right, at its own thresholds; (n,) each.
        seed: Of the draws.
    """
    answers = np.arange(before.shape[1]) if before.ndim > 1 else np.array([1])
    is_true = truths[:, None] == answers
    before, after = (scores.reshape(is_true.shape) for scores in (before, after))
    known = np.flatnonzero((truths >= 0) & np.isfinite(before + after).all(axis=1))
    pairs = []
    for rows in rows_by_task(tasks[known]):
        one, other = (auc(scores[known][rows].ravel(), is_true[known][rows].ravel()) for scores in (before, after))
        pairs += [(one, other)] if isfinite(one) else []
    found = np.array(pairs, dtype=float).reshape(-1, 2)
    n = len(found)
    low = high = better = float("nan")
    if n:
        gains = found[:, 1] - found[:, 0]
        rng = np.random.default_rng(seed)
        means = np.array([gains[rng.integers(0, n, n)].mean() for _ in range(_DRAWS)])
        low, high = np.quantile(means, [0.025, 0.975]).tolist()
        better = float((means > 0).mean())
    old, new = right[0][known], right[1][known]
    only_old, only_new = int((old & ~new).sum()), int((new & ~old).sum())
    return Paired(
        n_tasks=n,
        n_rows=known.size,
        before=float(found[:, 0].mean()) if n else float("nan"),
        after=float(found[:, 1].mean()) if n else float("nan"),
        low=low,
        high=high,
        p_better=better,
        only_before=only_old,
        only_after=only_new,
        p_equal=mcnemar(only_old, only_new),
    )


def mcnemar(only_one: int, only_other: int) -> float:
    """The two-sided exact p-value of McNemar's test; 1 where nothing differs.

    Source: McNemar (1947), the binomial test of the pairs that differ.
    """
    n, least = only_one + only_other, min(only_one, only_other)
    if n > _MANY:  # the normal distribution with a correction is as good
        z = max(abs(only_one - only_other) - 1, 0) / n**0.5
        return erfc(z / 2**0.5)
    return min(1.0, 2 * sum(comb(n, k) for k in range(least + 1)) / 2**n) if n else 1.0
