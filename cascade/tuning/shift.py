"""Tests whether new tasks look like those that thresholds were tuned with. Pure numpy.

What is compared are figures of whole tasks, as the rows of one task depend on each other: how many items it has, how
many of them matter, and for each question how many items it is put to and how high and how widely they score; likewise
for a prior stage, where ``with_prior_scores`` put it beside the questions. Tasks of the tuning are kept as they are, up
to a number, so that the test is exact: if all tasks come from one source, it does not matter which of them are called
new.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from cascade.evaluation.scored import Key, ScoredTasks
from cascade.probability import Array, Bools, logit
from cascade.profile import ASKED, ITEMS, MATTERS, MEAN, SPREAD, Histogram, Inputs, Statistic
from cascade.tree import Cascade
from cascade.tuning.risk import holm

N_KEPT = 256
_MOST_NEW = 8 * N_KEPT  # new tasks that are tested; more would find little more beside so many kept ones
LARGE = 0.71
"""The chance that a new task lies beyond one of the tuning by which a shift is called large, where 1/2 is none.

Source: Vargha and Delaney (2000), A critique and improvement of the CL common language effect size statistics.
"""
POWER = 0.8  # the chance that a large shift is found if there is one; Source: Cohen (1988), Statistical power analysis
LEAST_KS = 0.1
LEAST_PSI = 0.1  # below it a population is held to be as it was; Source: Siddiqi (2006), Credit risk scorecards
_PERMUTATIONS_PER_TEST = 10  # so that the least p-value is a tenth of what Holm's first step asks for
_AT_ONCE = 4_000_000  # numbers in memory
_FAR = 30.0  # log odds beyond which nothing is told apart
_SEED = 20060101


class ShiftVerdict(StrEnum):
    """Verdict of new tasks on one statistic, or on all.

    ``shifted``: it differs by more than chance, and by enough to matter.
    ``as_before``: it does not, and a large shift would most likely have been found.
    ``unclear``: there are too few tasks to say.
    """

    SHIFTED = "shifted"
    AS_BEFORE = "as_before"
    UNCLEAR = "unclear"

    @classmethod
    def of_all(cls, shifts: Sequence[Shift]) -> ShiftVerdict:
        """Shifted where any is, as before where all are."""
        verdicts = {shift.verdict for shift in shifts}
        order = (cls.SHIFTED, cls.UNCLEAR)
        return next((verdict for verdict in order if verdict in verdicts), cls.AS_BEFORE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """One statistic of new tasks against those of the tuning.

    Attributes:
        statistic: What is compared.
        then: Its median in the tuning.
        now: Its median in the new tasks; None where none has it.
        n: New tasks that have it.
        n_then: Tasks of the tuning that have it and are kept.
        n_needed: New tasks from which a large shift is found in four of five cases; None where those of the tuning are
            too few for any number of new ones.
        p_value: Of "both come from one source", in (0, 1]; None where no new task has it, and so is the effect.
        effect: How large the difference is: the population stability index of the question's scores, at least 0, or,
            where it is not about scores, the Kolmogorov-Smirnov distance in [0, 1].
        is_shifted: Whether it is both larger than chance, all statistics together, and large enough to matter.
    """

    statistic: Statistic
    then: float
    now: float | None
    n: int
    n_then: int
    n_needed: int | None
    p_value: float | None
    effect: float | None
    is_shifted: bool

    @property
    def is_of_scores(self) -> bool:
        """True if the statistic is about a question's scores."""
        return self.statistic[0] in {MEAN, SPREAD}

    @property
    def verdict(self) -> ShiftVerdict:
        """The verdict on this statistic."""
        if self.is_shifted:
            return ShiftVerdict.SHIFTED
        is_enough = self.n_needed is not None and self.n >= self.n_needed
        return ShiftVerdict.AS_BEFORE if is_enough else ShiftVerdict.UNCLEAR


def pairs_needed(level: float) -> float:
    """Number of pairs of an old and a new task that finds a large shift in four of five cases.

    With n new tasks beside m kept ones there are n * m / (n + m). The formula is that of the rank sum test, to which
    that of Cramer and von Mises comes close.

    Args:
        level: The p-value below which one statistic is held to be shifted, in (0, 1).

    Source: Noether (1987), Sample size determination for some common nonparametric tests.
    """
    normal = NormalDist()
    reach = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(POWER)
    return reach**2 / (12 * (LARGE - 1 / 2) ** 2)


def tasks_needed(n_kept: int, level: float) -> int | None:
    """New tasks that it takes beside those that are kept of the tuning; None where no number does."""
    pairs = pairs_needed(level)
    return math.ceil(pairs * n_kept / (n_kept - pairs)) if n_kept > pairs else None


def task_statistics(cascade: Cascade, scored: ScoredTasks) -> dict[Statistic, Array]:
    """Each statistic of each task, rounded as files keep it; NaN for a task that has no row for it; (n_tasks,)."""

    def by_task(rows: NDArray[np.intp], values: Array | float = 1.0) -> Array:
        weights = np.broadcast_to(np.asarray(values, float), rows.shape)
        return np.asarray(np.bincount(scored.tasks[rows], weights, scored.n_tasks), np.float64)

    size = by_task(np.arange(scored.tasks.size))
    found = {ITEMS: size, MATTERS: _over(by_task(np.flatnonzero(scored.is_positive(cascade))), size)}
    plain = {(stage.name, column) for stage in cascade.stages if not stage.is_tiered for column in stage.columns}
    for key in scored.p:
        rows, log_odds = _rows(scored, key)
        n = by_task(rows)
        mean = _over(by_task(rows, log_odds), n)
        if key not in plain:
            found[ASKED, *key] = _over(n, size)
        found[MEAN, *key] = mean
        found[SPREAD, *key] = np.sqrt(_over(by_task(rows, (log_odds - mean[scored.tasks[rows]]) ** 2), n))
    return {statistic: np.round(values, 3) for statistic, values in found.items()}


