"""Forced branching: the inner backend computes everything, the workload says what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import isfinite, isnan

from benchmarks.speed.asks import Ask, Path
from cascade.backends.base import Backend, BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.prompt import Node

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
        asked: The queries of the workload.

    Attributes:
        batches: Every batch, in order.
    """

    def __init__(self, inner: Backend, asked: Iterable[Ask]) -> None:
        self._inner = inner
        self.batches: list[Scored] = []
        self._truths: Mapping[Path, bool] = {ask.path: ask.truth for ask in asked}

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._inner.info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        scores = await self._inner.score(batch, stop)
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
