"""What requests a simulation makes: seeded, of many sizes, with and without budgets, at random times. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from benchmarks.simulated_backend import Machine
from cascade import Item, Task
from cascade.backends.costs import Work
from cascade.prompt import PromptBuilder
from cascade.tree import Cascade
from tests.helpers.requests import files, symbols

PHASE = 50
"""Requests that arrive under one load."""

_BUDGETS_MS = (20.0, 60_000.0)
_SIZES = (1, 200)
POOL = 200
"""Different requests, of which each is made many times."""

_UNLIMITED = 0.15
_GIVEN_UP = 0.03


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks, which many requests may."""

    cascade: str
    task: Task
    items: Sequence[Item]
    full_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request at its time.

    Attributes:
        at: Virtual seconds.
        load: Work that arrives about then, over work that can be done.
        asked: What it asks.
        budget_ms: What it may take; None for no limit.
        gives_up_after: Seconds after which its caller leaves; None for never.
    """

    at: float
    load: float
    asked: Asked
    budget_ms: float | None
    gives_up_after: float | None


def asked_of(
    rng: random.Random, number: int, cascades: Mapping[str, Cascade], builder: PromptBuilder, machine: Machine
) -> Asked:
    """A request of either cascade, with what it takes the machine in full."""
    name = rng.choice(("precision", "scope"))
    n = round(_log_uniform(rng, _SIZES))
    task, items = symbols(number, n, max(1, n // 8)) if name == "precision" else files(number, n)
    cascade = cascades[name]
    root = builder.task(cascade.instructions, cascade.questions(), task)
    nodes = [root, *(builder.item(root, item) for item in items)]
    tokens = sum(len(node.tokens) for node in nodes) + sum(
        len(builder.group(root, group).tokens) for group in {item.group for item in items if item.group}
    )
    asked = 1.7 * n  # precision: 1 + 1/2 + 1/4 stages; scope: 2 tiers, some of them not asked
    work = Work.of(tokens=tokens, cells=4_000, most=512).plus(
        Work.of(tokens=8 * asked, cells=4_000, most=62, outputs=asked, swaps=4)
    )
    return Asked(name, task, items, machine.predict(work))


def arrivals_of(rng: random.Random, pool: Sequence[Asked], n: int, loads: Sequence[float]) -> list[Arrival]:
    """A Poisson process whose rate follows the loads."""
    mean_s = sum(asked.full_ms for asked in pool) / len(pool) / 1_000
    now, found = 0.0, []
    for number in range(n):
        load = loads[number // PHASE % len(loads)]
        now += rng.expovariate(load / mean_s)
        found.append(
            Arrival(
                at=now,
                load=load,
                asked=rng.choice(pool),
                budget_ms=None if rng.random() < _UNLIMITED else _log_uniform(rng, _BUDGETS_MS),
                gives_up_after=rng.expovariate(1 / mean_s) if rng.random() < _GIVEN_UP else None,
            )
        )
    return found


def _log_uniform(rng: random.Random, ends: tuple[float, float]) -> float:
    return exp(rng.uniform(log(ends[0]), log(ends[1])))
