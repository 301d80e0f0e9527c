"""Which prompt nodes the backend keeps, in which prefix adapter, and who wants them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cascade.engine.item_state import ItemState
from cascade.prompt import Node
from cascade.stages import SERVED

CachedNode = tuple[Node, str]
"""A prompt node and its prefix adapter: the adapter that computed it."""


@dataclass(slots=True)
class PrefixIndex:
    """A planner's book of what the backend keeps.

    Attributes:
        prefix_adapters: Adapter -> adapter whose weights fill its prefix KV: itself, or ``base`` for activated LoRA.
        nodes: What is kept.
        tokens: The tokens of that.
    """

    prefix_adapters: Mapping[str, str]
    nodes: dict[CachedNode, None] = field(default_factory=dict)
    tokens: int = 0
    _wanted: Counter[CachedNode] = field(default_factory=Counter)  # by how many items
    _lies_ahead: dict[ItemState, frozenset[str]] = field(
        default_factory=dict
    )  # prefix adapters that each open item may want

    def __len__(self) -> int:
        return len(self.nodes)

    def admit(self, items: Iterable[ItemState]) -> None:
        """Take in the items of a new request."""
        for state in items:
            self._lies_ahead[state] = self._prefix_adapters_of(state)
            self._wanted.update(
                (node, prefix_adapter) for prefix_adapter in self._lies_ahead[state] for node in state.path
            )

    def add(self, nodes: Iterable[Node], prefix_adapter: str) -> None:
        """Count nodes as kept from now on."""
        for node in nodes:
            if (node, prefix_adapter) not in self.nodes:
                self.nodes[node, prefix_adapter] = None
                self.tokens += len(node.tokens)

    def advance(self, items: Iterable[ItemState]) -> list[CachedNode]:
        """What no item wants any more, now that these have moved on."""
        gone: list[CachedNode] = []
        for state in items:
            before = self._lies_ahead.get(state, frozenset())
            self._lies_ahead[state] = self._prefix_adapters_of(state)
            gone += self._unwant(state, before - self._lies_ahead[state])
            if state.is_done:
                del self._lies_ahead[state]
        return gone

    def drop(self, items: Iterable[ItemState]) -> list[CachedNode]:
        """What no item wants any more, now that these are given up."""
        return [
            prefix_index
            for state in items
            for prefix_index in self._unwant(state, self._lies_ahead.pop(state, frozenset()))
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

    def has_item(self, state: ItemState, adapter: str) -> bool:
        """Whether an item is kept, so that an adapter's question of it costs its own tokens alone."""
        prefix_adapter = self.prefix_adapters[adapter]
        return prefix_adapter == SERVED or (state.path[-1], prefix_adapter) in self.nodes

    def missing(self, state: ItemState, prefix_adapter: str) -> list[Node]:
        """The nodes of an item that are not kept in a prefix adapter, and would be if it were asked."""
        return (
            []
            if prefix_adapter == SERVED
            else [node for node in state.path if (node, prefix_adapter) not in self.nodes]
        )

    def _prefix_adapters_of(self, state: ItemState) -> frozenset[str]:
        return frozenset(self.prefix_adapters[adapter] for adapter in state.adapters()) - {SERVED}

    def _unwant(self, state: ItemState, prefix_adapters: Iterable[str]) -> Iterator[CachedNode]:
        for prefix_adapter in prefix_adapters:
            for node in state.path:
                key = (node, prefix_adapter)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self.forget(key):
                        yield key