def inputs_of(cascade: Cascade, scored: ScoredTasks, seed: int = _SEED) -> Inputs:
    """The statistics of scored tasks that ``shifts`` compares later ones with; the seed chooses the tasks kept."""
    kept = np.random.default_rng(seed).permutation(scored.n_tasks)[:N_KEPT]
    found = {}
    for statistic, values in task_statistics(cascade, scored).items():
        known = values[kept][~np.isnan(values[kept])]
        found[statistic] = tuple(np.sort(known).tolist())
    return Inputs(n_tasks=scored.n_tasks, tasks=found, scores={key: _histogram(scored, key) for key in scored.p})


def shifts(inputs: Inputs, cascade: Cascade, scored: ScoredTasks, alpha: float, seed: int = _SEED) -> list[Shift]:
    """Every statistic of new tasks against the tuning's.

    Args:
        inputs: What was kept of the tuning.
        cascade: The cascade.
        scored: The new tasks.
        alpha: The chance that any one is held to be shifted where nothing is, in (0, 1).
        seed: Decides the permutations.
    """
    new = {name: values[~np.isnan(values)] for name, values in task_statistics(cascade, scored).items()}
    known = [name for name, kept in inputs.tasks.items() if kept and name in new]
    both = [name for name in known if new[name].size]
    n_permutations = int(np.ceil(_PERMUTATIONS_PER_TEST * len(both) / alpha))
    psi = {key: inputs.scores[key].psi(_rows(scored, key)[1]) for key in inputs.scores if key in scored.p}
    tested: dict[Statistic, tuple[float, float]] = {}
    for place, name in enumerate(both):
        kept, rng = np.array(inputs.tasks[name]), np.random.default_rng((seed, place))
        tested[name] = two_samples(kept, rng.permutation(new[name])[:_MOST_NEW], n_permutations, rng)
    rejected = dict(zip(both, holm([p_value for p_value, _ in tested.values()], alpha).tolist(), strict=True))
    found = []
    for name in known:
        p_value, effect = tested.get(name, (None, None))
        least = LEAST_KS
        if effect is not None and name[0] in {MEAN, SPREAD}:
            effect, least = psi[name[1:]], LEAST_PSI
        found.append(
            Shift(
                statistic=name,
                then=float(np.median(inputs.tasks[name])),
                now=float(np.median(new[name])) if new[name].size else None,
                n=new[name].size,
                n_then=len(inputs.tasks[name]),
                n_needed=tasks_needed(len(inputs.tasks[name]), alpha / len(both)),
                p_value=p_value,
                effect=effect,
                is_shifted=rejected.get(name, False) and effect is not None and effect >= least,
            )
        )
    return found


def two_samples(one: Array, other: Array, n_permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    """P-value of "both come from one source" by permutation of Cramer and von Mises' statistic, and the KS distance.

    Ties share a rank, so discrete values are as exact as continuous ones. Source: Anderson (1962), On the distribution
    of the two-sample Cramer-von Mises criterion; the p-value is that of Phipson and Smyth (2010), never 0.
    """
    pooled = np.concatenate((one, other))
    order = np.argsort(pooled, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(pooled[order]) > 0, True))
    weights = np.diff(ends, prepend=-1)

    def gaps(is_other: Bools) -> Array:
        n_other = np.cumsum(is_other, axis=-1)[..., ends]
        return np.asarray(n_other / other.size - (ends + 1 - n_other) / one.size)

    seen = gaps(order >= one.size)
    criterion, n_as_far, done = float(seen**2 @ weights), 0, 0
    while done < n_permutations:
        n = min(n_permutations - done, max(1, _AT_ONCE // pooled.size))
        mixed = rng.permuted(np.broadcast_to(np.arange(pooled.size) < other.size, (n, pooled.size)), axis=1)
        n_as_far += int((gaps(mixed) ** 2 @ weights >= criterion * (1 - 1e-9)).sum())
        done += n
    return (1 + n_as_far) / (1 + n_permutations), float(np.abs(seen).max())


def _rows(scored: ScoredTasks, key: Key) -> tuple[NDArray[np.intp], Array]:
    """The rows that a question is put to, and their log odds."""
    rows = np.flatnonzero(~np.isnan(scored.p[key]))
    return rows, np.clip(logit(scored.p[key][rows]), -_FAR, _FAR)


def _histogram(scored: ScoredTasks, key: Key) -> Histogram:
    log_odds = _rows(scored, key)[1]
    bounds = np.unique(np.round(np.quantile(log_odds, np.arange(1, 10) / 10), 3)) if log_odds.size else np.zeros(1)
    counts = np.bincount(np.searchsorted(bounds, log_odds, side="right"), minlength=bounds.size + 1)
    shares = np.round(counts / max(log_odds.size, 1), 4)
    return Histogram(bounds=tuple(bounds.tolist()), shares=tuple(shares.tolist()))


def _over(parts: Array, wholes: Array) -> Array:
    return np.asarray(np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0))
