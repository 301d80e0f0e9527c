"""Thousands of requests with budgets on a simulated machine in virtual time: does everyone get an answer in time?

    python -m benchmarks.budget_simulation [--requests 10000] [--seed 0] [--models 1] [--in-turn] [--json]

Engine, loop, schedule, planner and cost model are the real ones; the machine is not. Its prices are
not those that the engine starts from, calls are noisy, and some batches stall. Requests come at random
times, at loads below and above what the machine can do; some have no budget, some are given up. With ``--models 2``
every other adapter belongs to a second model, which shares the cores with the first; ``--in-turn`` lets their waves
take turns.
Exits with 1 if a budget was missed too often, an item got no label, a request was left waiting, or
something was left over.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks.script import run_script
from benchmarks.shipped import CASCADES
from benchmarks.simulated_backend import Cores, Machine, SimulatedBackend
from benchmarks.simulated_requests import PHASE, POOL, Arrival, arrivals_of, asked_of
from benchmarks.virtual_time import VirtualLoop
from cascade import Engine
from cascade.backends.base import Backend
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.prompt import PromptBuilder
from cascade.report import Report, Status
from cascade.stages import BASE
from cascade.tree import Cascade

LOADS = (0.3, 0.7, 0.95, 1.5)
"""Work that arrives over work that can be done, in turns."""

GRACE_MS = 10.0
"""A request that ends so much after its budget still counts as in time."""

TARGET = 0.999
"""Share of requests that must end in time."""

_PATIENCE_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a request ended.

    Attributes:
        arrival: The request.
        took_ms: Virtual milliseconds until its caller had the answer.
        report: The answer; None where the caller left first.
    """

    arrival: Arrival
    took_ms: float
    report: Report | None

    @property
    def over_ms(self) -> float | None:
        """Milliseconds over its budget; None without one, or where the caller left."""
        budget_ms = self.arrival.budget_ms
        return None if budget_ms is None or self.report is None else self.took_ms - budget_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What came of a simulation.

    Attributes:
        requests: How many were made.
        given_up: How many of them were given up before they were answered.
        waves: Waves that the machine scored.
        at_once: The most of them at once.
        in_time: Share of those with a budget that ended within it and ``GRACE_MS``.
        over_p999_ms: 99.9th percentile of the milliseconds over budget.
        over_max_ms: Most of them.
        statuses: Status -> share of items.
        decided_by_load: Load -> share of decided items among the requests with a budget.
        violations: Items without a label or a status of their cascade, or out of order.
        waiting: Requests that had no answer a day after the last one came.
        unlimited: Requests without a budget that were answered.
        wait_mean_s: Mean time of those.
        wait_max_over_mean: The longest over the mean.
        left_kept: Nodes that engine or machine still keep.
        hours: Virtual time that passed.
    """

    requests: int
    given_up: int
    waves: int
    at_once: int
    in_time: float
    over_p999_ms: float
    over_max_ms: float
    statuses: Mapping[str, float]
    decided_by_load: Mapping[float, float]
    violations: int
    waiting: int
    unlimited: int
    wait_mean_s: float
    wait_max_over_mean: float
    left_kept: int
    hours: float

    @property
    def is_good(self) -> bool:
        """Whether everyone got an answer in time and nothing is left."""
        return self.in_time >= TARGET and not (self.violations or self.waiting or self.left_kept)


def simulate(
    n: int, seed: int = 0, loads: Sequence[float] = LOADS, n_models: int = 1, *, at_once: bool = True
) -> Figures:
    """``n`` requests on an engine in virtual time, ``PHASE`` of them under each load in turns.

    Args:
        n: How many.
        seed: Where chance comes from.
        loads: The loads.
        n_models: Base models among which adapters are dealt out.
        at_once: Whether their waves run at once.
    """
    rng = random.Random(seed)
    cascades = CASCADES
    machine = Machine()
    adapters = sorted({name for cascade in cascades.values() for name in cascade.adapters()})
    cores = Cores()
    backends = {
        f"model{at}": SimulatedBackend(
            adapters[at::n_models], machine, random.Random(seed + 1 + at), cores, f"model{at}/{BASE}" if at else BASE
        )
        for at in range(n_models)
    }
    info = backends["model0"].info
    builder = PromptBuilder(info.form, info.tokenizer)
    pool = [asked_of(rng, number, cascades, builder, machine) for number in range(min(POOL, n))]
    arrivals = arrivals_of(rng, pool, n, loads)
    loop = VirtualLoop()
    settings = EngineSettings(new_event_loop=lambda: loop, rules=Rules(max_requests=n, at_once=at_once))
    with Engine(dict[str, Backend](backends), cascades, settings=settings) as engine:
        outcomes = asyncio.run_coroutine_threadsafe(_all(engine, arrivals), loop).result()
        left = engine.n_cached + sum(len(backend.kept) for backend in backends.values())
        hours = loop.time() / 3_600
    return _figures(
        outcomes,
        cascades,
        waiting=n - len(outcomes),
        left_kept=left,
        waves=sum(backend.n_batches for backend in backends.values()),
        at_once=cores.most_busy,
        hours=hours,
    )


async def _all(engine: Engine, arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Make every request at its time, on the engine's own loop; their outcomes in order."""
    loop = asyncio.get_running_loop()
    calls = []
    for arrival in arrivals:
        await asyncio.sleep(arrival.at - loop.time())
        calls.append(loop.create_task(_one(engine, arrival)))
    _, waiting = await asyncio.wait(calls, timeout=_PATIENCE_S)
    for call in waiting:
        call.cancel()
    await asyncio.sleep(1.0)  # the last batch may still have to hear that nobody waits for it
    return [call.result() for call in calls if call not in waiting]


