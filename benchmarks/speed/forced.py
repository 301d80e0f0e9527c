"""Forced branching: an engine whose model computes everything, and whose answers are what a workload says."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from math import isfinite, isnan
from typing import Self

from benchmarks.speed.workload import NO_LIMITS, LabelledQuery, TokenPath, Workload, labelled_queries
from cascade.backends.base import Backend, BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.config.model import LimitsConfig
from cascade.config.schema import Config
from cascade.engine.engine import Engine
from cascade.engine.settings import EngineSettings
from cascade.errors import InputError
from cascade.prompt import Limits, Node, PromptBuilder
from cascade.tree import Cascade

_SURE = 20.0  # log odds beyond every threshold that a config would use


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A batch that was scored.

    Attributes:
        adapter: What answered.
        n_queries: How many queries it had.
        cost: What it took.
        predicted_ms: What the engine believed that it would take.
        is_whole: Whether all of it was scored; not if it was stopped.
    """

    adapter: str
    n_queries: int
    cost: BatchCost
    predicted_ms: float
    is_whole: bool


class ForcedBackend:
    """A backend whose answers follow the truth of a workload; its costs are the inner backend's.

    Args:
        inner: What computes.

    Attributes:
        batches: Every batch, in order.
        abort_ms: From each abort of a running batch until the engine had that batch back.
    """

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.batches: list[Scored] = []
        self.abort_ms: list[float] = []
        self._truths: Mapping[TokenPath, bool] = {}

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._inner.info

    def follow(self, queries: Iterable[LabelledQuery]) -> None:
        """Answer these queries by their truth from now on; all others are answered by the inner backend."""
        self._truths = {query.path: query.truth for query in queries}

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        watched = _WatchedStop(stop)
        scores = await self._inner.score(batch, watched)
        if watched.aborted_at is not None:
            self.abort_ms.append(1_000 * (time.perf_counter() - watched.aborted_at))
        scored = Scored(
            adapter=batch.adapter,
            n_queries=len(batch.queries),
            cost=scores.cost,
            predicted_ms=batch.predicted_ms,
            is_whole=not any(map(isnan, scores.logits)),
        )
        self.batches.append(scored)
        forced = [self._forced(query.node, logit) for query, logit in zip(batch.queries, scores.logits, strict=True)]
        return replace(scores, logits=forced)

    def _forced(self, question: Node, logit: float) -> float:
        """What the workload says; the logit itself where nothing was scored, or asked that the labels do not cause."""
        truth = self._truths.get(tuple(node.tokens for node in question.path))
        return logit if truth is None or not isfinite(logit) else _SURE if truth else -_SURE

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self._inner.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self._inner.close()


class _WatchedStop(Stop):
    """The engine's stop, which notes when it reached the backend.

    Args:
        stop: The engine's.

    Attributes:
        aborted_at: When the batch was aborted, in seconds; None if it was not.
    """

    def __init__(self, stop: Stop) -> None:
        super().__init__()
        self._stop = stop
        self.aborted_at: float | None = None

    @property
    def is_asked(self) -> bool:
        """Whether the engine has asked."""
        return self._stop.is_asked

    def ask(self) -> None:
        """See ``Stop.ask``."""
        self._stop.ask()

    def abort(self) -> None:
        """See ``Stop.abort``."""
        self._stop.abort()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """See ``Stop.interrupting``."""

        def noted() -> None:
            self.aborted_at = self.aborted_at or time.perf_counter()
            interrupt()

        with self._stop.interrupting(noted):
            yield


class ForcedEngine(Engine):
    """An engine on a ``ForcedBackend``.

    Attributes:
        backend: What stands between the engine and the backend that computes.
    """

    def __init__(
        self,
        backend: Backend | Mapping[str, Backend],
        cascades: Mapping[str, Cascade],
        limits: Limits | Mapping[str, Limits] | None = None,
        *,
        settings: EngineSettings | None = None,
    ) -> None:
        inner, *others = backend.values() if isinstance(backend, Mapping) else [backend]
        if others:
            message = "a forced engine has one base model"
            raise ValueError(message)
        self.backend = ForcedBackend(inner)
        super().__init__(self.backend, cascades, limits, settings=settings)

    @classmethod
    def uncut(cls, config: Config) -> Self:
        """An engine that asks the model about every item, in full.

        Labels say where items go, so that everyone makes the same calls: prior stages are left out.
        """
        cascades = {name: cascade.without_prior_stage() for name, cascade in config.cascades().items()}
        return cls.open(uncut(config), cascades=cascades)

    def follow(
        self, write: Callable[[PromptBuilder, Mapping[str, Cascade]], Workload]
    ) -> tuple[Workload, list[LabelledQuery]]:
        """Take a workload's labels for answers from now on.

        Args:
            write: Writes the workload for the prompts of the model at hand and the engine's cascades.

        Returns:
            The workload, and the queries that it causes, in the order of a loop over its items.

        Raises:
            InputError: The workload cannot be written; the engine is closed.
        """
        builder = PromptBuilder(self.info.main.form, self.info.main.tokenizer)
        try:
            workload = write(builder, self.cascades)
        except InputError:
            self.close()
            raise
        queries = labelled_queries(workload, builder, self.cascades)
        self.backend.follow(queries)
        return workload, queries


def uncut(config: Config) -> Config:
    """The same config with limits that cut no text of a workload."""
    limits = LimitsConfig(**asdict(NO_LIMITS))
    return config.model_copy(update={"model": config.model.model_copy(update={"limits": limits})})
