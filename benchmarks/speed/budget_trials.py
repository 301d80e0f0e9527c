"""Which requests a run with budgets makes, and how each went. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log
from typing import Self

from benchmarks.speed.workload import Call
from cascade.items import Item
from cascade.report import Decision, Report
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
        violations: Items that are missing, out of order, or have no label of the cascade or no honest status.
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
