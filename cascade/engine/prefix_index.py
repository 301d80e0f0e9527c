"""Which prompt nodes the backend keeps, in which lineage, and who wants them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cascade.engine.item_state import Walk
from cascade.prompt import Node
from cascade.stages import SERVED

Kept = tuple[Node, str]
"""A prompt node and its lineage: the adapter that computed it."""


@dataclass(slots=True)
class KeptNodes:
    """A planner's book of what the backend keeps.

    Attributes:
        lineages: Adapter -> adapter that computes what stands before its questions.
        nodes: What is kept.
        tokens: The tokens of that.
    """

    lineages: Mapping[str, str]
    nodes: dict[Kept, None] = field(default_factory=dict)
    tokens: int = 0
    _wanted: Counter[Kept] = field(default_factory=Counter)  # by how many walks
    _lies_ahead: dict[Walk, frozenset[str]] = field(default_factory=dict)  # lineages that each open walk may want

    def __len__(self) -> int:
        return len(self.nodes)

    def admit(self, walks: Iterable[Walk]) -> None:
        """Take in the walks of a new request."""
        for walk in walks:
            self._lies_ahead[walk] = self._lineages_of(walk)
            self._wanted.update((node, lineage) for lineage in self._lies_ahead[walk] for node in walk.path)

    def add(self, nodes: Iterable[Node], lineage: str) -> None:
        """Count nodes as kept from now on."""
        for node in nodes:
            if (node, lineage) not in self.nodes:
                self.nodes[node, lineage] = None
                self.tokens += len(node.tokens)

    def advance(self, walks: Iterable[Walk]) -> list[Kept]:
        """What no walk wants any more, now that these have moved on."""
        gone: list[Kept] = []
        for walk in walks:
            before = self._lies_ahead.get(walk, frozenset())
            self._lies_ahead[walk] = self._lineages_of(walk)
            gone += self._unwant(walk, before - self._lies_ahead[walk])
            if walk.is_done:
                del self._lies_ahead[walk]
        return gone

    def drop(self, walks: Iterable[Walk]) -> list[Kept]:
        """What no walk wants any more, now that these are given up."""
        return [kept for walk in walks for kept in self._unwant(walk, self._lies_ahead.pop(walk, frozenset()))]

    def forget(self, key: Kept) -> bool:
        """Count a node as not kept; whether it was."""
        if key not in self.nodes:
            return False
        del self.nodes[key]
        self.tokens -= len(key[0].tokens)
        return True

    def lose(self) -> list[Kept]:
        """Count nothing as kept; returns what was."""
        gone = list(self.nodes)
        self.nodes.clear()
        self.tokens = 0
        return gone

    def has_item(self, walk: Walk, adapter: str) -> bool:
        """Whether a walk's item is kept, so that an adapter's question of it costs its own tokens alone."""
        lineage = self.lineages[adapter]
        return lineage == SERVED or (walk.path[-1], lineage) in self.nodes

    def missing(self, walk: Walk, lineage: str) -> list[Node]:
        """The nodes of a walk that are not kept in a lineage, and would be if it were asked."""
        return [] if lineage == SERVED else [node for node in walk.path if (node, lineage) not in self.nodes]

    def _lineages_of(self, walk: Walk) -> frozenset[str]:
        return frozenset(self.lineages[adapter] for adapter in walk.adapters()) - {SERVED}

    def _unwant(self, walk: Walk, lineages: Iterable[str]) -> Iterator[Kept]:
        for lineage in lineages:
            for node in walk.path:
                key = (node, lineage)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self.forget(key):
                        yield key
