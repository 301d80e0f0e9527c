"""Which prompt nodes have their KV in the cache, in which sequence, computed by which adapter. Pure.

Every kept node owns one sequence of the unified cache; that sequence spans the node's whole path,
its ancestors' cells being shared. A node is known by (node, prefix adapter), the prefix adapter being the adapter
that computed it, so KV of one adapter can never be found under another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cascade.prompt import Node


@dataclass(slots=True, eq=False)
class Entry:
    """A node whose KV is in the cache.

    Attributes:
        node: The node.
        prefix_adapter: Name of the adapter that computed it.
        sequence: Sequence id that spans its path.
        parent: The entry above; None for a task.
        n_children: Entries directly below.
        used: When it was last wanted, in turns of the store.
    """

    node: Node
    prefix_adapter: str
    sequence: int
    parent: Entry | None
    n_children: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a context holds.

    Attributes:
        cells: Cells that prompt nodes fill.
        nodes: Prompt nodes.
        sequences: Sequences that hold any cell, as llama.cpp sees it.
        peak_cells: Most cells that were ever filled or guaranteed.
    """

    cells: int
    nodes: int
    sequences: int
    peak_cells: int


@dataclass(slots=True)
class KVStore:
    """Book-keeping of one context's cells and sequences.

    Attributes:
        n_cells: Cells of the context.
        n_sequences: Sequences of the context.
        cells_used: Cells that entries fill.
        peak_cells: Most that were ever filled or reserved for questions.
    """

    n_cells: int
    n_sequences: int
    cells_used: int = 0
    peak_cells: int = 0
    _entries: dict[tuple[Node, str], Entry] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)
    _turn: int = 0

    def __post_init__(self) -> None:
        self._free = list(range(self.n_sequences - 1, -1, -1))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def sequences_free(self) -> int:
        """Sequences that no entry owns."""
        return len(self._free)

    @property
    def cells_free(self) -> int:
        """Cells that no entry fills."""
        return self.n_cells - self.cells_used

    def keys(self) -> list[tuple[Node, str]]:
        """Every node that is kept, with its prefix adapter."""
        return list(self._entries)

    def find(self, node: Node, prefix_adapter: str) -> Entry | None:
        """The entry of a node in a prefix adapter, marked as wanted now; None if it is not there."""
        entry = self._entries.get((node, prefix_adapter))
        if entry is not None:
            self._turn += 1
            entry.used = self._turn
        return entry

    def add(self, node: Node, prefix_adapter: str) -> Entry:
        """Takes a sequence and cells for a node whose parent is there.

        There must be room; see ``make_room``.
        """
        parent = self._entries[node.parent, prefix_adapter] if node.parent else None
        self._turn += 1
        entry = Entry(node, prefix_adapter, self._free.pop(), parent, used=self._turn)
        if parent:
            parent.n_children += 1
        self.cells_used += len(node.tokens)
        self._entries[node, prefix_adapter] = entry
        return entry

    def make_room(self, n_cells: int, n_sequences: int, pinned: set[Entry]) -> Iterator[Entry]:
        """Drops entries, the longest unwanted first, until there is room; yields each.

        Pinned entries stay. The caller has checked that what is pinned and what is asked for fit.
        """
        while self.cells_free < n_cells or self.sequences_free < n_sequences:
            leaves = [entry for entry in self._entries.values() if not entry.n_children and entry not in pinned]
            oldest = min(leaves, key=lambda entry: entry.used)
            self._drop(oldest)
            yield oldest
        self.peak_cells = max(self.peak_cells, self.cells_used + n_cells)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> list[Entry]:
        """Drops every entry at or below the nodes, in one prefix adapter or (None) in all; leaves first."""
        gone = set(nodes)
        found = [
            entry
            for entry in self._entries.values()
            if prefix_adapter in {None, entry.prefix_adapter} and not gone.isdisjoint(entry.node.path)
        ]
        found.sort(key=lambda entry: -len(entry.node.path))
        for entry in found:
            self._drop(entry)
        return found

    def release_all(self, prefix_adapter: str) -> list[Entry]:
        """Drops every entry of a prefix adapter."""
        return self.release([node for node, of in self._entries if of == prefix_adapter], prefix_adapter)

    def clear(self) -> None:
        """Forgets everything."""
        self._entries.clear()
        self.cells_used = 0
        self._free = list(range(self.n_sequences - 1, -1, -1))

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.node, entry.prefix_adapter]
        if entry.parent:
            entry.parent.n_children -= 1
        self.cells_used -= len(entry.node.tokens)
        self._free.append(entry.sequence)


def chunks(paths: Sequence[tuple[Node, ...]], extra: Sequence[int], n_cells: int, n_sequences: int) -> Iterator[slice]:
    """Cuts prompts, in order, into runs that fit into the cache side by side.

    Args:
        paths: The nodes of each prompt that take a sequence.
        extra: Cells that each prompt needs besides, for its question.
        n_cells: Cells of the context.
        n_sequences: Sequences of the context.
    """
    first, cells, nodes = 0, 0, set[Node]()
    for at, path in enumerate(paths):
        new = [node for node in path if node not in nodes]
        needed = sum(len(node.tokens) for node in new) + extra[at]
        if at > first and (cells + needed > n_cells or len(nodes) + len(new) > n_sequences):
            yield slice(first, at)
            first, cells, nodes, new = at, 0, set(), list(path)
            needed = sum(len(node.tokens) for node in new) + extra[at]
        cells += needed
        nodes.update(new)
    if first < len(paths):
        yield slice(first, len(paths))
