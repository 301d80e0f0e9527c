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
        prefix_adapters: Maps the key of each adapter to that of the adapter whose weights fill its prefix KV: itself
            for plain LoRA, ``base`` for activated LoRA, ``SERVED`` for one on a server.
        release: Called with nodes that the backend shall free.
        model: Name of the model whose cache it is; empty where there is one.
        nodes: What is in the cache, the oldest first.
        tokens: The tokens of those nodes.
    """

    prefix_adapters: Mapping[str, str]
    release: Callable[[Sequence[CachedNode]], None]
    model: str = ""
    nodes: dict[CachedNode, None] = field(default_factory=dict)
    tokens: int = 0
    _wanted: Counter[CachedNode] = field(default_factory=Counter)  # by how many items
    _ahead: dict[ItemState, Mapping[str, int]] = field(default_factory=dict)  # see ``_wants``, of open items

    def __len__(self) -> int:
        return len(self.nodes)

    def admit(self, items: Iterable[ItemState]) -> None:
        """Take in items of a request, those that are not built for its model or are known already left out."""
        for item in items:
            if self.model in item.branches and item not in self._ahead:
                path = item.branches[self.model].node.path
                self._ahead[item] = self._wants(item)
                self._wanted.update((node, prefix_adapter) for prefix_adapter in self._ahead[item] for node in path)

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
            if item not in self._ahead:
                continue
            before = self._ahead[item]
            wants = self._ahead[item] = self._wants(item)
            gone += self._unwant(item, before.keys() - wants.keys())
            gone += self._unread(item, wants)
            if item.is_done:
                del self._ahead[item]
        self.release(gone)

    def drop(self, items: Iterable[ItemState]) -> list[CachedNode]:
        """Forget what no item wants any more, now that these are given up.

        Returns:
            What was forgotten; the backend frees it when the root of the request is released.
        """
        return [key for item in items for key in self._unwant(item, self._ahead.pop(item, {}))]

    def evict_while(self, is_needed: Callable[[], bool], keys: Iterable[CachedNode]) -> None:
        """Release nodes, each with all below it, although they are wanted again, as long as more room is needed."""
        gone: list[CachedNode] = []
        for key in keys:
            if not is_needed():
                break
            gone += [below for below in self._below(*key) if self.forget(below)]
        self.release(gone)

    def forget(self, key: CachedNode) -> bool:
        """Count a node as not cached; returns whether it was."""
        if key not in self.nodes:
            return False
        del self.nodes[key]
        self.tokens -= len(key[0].tokens)
        return True

    def refit(self, prefix_adapters: Mapping[str, str]) -> None:
        """Go by these prefix adapters; nodes of any other are forgotten, as the backend has forgotten them."""
        self.prefix_adapters = prefix_adapters
        for key in [key for key in self.nodes if key[1] not in prefix_adapters]:
            self.forget(key)

    def clear(self) -> None:
        """Release everything."""
        gone = list(self.nodes)
        self.nodes.clear()
        self.tokens = 0
        self.release(gone)

    def has(self, node: Node, adapter: str) -> bool:
        """True if a node is cached, so that an adapter's question below it costs its own tokens alone."""
        prefix_adapter = self.prefix_adapters[adapter]
        return prefix_adapter == SERVED or (node, prefix_adapter) in self.nodes

    def missing(self, node: Node, prefix_adapter: str) -> list[Node]:
        """The nodes down to this one that are to be computed under a prefix adapter before a question below it."""
        if prefix_adapter == SERVED:
            return []
        return [above for above in node.path if (above, prefix_adapter) not in self.nodes]

    def _wants(self, item: ItemState) -> Mapping[str, int]:
        """Prefix adapter -> most tokens of its text that an item may yet be asked with under it."""
        found: dict[str, int] = {}
        for question in item.questions():
            prefix_adapter = self.prefix_adapters.get(item.key_of(question), SERVED)  # or it is another model's
            found[prefix_adapter] = max(found.get(prefix_adapter, 0), question.max_text_tokens)
        found.pop(SERVED, None)
        return found

    def _below(self, node: Node, prefix_adapter: str) -> list[CachedNode]:
        """A node and those below it, under the same prefix adapter."""
        return [key for key in self.nodes if key[1] == prefix_adapter and node in key[0].path]

    def _unread(self, item: ItemState, wants: Mapping[str, int]) -> Iterator[CachedNode]:
        """Forget what of an item's text is not read any more."""
        branch = item.branches[self.model]
        for prefix_adapter, most in wants.items() if branch.texts else ():
            wanted = branch.texts[most] if most else branch.node
            unread = ((node, prefix_adapter) for node in branch.texts.values() if node not in wanted.path)
            yield from filter(self.forget, unread)

    def _unwant(self, item: ItemState, prefix_adapters: Iterable[str]) -> Iterator[CachedNode]:
        for prefix_adapter in prefix_adapters:
            branch = item.branches[self.model]
            texts = ((node, prefix_adapter) for node in branch.texts.values() if node is not branch.node)
            yield from filter(self.forget, texts)  # they are this item's alone
            for node in branch.node.path:
                key = (node, prefix_adapter)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self.forget(key):
                        yield key
