"""Requests with random budgets on a real model: who is late, what comes back, and what budgets cost."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import numpy as np

from benchmarks.speed.budget_trials import BUDGET, Trial, Tried, groups_of_trials, spread, trial_figures
from benchmarks.speed.forced import ForcedEngine
from benchmarks.speed.summary import prediction_figures
from benchmarks.speed.workload import SIZES, Call, sizes
from cascade.budget import BudgetLike
from cascade.config.schema import Config
from cascade.report import Report

AN_HOUR_MS = 3_600_000.0
"""A budget that is not binding."""

_FULL_RUNS = 3  # at most
_PER_PAIR, _PER_ROUND, _PER_ABORT = 10, 40, 5  # requests with a budget for each of the other measurements


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much is measured.

    Attributes:
        full_runs: Runs of every call in full whose median counts.
        trials: Requests with a random budget.
        aborted: Requests that are given up while they run.
        pairs: Pairs of a request without a budget and with one that is not binding.
        rounds: Rounds of concurrent callers against one after another.
    """

    full_runs: int
    trials: int
    aborted: int
    pairs: int
    rounds: int

    @classmethod
    def of(cls, n_requests: int) -> Self:
        """Counts that grow with the requests with a budget."""
        return cls(
            full_runs=max(1, min(_FULL_RUNS, n_requests // _PER_PAIR)),
            trials=n_requests,
            aborted=max(1, n_requests // _PER_ABORT),
            pairs=max(1, n_requests // _PER_PAIR),
            rounds=max(1, n_requests // _PER_ROUND),
        )

    @property
    def steps(self) -> int:
        """How often ``advance`` is called."""
        return 2 * self.full_runs * len(SIZES) + self.trials + self.aborted + self.pairs + self.rounds


class BudgetBench:
    """A model opened for requests with budgets; a context manager.

    Args:
        config: Model, adapters and cascades.
        advance: Called after every request or round.
    """

    def __init__(self, config: Config, advance: Callable[[], None] = lambda: None) -> None:
        self._engine = ForcedEngine.uncut(config)
        workload, _ = self._engine.follow(sizes)
        self.calls, self.cascades = workload.calls, self._engine.cascades
        self.forced = self._engine.backend
        self._advance = advance

    async def full_ms(self, n_runs: int) -> list[float]:
        """Milliseconds of each call alone and without a budget, as a median; the engine learns meanwhile."""
        runs = [[await self._timed(call) for call in self.calls] for _ in range(n_runs)]
        return [float(np.median(times)) for times in zip(*runs, strict=True)]

    async def trials(self, groups: Iterable[Sequence[Trial]]) -> list[Tried]:
        """Make the trials, those of a group at once."""
        found: list[Tried] = []
        for group in groups:
            found += await asyncio.gather(*map(self._trial, group))
        return found

    async def abort(self, full_ms: Sequence[float], n: int, seed: int = 0) -> None:
        """Make requests and give each up at a random moment."""
        rng = random.Random(seed)
        for at in range(n):
            which = at % len(self.calls)
            running = asyncio.create_task(self._ask(self.calls[which], None))
            await asyncio.wait([running], timeout=full_ms[which] / 1_000 * rng.uniform(0.05, 0.95))
            running.cancel()
            await asyncio.wait([running])
            self._advance()

    async def pair_ratios(self, n: int) -> list[float]:
        """Time with a budget that is not binding over time without one, of the same request in alternating order."""
        found = []
        for at in range(n):
            call = self.calls[at % len(self.calls)]
            order: list[BudgetLike] = [None, AN_HOUR_MS] if at % 2 else [AN_HOUR_MS, None]
            took = {budget: await self._took_ms(call, budget) for budget in order}
            found.append(took[AN_HOUR_MS] / took[None])
            self._advance()
        return found

    async def round_ratios(self, n: int) -> list[float]:
        """Throughput of concurrent callers, one a call, over one caller who makes the calls one after another."""
        found = []
        for at in range(n):
            measures = {"sequence": self._in_sequence, "at once": self._at_once}
            order = list(measures) if at % 2 else list(reversed(measures))
            took = {name: await measures[name]() for name in order}
            found.append(took["sequence"] / took["at once"])
            self._advance()
        return found

    def close(self) -> None:
        """Free the model."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _ask(self, call: Call, budget: BudgetLike) -> Report:
        return await self._engine.aclassify(call.task, call.items, call.cascade, budget=budget)

    async def _took_ms(self, call: Call, budget: BudgetLike = None) -> float:
        started = time.perf_counter()
        await self._ask(call, budget)
        return 1_000 * (time.perf_counter() - started)

    async def _timed(self, call: Call) -> float:
        took_ms = await self._took_ms(call)
        self._advance()
        return took_ms

    async def _trial(self, trial: Trial) -> Tried:
        started = time.perf_counter()
        report = await self._ask(trial.call, trial.budget_ms)
        took_ms = 1_000 * (time.perf_counter() - started)
        self._advance()
        return Tried.of(trial, took_ms, report, self.cascades[trial.call.cascade])

    async def _in_sequence(self) -> float:
        return sum([await self._took_ms(call) for call in self.calls])

    async def _at_once(self) -> float:
        started = time.perf_counter()
        await asyncio.gather(*(self._ask(call, None) for call in self.calls))
        return 1_000 * (time.perf_counter() - started)


def measure_budgets(
    config: Config, counts: Counts, *, seed: int = 0, advance: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """Figures of requests with random budgets.

    Args:
        config: Model, adapters and cascades.
        counts: How much is measured.
        seed: Another seed draws other requests and budgets.
        advance: Called ``counts.steps`` times.

    Returns:
        ``trial_figures``; ``abort_ms``, from the abort of a batch to its end; ``prediction_figures``
        of all batches; under ``unbinding_over_none`` and ``at_once_over_sequence`` medians of ratios
        of times and of throughput, with how many there were.

    Raises:
        InputError: The config lacks a cascade.
    """
    with BudgetBench(config, advance) as bench:
        return asyncio.run(_figures(bench, counts, seed))


async def _figures(bench: BudgetBench, counts: Counts, seed: int) -> dict[str, Any]:
    full_ms = await bench.full_ms(counts.full_runs)
    n_before = len(bench.forced.batches)
    gc.collect()
    gc.freeze()  # as a service does once it is up: a full collection stops all threads for tens of milliseconds
    groups = groups_of_trials(list(zip(bench.calls, full_ms, strict=True)), counts.trials, seed)
    tried = await bench.trials(groups)
    n_by_deadline = len(bench.forced.abort_ms)
    await bench.abort(full_ms, counts.aborted, seed)
    pairs = await bench.pair_ratios(counts.pairs)
    rounds = await bench.round_ratios(counts.rounds)
    batches = bench.forced.batches
    return {
        "workload": BUDGET,
        "requests": len(tried),
        "items": sum(len(trial.call.items) for trial in chain.from_iterable(groups)),
        "full_ms": full_ms,
        **trial_figures(tried, bench.cascades),
        "abort_ms": spread(bench.forced.abort_ms),
        "waves_aborted_by_deadlines": n_by_deadline,
        **prediction_figures([batches[:n_before], batches[n_before:]]),
        "unbinding_over_none": {"p50": float(np.median(pairs)), "n": len(pairs)},
        "at_once_over_sequence": {"p50": float(np.median(rounds)), "n": len(rounds), "callers": len(bench.calls)},
    }
