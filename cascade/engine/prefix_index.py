"""Which prompt nodes the backend keeps, in which prefix adapter, and who wants them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cascade.engine.item_state import Walk
from cascade.prompt import Node
from cascade.stages import SERVED

CachedNode = tuple[Node, str]
"""A prompt node and its prefix adapter: the adapter that computed it."""


@dataclass(slots=True)
class PrefixIndex:
    """A planner's book of what the backend keeps.

    Attributes:
        prefix_adapters: Adapter -> adapter that computes what stands before its questions.
        nodes: What is kept.
        tokens: The tokens of that.
    """

    prefix_adapters: Mapping[str, str]
    nodes: dict[CachedNode, None] = field(default_factory=dict)
    tokens: int = 0
    _wanted: Counter[CachedNode] = field(default_factory=Counter)  # by how many walks
    _lies_ahead: dict[Walk, frozenset[str]] = field(
        default_factory=dict
    )  # prefix adapters that each open walk may want

    def __len__(self) -> int:
        return len(self.nodes)

    def admit(self, walks: Iterable[Walk]) -> None:
        """Take in the walks of a new request."""
        for walk in walks:
            self._lies_ahead[walk] = self._prefix_adapters_of(walk)
            self._wanted.update(
                (node, prefix_adapter) for prefix_adapter in self._lies_ahead[walk] for node in walk.path
            )

    def add(self, nodes: Iterable[Node], prefix_adapter: str) -> None:
        """Count nodes as kept from now on."""
        for node in nodes:
            if (node, prefix_adapter) not in self.nodes:
                self.nodes[node, prefix_adapter] = None
                self.tokens += len(node.tokens)

    def advance(self, walks: Iterable[Walk]) -> list[CachedNode]:
        """What no walk wants any more, now that these have moved on."""
        gone: list[CachedNode] = []
        for walk in walks:
            before = self._lies_ahead.get(walk, frozenset())
            self._lies_ahead[walk] = self._prefix_adapters_of(walk)
            gone += self._unwant(walk, before - self._lies_ahead[walk])
            if walk.is_done:
                del self._lies_ahead[walk]
        return gone

    def drop(self, walks: Iterable[Walk]) -> list[CachedNode]:
        """What no walk wants any more, now that these are given up."""
        return [
            prefix_index
            for walk in walks
            for prefix_index in self._unwant(walk, self._lies_ahead.pop(walk, frozenset()))
        ]

    def forget(self, key: CachedNode) -> bool:
        """Count a node as not kept; whether it was."""
        if key not in self.nodes:
            return False
        del self.nodes[key]
        self.tokens -= len(key[0].tokens)
        return True

    def lose(self) -> list[CachedNode]:
        """Count nothing as kept; returns what was."""
        gone = list(self.nodes)
        self.nodes.clear()
        self.tokens = 0
        return gone

    def has_item(self, walk: Walk, adapter: str) -> bool:
        """Whether a walk's item is kept, so that an adapter's question of it costs its own tokens alone."""
        prefix_adapter = self.prefix_adapters[adapter]
        return prefix_adapter == SERVED or (walk.path[-1], prefix_adapter) in self.nodes

    def missing(self, walk: Walk, prefix_adapter: str) -> list[Node]:
        """The nodes of a walk that are not kept in a prefix adapter, and would be if it were asked."""
        return (
            [] if prefix_adapter == SERVED else [node for node in walk.path if (node, prefix_adapter) not in self.nodes]
        )

    def _prefix_adapters_of(self, walk: Walk) -> frozenset[str]:
        return frozenset(self.prefix_adapters[adapter] for adapter in walk.adapters()) - {SERVED}

    def _unwant(self, walk: Walk, prefix_adapters: Iterable[str]) -> Iterator[CachedNode]:
        for prefix_adapter in prefix_adapters:
            for node in walk.path:
                key = (node, prefix_adapter)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self.forget(key):
                        yield key
