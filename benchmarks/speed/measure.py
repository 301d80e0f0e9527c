"""Rounds of a workload, and how far they are from the limits of the trie and of llama.cpp."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Self

from benchmarks.speed.forced import ForcedEngine, Scored
from benchmarks.speed.limits import PlainPrompt, Reuse
from benchmarks.speed.workload import workload
from cascade.backends.llama.open import context_size, find_tuning
from cascade.config.schema import Config
from cascade.machine import n_cores
from cascade.models.model_set import load_model_set
from cascade.report import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of all requests of a workload.

    Attributes:
        wall_s: From the first request to the last decision.
        cpu_s: Processor time of the process meanwhile.
        request_ms: How long each request took.
        decision_ms: When each decision settled, from the start.
        batches: What was scored, batch by batch.
        best_rate: Tokens per second of llama.cpp on one plain prompt, measured before and after.
        first_stage_s: Wall time of the first stage alone; None where not every item passes all stages.
    """

    wall_s: float
    cpu_s: float
    request_ms: tuple[float, ...]
    decision_ms: tuple[float, ...]
    batches: tuple[Scored, ...]
    best_rate: float
    first_stage_s: float | None


class Bench:
    """A model opened to run one workload; a context manager.

    Args:
        config: Model, adapters and cascades.
        name: Name of the workload.

    Attributes:
        models: The model and its adapters.
        labels: Token ids of yes and no.
        workload: What is run.
        queries: The queries that it causes, in the order of a loop over its items.
        reuse: What their prompts share.
        size: The engine's context, its threads counted.
        history: The batches of every round so far, that which is thrown away included.
    """

    def __init__(self, config: Config, name: str) -> None:
        self.models = load_model_set(config)
        self._engine = ForcedEngine.uncut(config)
        self.workload, self.queries = self._engine.follow(partial(workload, name))
        info = self._engine.info
        self.labels = info.provenance.label_tokens
        self.reuse = Reuse.of(self.queries, info.prefix_adapters)
        size = context_size(config.model, find_tuning(config.model, self.models.model_sha256))
        self.size = replace(size, n_threads=size.n_threads or n_cores())
        self.history: list[tuple[Scored, ...]] = []
        self._limit = PlainPrompt(self.models.model_path, self.size.n_threads)

    def rounds(self, n: int, advance: Callable[[], None]) -> Iterator[Round]:
        """Runs of the workload, after one that is thrown away; ``advance`` is called after each."""
        for at in range(n + 1):
            found = self.round()
            advance()
            if at:
                yield found

    def round(self) -> Round:
        """Run all requests of the workload at once."""
        first_stage_s = self._first_stage() if self.workload.is_deep else None
        before = self._limit.rate()
        self._engine.backend.batches.clear()
        started, cpu = time.perf_counter(), time.process_time()
        decision_ms: list[float] = []

        def settled(_: Decision) -> None:
            decision_ms.append(1_000 * (time.perf_counter() - started))

        async def run() -> list[float]:
            calls = [
                self._engine.aclassify(call.task, call.items, call.cascade, budget=None, on_decision=settled)
                for call in self.workload.calls
            ]
            return [report.stats.elapsed_ms for report in await asyncio.gather(*calls)]

        request_ms = asyncio.run(run())
        wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu
        self.history.append(tuple(self._engine.backend.batches))
        return Round(
            wall_s=wall_s,
            cpu_s=cpu_s,
            request_ms=tuple(request_ms),
            decision_ms=tuple(decision_ms),
            batches=self.history[-1],
            best_rate=(before + self._limit.rate()) / 2,
            first_stage_s=first_stage_s,
        )

    def _first_stage(self) -> float:
        """Seconds that the first stage of every call takes by itself."""
        started = time.perf_counter()
        for call in self.workload.calls:
            first = self._engine.cascade(call.cascade).first
            self._engine.score(call.task, call.items, call.cascade, first.name)
        return time.perf_counter() - started

    def close(self) -> None:
        """Free both contexts."""
        self._engine.close()
        self._limit.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
