"""Which requests a run with budgets makes, how each went, and what all of them say. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, log
from typing import Any, Self

import numpy as np

from benchmarks.speed.workload import Call
from cascade.items import Item
from cascade.report import Decision, Report, Status
from cascade.tree import Cascade

BUDGET = "budget"
"""What the command line calls this workload."""

LEAST_MS = 5.0
"""The smallest budget."""

MOST_MS = 5_000.0
"""The largest budget, however long a request takes in full."""

PLENTY = 1.2
"""The largest budget over what the request takes in full."""

AT_ONCE = 4
"""Most requests that are made at once."""

BINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, inf)
"""Borders of the budget as a share of the full time, in the anytime curve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A request with a budget.

    Attributes:
        call: What is asked.
        full_ms: How long it takes alone and without a budget.
        budget_ms: What it may take.
        is_alone: Whether no other request runs meanwhile.
    """

    call: Call
    full_ms: float
    budget_ms: float
    is_alone: bool

    @property
    def share(self) -> float:
        """Its budget as a share of the time that it takes in full."""
        return self.budget_ms / self.full_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """How a trial went.

    Attributes:
        trial: The trial.
        took_ms: From before the call until it returned, as its caller sees it.
        labels: What came back, in order.
        statuses: How each came about.
        violations: Items that are missing, out of order, or have no label of the cascade.
    """

    trial: Trial
    took_ms: float
    labels: tuple[str, ...]
    statuses: tuple[str, ...]
    violations: int

    @classmethod
    def of(cls, trial: Trial, took_ms: float, report: Report, cascade: Cascade) -> Self:
        """What counts of a report; thousands of whole ones would make garbage collections long."""
        return cls(
            trial=trial,
            took_ms=took_ms,
            labels=tuple(decision.label for decision in report.decisions),
            statuses=tuple(str(decision.status) for decision in report.decisions),
            violations=_violations(trial.call.items, report.decisions, cascade),
        )

    @property
    def over_ms(self) -> float:
        """Milliseconds over the budget; below 0 where time was left."""
        return self.took_ms - self.trial.budget_ms


def _violations(items: Sequence[Item], decisions: Sequence[Decision], cascade: Cascade) -> int:
    bad = sum(
        item.id != decision.id or decision.label not in cascade.labels
        for item, decision in zip(items, decisions, strict=False)
    )
    return bad + abs(len(items) - len(decisions))


def groups_of_trials(calls: Sequence[tuple[Call, float]], n: int, seed: int = 0) -> list[tuple[Trial, ...]]:
    """Random trials in groups that are made at once: half of them alone, half in company.

    Args:
        calls: What may be asked, with the milliseconds that it takes in full.
        n: How many trials.
        seed: Where chance comes from.
    """
    rng = random.Random(seed)
    groups: list[tuple[Trial, ...]] = []
    n_left = n
    while n_left:
        alone = sum(len(group) == 1 for group in groups)
        size = 1 if 2 * alone <= n - n_left else min(n_left, rng.randint(2, AT_ONCE))
        groups.append(tuple(_trial(rng, *rng.choice(calls), is_alone=size == 1) for _ in range(size)))
        n_left -= size
    return groups


def _trial(rng: random.Random, call: Call, full_ms: float, *, is_alone: bool) -> Trial:
    most = max(LEAST_MS, min(MOST_MS, PLENTY * full_ms))
    budget_ms = exp(rng.uniform(log(LEAST_MS), log(most)))
    return Trial(call=call, full_ms=full_ms, budget_ms=budget_ms, is_alone=is_alone)


def trial_figures(tried: Sequence[Tried], cascades: Mapping[str, Cascade]) -> dict[str, Any]:
    """Figures of all trials; those that ran alone make the anytime curve."""
    alone = [entry for entry in tried if entry.trial.is_alone]
    company = [entry for entry in tried if not entry.trial.is_alone]
    statuses = Counter(status for entry in tried for status in entry.statuses)
    return {
        "overshoot": overshoot(tried),
        "overshoot_alone": overshoot(alone),
        "overshoot_in_company": overshoot(company),
        "over_ms": [entry.over_ms for entry in tried],
        "violations": sum(entry.violations for entry in tried),
        "statuses": {
            str(status): statuses[str(status)] / max(statuses.total(), 1)
            for status in (Status.DECIDED, Status.DEPTH_CAP, Status.DEADLINE)
        },
        "anytime": anytime(alone, cascades),
    }


def overshoot(tried: Sequence[Tried]) -> dict[str, float] | None:
    """Milliseconds over budget, below 0 where time was left, and shares of requests that were late; None without any.

    ``over``, ``over_10_ms`` and ``over_30_ms`` are the shares that ended after their budget, and by
    more than 10 and 30 ms.
    """
    if not tried:
        return None
    over = np.array([entry.over_ms for entry in tried])
    return {
        **{f"p{at}_ms": float(np.percentile(over, at)) for at in (50, 95, 99)},
        "max_ms": float(over.max()),
        "over": float(np.mean(over > 0)),
        "over_10_ms": float(np.mean(over > 10)),
        "over_30_ms": float(np.mean(over > 30)),
        "n": len(tried),
    }


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 99th percentile and maximum, and of how many; None without any."""
    if not values:
        return {"p50": None, "p99": None, "max": None, "n": 0}
    return {
        "p50": float(np.median(values)),
        "p99": float(np.percentile(values, 99)),
        "max": float(np.max(values)),
        "n": len(values),
    }


def anytime(tried: Sequence[Tried], cascades: Mapping[str, Cascade]) -> list[dict[str, Any]]:
    """Quality by budget, in ``BINS`` of its share of the full time; bins without a trial are left out.

    Returns:
        For each cascade and bin the mean ``share`` of the full time, ``accuracy`` (share of items
        with their label), ``recall_over_rows`` (share of the items to be kept that were kept, whatever the
        label), ``decided`` (share of items), and how many requests there were.
    """
    found = []
    for name, cascade in cascades.items():
        own = [entry for entry in tried if entry.trial.call.cascade == name]
        for low, high in pairwise(BINS):
            if entries := [entry for entry in own if low <= entry.trial.share < high]:
                found.append({"cascade": name, **_quality(entries, cascade.dropped)})
    return found


def _quality(tried: Sequence[Tried], dropped: str) -> dict[str, Any]:
    pairs = [
        (truth, label) for entry in tried for truth, label in zip(entry.trial.call.labels, entry.labels, strict=False)
    ]
    kept = [label != dropped for truth, label in pairs if truth != dropped]
    decided = [status == Status.DECIDED for entry in tried for status in entry.statuses]
    return {
        "share": float(np.mean([entry.trial.share for entry in tried])),
        "accuracy": float(np.mean([label == truth for truth, label in pairs])),
        "recall_over_rows": float(np.mean(kept)) if kept else None,
        "decided": float(np.mean(decided)),
        "requests": len(tried),
    }
