"""Forced branching: the inner backend computes everything, the workload says what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cascade.backends.base import Backend, BackendFacts, Scores, Wave, WaveCost
from cascade.bench.asks import Ask, Path
from cascade.prompt import Node
from cascade.stop import Stop

_SURE = 20.0  # log odds beyond every threshold that a config would use


@dataclass(frozen=True, slots=True)
class Scored:
    """A wave that was scored.

    Attributes:
        adapter: What answered.
        n_probes: How many probes it had.
        cost: What it took.
    """

    adapter: str
    n_probes: int
    cost: WaveCost


class ForcedBackend:
    """A backend whose answers follow the truth of a workload; its costs are the inner backend's.

    Args:
        inner: What computes.
        asked: The probes of the workload.

    Attributes:
        waves: Every wave, in order.
    """

    def __init__(self, inner: Backend, asked: Iterable[Ask]) -> None:
        self._inner = inner
        self.waves: list[Scored] = []
        self._truths: Mapping[Path, bool] = {ask.path: ask.truth for ask in asked}

    @property
    def facts(self) -> BackendFacts:
        """See ``Backend.facts``."""
        return self._inner.facts

    async def score(self, wave: Wave, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        scores = await self._inner.score(wave, stop)
        self.waves.append(Scored(wave.adapter, len(wave.probes), scores.cost))
        truths = [self._truths[tuple(node.tokens for node in probe.node.path)] for probe in wave.probes]
        return Scores([_SURE if truth else -_SURE for truth in truths], scores.cost)

    def release(self, nodes: Iterable[Node], lineage: str | None = None) -> None:
        """See ``Backend.release``."""
        self._inner.release(nodes, lineage)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self._inner.close()
