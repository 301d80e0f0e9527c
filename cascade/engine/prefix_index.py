"""Which prompt nodes are in the backend's KV cache, under which prefix adapter, and which items want them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.engine.item_state import ItemState
from cascade.prompt import Node
from cascade.stages import SERVED

CachedNode = tuple[Node, str]
"""A prompt node and its prefix adapter: the adapter whose weights computed it."""


@dataclass(slots=True)
class PrefixIndex:
    """The engine's book of the backend's KV cache.

    Attributes:
        prefix_adapters: Maps each adapter to the adapter whose weights fill its prefix KV: itself for plain LoRA,
            ``base`` for activated LoRA, ``SERVED`` for one on a server.
        release: Called with nodes that the backend shall free.
        nodes: What is in the cache, the oldest first.
        tokens: The tokens of those nodes.
    """

    prefix_adapters: Mapping[str, str]
    release: Callable[[Sequence[CachedNode]], None]
    nodes: dict[CachedNode, None] = field(default_factory=dict)
    tokens: int = 0
    _wanted: Counter[CachedNode] = field(default_factory=Counter)  # by how many items
    _ahead: dict[ItemState, frozenset[str]] = field(default_factory=dict)  # prefix adapters that open items may want

    def __len__(self) -> int:
        return len(self.nodes)

    def admit(self, items: Iterable[ItemState]) -> None:
        """Take in the items of a new request."""
        for item in items:
            self._ahead[item] = self._prefix_adapters_of(item)
            self._wanted.update((node, prefix_adapter) for prefix_adapter in self._ahead[item] for node in item.path)

    def add(self, nodes: Iterable[Node], prefix_adapter: str) -> None:
        """Count nodes as cached from now on."""
        for node in nodes:
            if (node, prefix_adapter) not in self.nodes:
                self.nodes[node, prefix_adapter] = None
                self.tokens += len(node.tokens)

    def advance(self, items: Iterable[ItemState]) -> None:
        """Release what no item wants any more, now that these have moved on."""
        gone: list[CachedNode] = []
        for item in items:
            before = self._ahead.get(item, frozenset())
            self._ahead[item] = self._prefix_adapters_of(item)
            gone += self._unwant(item, before - self._ahead[item])
            if item.is_done:
                del self._ahead[item]
        self.release(gone)

    def drop(self, items: Iterable[ItemState]) -> list[CachedNode]:
        """Forget what no item wants any more, now that these are given up.

        Returns:
            What was forgotten; the backend frees it when the root of the request is released.
        """
        return [key for item in items for key in self._unwant(item, self._ahead.pop(item, frozenset()))]

    def evict_while(self, is_needed: Callable[[], bool], keys: Iterable[CachedNode]) -> None:
        """Release nodes one by one although they are wanted again, as long as more room is needed."""
        gone: list[CachedNode] = []
        for key in keys:
            if not is_needed():
                break
            self.forget(key)
            gone.append(key)
        self.release(gone)

    def forget(self, key: CachedNode) -> bool:
        """Count a node as not cached; returns whether it was."""
        if key not in self.nodes:
            return False
        del self.nodes[key]
        self.tokens -= len(key[0].tokens)
        return True

    def clear(self) -> None:
        """Release everything."""
        gone = list(self.nodes)
        self.nodes.clear()
        self.tokens = 0
        self.release(gone)

    def has_item(self, item: ItemState, adapter: str) -> bool:
        """True if an item is cached, so that an adapter's question of it costs its own tokens alone."""
        prefix_adapter = self.prefix_adapters[adapter]
        return prefix_adapter == SERVED or (item.path[-1], prefix_adapter) in self.nodes

    def missing(self, item: ItemState, prefix_adapter: str) -> list[Node]:
        """The nodes of an item's prompt that are to be computed under a prefix adapter before it can be asked."""
        if prefix_adapter == SERVED:
            return []
        return [node for node in item.path if (node, prefix_adapter) not in self.nodes]

    def _prefix_adapters_of(self, item: ItemState) -> frozenset[str]:
        return frozenset(self.prefix_adapters[adapter] for adapter in item.adapters()) - {SERVED}

    def _unwant(self, item: ItemState, prefix_adapters: Iterable[str]) -> Iterator[CachedNode]:
        for prefix_adapter in prefix_adapters:
            for node in item.path:
                key = (node, prefix_adapter)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self.forget(key):
                        yield key
