"""Probes that are computed side by side, and what has to be decoded for them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from cascade.backends.base import Probe
from cascade.backends.kv_store import Entry
from cascade.backends.trie_calls import Stretch
from cascade.errors import DecodeError
from cascade.prompt import Node, Segment


@dataclass(frozen=True, slots=True)
class Chunk:
    """Probes that are computed side by side.

    Attributes:
        probes: The probes.
        lineage: The adapter that computes what stands before their questions.
        entries: Every node above the questions, upper ones first, and questions that have an entry of their own.
        missing: Those nodes that are yet to be computed.
        holders: For each probe the entry behind whose tokens its question goes: its item's, or its own.
        heads: Holder -> what its lineage computes of the question.
    """

    probes: Sequence[Probe]
    lineage: str
    entries: Mapping[Node, Entry]
    missing: set[Node]
    holders: Sequence[Entry]
    heads: Mapping[Entry, Sequence[int]]

    def along(self, *, is_output: bool) -> Iterator[Stretch]:
        """What the lineage computes: nodes that are missing, and the head of each question."""
        for node, entry in self.entries.items():
            tokens = node.tokens if node in self.missing else ()
            head = self.heads.get(entry, ())
            if tokens or head:
                start = node.start if tokens or entry.node.segment is Segment.QUESTION else node.end
                yield Stretch(entry, (*tokens, *head), start, is_output and entry in self.heads)

    def asked(self) -> Iterator[Stretch]:
        """What the adapter computes after that: the rest of each question."""
        for probe, holder in zip(self.probes, self.holders, strict=True):
            head = self.heads[holder]
            yield Stretch(holder, probe.node.tokens[len(head) :], probe.node.start + len(head), True)


def asked_twice(probes: Sequence[Probe]) -> set[Node]:
    """Items that are asked more than once."""
    counts = Counter(map(item_of, probes))
    return {item for item, n in counts.items() if n > 1}


def item_of(probe: Probe) -> Node:
    """The node that a probe's question hangs below."""
    if probe.node.parent is None:
        msg = "A question must stand below an item."
        raise DecodeError(msg)
    return probe.node.parent


def together(questions: Sequence[Node]) -> list[int]:
    """Places of the questions, those that share nodes side by side, otherwise in the given order."""
    first: dict[Node, int] = {}
    for at, question in enumerate(questions):
        for node in question.path:
            first.setdefault(node, at)
    return sorted(range(len(questions)), key=lambda at: [first[node] for node in questions[at].path])
