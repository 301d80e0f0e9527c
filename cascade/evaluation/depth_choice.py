"""Chooses the depth to stop at, from quality and time at each depth, and says how sure the choice is. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, isfinite, sqrt
from statistics import NormalDist
from typing import Any, Self

import numpy as np

from cascade.arguments import price
from cascade.errors import InputError
from cascade.evaluation.distributions import binomial_p, t_quantile
from cascade.evaluation.metrics import macro_f1
from cascade.probability import Array, Ints

_POINTS = 100  # of F1: from 0 to 100
_PRICED_MS = 100  # the time that f1_points_per_100ms is given for
_SURE = 0.95  # confidence level of a choice that is called clear
_NORMAL = NormalDist()
_LEAST_TASKS = 6  # fewer all lie on one side of a median by chance in more than 5 %; Source: the sign test


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The requests made at one depth, one for each task.

    Attributes:
        confusions: Rows are truths, columns answers; (n_tasks, n_labels, n_labels).
        elapsed_ms: What each took; (n_tasks,).
    """

    confusions: Ints
    elapsed_ms: Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Quality and cost of a cascade at one depth.

    Attributes:
        depth: Most stages that an item passes; 0 for one call that tells all labels apart.
        accuracy: Share of items with their true label.
        macro_f1_over_rows: Mean F1 of the labels that occur, in [0, 1].
        recall_over_rows: Share of what matters that is kept; None where nothing matters.
        calls_per_item: Queries over items.
        predicted_ms: Median over requests of the time that the cost model predicted.
        elapsed_ms: Median over requests of the time that they took.
        runs: The single requests; None if they were not kept.
        handed_on: Share of items that are handed on as uncertain; None where the cascade hands nothing on.
        mattering_handed_on: Share of what matters that is; likewise, and None where nothing matters.
        error_among_answered: Share of the others that have a wrong label; likewise.
    """

    depth: int
    accuracy: float
    macro_f1_over_rows: float
    recall_over_rows: float | None
    calls_per_item: float
    predicted_ms: float
    elapsed_ms: float
    runs: Runs | None = field(default=None, compare=False, repr=False)
    handed_on: float | None = None
    mattering_handed_on: float | None = None
    error_among_answered: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON form, without the requests one by one."""
        return {name: value for name, value in asdict(self).items() if name != "runs"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certainty:
    """Certainty of a choice of depth.

    Attributes:
        is_clear: Whether other tasks like these would most likely lead to the same one.
        n_needed: About how many tasks it takes for that; None where no number is enough, and where it is clear.
    """

    is_clear: bool
    n_needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthChoice:
    """Rule that chooses a depth: by what time is worth, or within a budget.

    Attributes:
        f1_points_per_100ms: Points of macro F1 over rows that 100 ms are worth; 0 to 1e9.
        budget_ms: Milliseconds that a request may take, which then decide alone; None for no such limit.

    Raises:
        InputError: A value is not allowed.
    """

    f1_points_per_100ms: float
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        price("f1_points_per_100ms", self.f1_points_per_100ms)
        if self.budget_ms is not None and not (isfinite(self.budget_ms) and self.budget_ms > 0):
            msg = f"A budget of {self.budget_ms} ms; allowed is any finite number above 0."
            raise InputError(msg)

    @classmethod
    def of(cls, f1_points_per_100ms: float | None, budget_ms: float | None, configured: float) -> Self:
        """From a user's options, with the config's value if neither is given.

        Raises:
            InputError: Both were given, or a value is not allowed.
        """
        if f1_points_per_100ms is not None and budget_ms is not None:
            msg = (
                "Give one of --f1-points-per-100ms and --budget: the first weighs time against quality, the second "
                "sets a limit."
            )
            raise InputError(msg)
        return cls(
            f1_points_per_100ms=configured if f1_points_per_100ms is None else f1_points_per_100ms, budget_ms=budget_ms
        )

    def choose(self, levels: Sequence[Level]) -> Level | None:
        """The depth to stop at.

        With a budget it is the deepest depth whose median request fits. Without one it is the depth with the highest
        macro F1 after the cost of its time is taken off, and of several such depths the least. All depths are compared,
        so a question that gains nothing does not hide a later one that does.

        Args:
            levels: In order of depth, at least one.

        Returns:
            None if no depth fits the budget.
        """
        if self.budget_ms is not None:
            limit = self.budget_ms
            return next((level for level in reversed(levels) if level.elapsed_ms <= limit), None)
        return max(levels, key=self._value)

    def certainty(self, levels: Sequence[Level]) -> Certainty:
        """Certainty of the choice.

        Without a budget it is clear if the lead over every other depth exceeds its error. The error comes from a
        jackknife over tasks; request times are taken as measured. With a budget it is clear if, by a sign test, more
        than half of the requests fit at the chosen depth and fewer than half at the next one.

        Args:
            levels: In order of depth, at least one.

        Source: Tukey (1958), Bias and confidence in not quite large samples; all other depths by Bonferroni.
        """
        n = min(level.runs.elapsed_ms.size if level.runs is not None else 0 for level in levels)
        if n < _LEAST_TASKS:
            return Certainty(is_clear=False, n_needed=_LEAST_TASKS)
        needed = list(self._by_times(levels, n) if self.budget_ms is not None else self._by_leads(levels, n))
        known = [each for each in needed if each is not None]
        if len(known) < len(needed):
            return Certainty(is_clear=False)
        most = max(known, default=n)
        return Certainty(is_clear=True) if most <= n else Certainty(is_clear=False, n_needed=most)

    def _value(self, level: Level) -> float:
        """Points of macro F1 after the cost of a depth's time is taken off."""
        return _POINTS * level.macro_f1_over_rows - self.f1_points_per_100ms * level.elapsed_ms / _PRICED_MS

    def _by_leads(self, levels: Sequence[Level], n: int) -> Iterator[int | None]:
        """Number of tasks that it takes to tell each other depth from the chosen one."""
        chosen = max(levels, key=self._value)
        others = [level for level in levels if level is not chosen]
        for other in others:
            lead, error = self._value(chosen) - self._value(other), _POINTS * _error(chosen, other)
            if not error:
                yield n
            else:
                reach = t_quantile(1 - (1 - _SURE) / len(others), n - 1) * error
                yield ceil(n * (reach / lead) ** 2) if lead > 0 else None

    def _by_times(self, levels: Sequence[Level], n: int) -> Iterator[int | None]:
        """Number of tasks that it takes to tell on which side of the budget each of the two deciding medians lies."""
        chosen = self.choose(levels)
        at = levels.index(chosen) if chosen is not None else 0
        for level in levels[at : at + 2] if chosen is not None else levels[:1]:
            times = level.runs.elapsed_ms if level.runs is not None else np.zeros(n)
            n_fit = int((times <= (self.budget_ms or 0.0)).sum())
            if binomial_p(min(n_fit, n - n_fit), n, 1 / 2) <= (1 - _SURE) / 2:
                yield n
            else:
                off = abs(n_fit / n - 1 / 2)
                yield max(n + 1, ceil((_NORMAL.inv_cdf((1 + _SURE) / 2) / 2 / off) ** 2)) if off else None

    def as_dict(self) -> dict[str, Any]:
        """JSON form: which of the two decided, and its value."""
        if self.budget_ms is not None:
            return {"by": "budget", "budget_ms": self.budget_ms}
        return {"by": "f1_points_per_100ms", "f1_points_per_100ms": self.f1_points_per_100ms}


def rows(levels: Sequence[Level]) -> list[dict[str, Any]]:
    """Levels in JSON form, each with what it gains over the one before; see ``points_per_ms``."""
    pairs = zip(levels, (None, *levels), strict=False)
    return [level.as_dict() | {"points_per_ms": points_per_ms(level, before)} for level, before in pairs]


def _error(one: Level, other: Level) -> float:
    """The standard error of the difference of two macro F1, by leaving out one task after the other."""
    if one.runs is None or other.runs is None:
        return 0.0
    without = [runs.confusions.sum(axis=0) - runs.confusions for runs in (one.runs, other.runs)]
    gaps = np.array([macro_f1(here) - macro_f1(there) for here, there in zip(*without, strict=True)])
    return sqrt((gaps.size - 1) * float(gaps.var()))


def points_per_ms(level: Level, before: Level | None) -> float | None:
    """Points of macro F1 that a depth gains over the one before, for each millisecond more.

    Returns:
        None for the first depth, and where no time was added.
    """
    if before is None or level.elapsed_ms <= before.elapsed_ms:
        return None
    return _POINTS * (level.macro_f1_over_rows - before.macro_f1_over_rows) / (level.elapsed_ms - before.elapsed_ms)