async def _one(engine: Engine, arrival: Arrival) -> Outcome:
    loop = asyncio.get_running_loop()
    began, asked = loop.time(), arrival.asked
    report: Report | None = None
    try:
        async with asyncio.timeout(arrival.gives_up_after):
            report = await engine.aclassify(asked.task, asked.items, asked.cascade, budget=arrival.budget_ms)
    except TimeoutError:
        pass
    return Outcome(arrival, 1_000 * (loop.time() - began), report)


def _figures(outcomes: Sequence[Outcome], cascades: Mapping[str, Cascade], **left: Any) -> Figures:
    over = np.array([outcome.over_ms for outcome in outcomes if outcome.over_ms is not None])
    waits = np.array([entry.took_ms / 1_000 for entry in outcomes if entry.arrival.budget_ms is None and entry.report])
    statuses = Counter(
        str(decision.status) for entry in outcomes if entry.report for decision in entry.report.decisions
    )
    return Figures(
        requests=len(outcomes),
        given_up=sum(outcome.report is None for outcome in outcomes),
        in_time=float(np.mean(over <= GRACE_MS)),
        over_p999_ms=float(np.percentile(over, 99.9)),
        over_max_ms=float(over.max()),
        statuses={name: n / statuses.total() for name, n in sorted(statuses.items())},
        decided_by_load=_decided_by_load(outcomes),
        violations=sum(_violations(entry, cascades) for entry in outcomes),
        unlimited=len(waits),
        wait_mean_s=float(waits.mean()),
        wait_max_over_mean=float(waits.max() / waits.mean()),
        **left,
    )


def _decided_by_load(outcomes: Sequence[Outcome]) -> dict[float, float]:
    decided, every = Counter[float](), Counter[float]()
    for outcome in outcomes:
        if outcome.report is not None and outcome.arrival.budget_ms is not None:
            decisions = outcome.report.decisions
            decided[outcome.arrival.load] += sum(decision.status is Status.DECIDED for decision in decisions)
            every[outcome.arrival.load] += len(decisions)
    return {load: decided[load] / every[load] for load in sorted(every)}


def _violations(outcome: Outcome, cascades: Mapping[str, Cascade]) -> int:
    """Decisions that are missing, out of order, or without a label of the cascade or with a wrong status."""
    if outcome.report is None:
        return 0
    asked, decisions = outcome.arrival.asked, outcome.report.decisions
    labels = set(cascades[asked.cascade].labels)
    allowed = {Status.DECIDED} if outcome.arrival.budget_ms is None else set(Status)
    bad = sum(
        decision.id != item.id or decision.label not in labels or decision.status not in allowed
        for item, decision in zip(asked.items, decisions, strict=False)
    )
    return bad + abs(len(asked.items) - len(decisions))


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--models", type=int, choices=(1, 2), default=1)
    parser.add_argument("--in-turn", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.requests < PHASE:
        parser.error(f"--requests {options.requests}; give {PHASE} or more, so that some have no budget")
    figures = simulate(options.requests, options.seed, n_models=options.models, at_once=not options.in_turn)
    if options.json:
        sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    else:
        sys.stdout.write(f"{'good' if figures.is_good else 'BAD'}\n")
        sys.stdout.writelines(f"  {key}: {value}\n" for key, value in asdict(figures).items())
    return 0 if figures.is_good else 1


if __name__ == "__main__":
    run_script(main)
