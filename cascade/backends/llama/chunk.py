"""Queries that are computed side by side, what is computed for them, and which logits are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from cascade.backends.base import Query
from cascade.backends.llama.decode_calls import Stretch
from cascade.backends.llama.kv_cache import Entry
from cascade.errors import DecodeError
from cascade.prompt import Node, Segment


@dataclass(frozen=True, slots=True)
class Chunk:
    """Queries that are computed side by side.

    Attributes:
        queries: The queries.
        prefix_adapter: The adapter that computes what stands before their questions.
        entries: Every node above the questions, upper ones first, and questions that have an entry of their own.
        missing: Those nodes that are yet to be computed.
        holders: For each query the entry behind whose tokens its question goes: its item's, or its own.
        heads: Holder -> what its prefix adapter computes of the question.
    """

    queries: Sequence[Query]
    prefix_adapter: str
    entries: Mapping[Node, Entry]
    missing: set[Node]
    holders: Sequence[Entry]
    heads: Mapping[Entry, Sequence[int]]

    def along(self, *, is_output: bool) -> Iterator[Stretch]:
        """What the prefix adapter computes: nodes that are missing, and the head of each question."""
        for node, entry in self.entries.items():
            tokens = node.tokens if node in self.missing else ()
            head = self.heads.get(entry, ())
            if tokens or head:
                start = node.start if tokens or entry.node.segment is Segment.QUESTION else node.end
                yield Stretch(entry, (*tokens, *head), start, is_output and entry in self.heads)

    def asked(self) -> Iterator[Stretch]:
        """What the adapter computes after that: the rest of each question."""
        for query, holder in zip(self.queries, self.holders, strict=True):
            head = self.heads[holder]
            yield Stretch(holder, query.node.tokens[len(head) :], query.node.start + len(head), True)


@dataclass(frozen=True, slots=True)
class Gather:
    """Which logits are read of a call.

    Attributes:
        tokens: Token ids: those of yes and no, then all other labels of the chunk, each once.
        places: Holder of a query with labels -> where its labels stand in ``tokens``.
    """

    tokens: Sequence[int]
    places: Mapping[Entry, Sequence[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, labels: tuple[int, int], chunk: Chunk) -> Gather:
        """What a chunk needs; of yes/no questions alone just yes and no."""
        own = {
            holder: query.labels.tokens
            for query, holder in zip(chunk.queries, chunk.holders, strict=True)
            if query.labels is not None
        }
        if not own:
            return cls(labels)
        place = {token: at for at, token in enumerate(dict.fromkeys(chain(labels, *own.values())))}
        return cls(tuple(place), {holder: [place[token] for token in tokens] for holder, tokens in own.items()})


def shared_nodes(queries: Sequence[Query]) -> set[Node]:
    """Items and texts with more below them than one question, which then needs a sequence of its own."""
    counts = Counter(map(item_of, queries))
    inner = {node for item in counts for node in item.path[:-1]}
    return {item for item, n in counts.items() if n > 1 or item in inner}


def item_of(query: Query) -> Node:
    """The node that a query's question hangs below: an item, or its text."""
    if query.node.parent is None:
        msg = "A question must stand below an item."
        raise DecodeError(msg)
    return query.node.parent


def together(questions: Sequence[Node]) -> list[int]:
    """Places of the questions, those that share nodes side by side, otherwise in the given order."""
    first: dict[Node, int] = {}
    for at, question in enumerate(questions):
        for node in question.path:
            first.setdefault(node, at)
    return sorted(range(len(questions)), key=lambda at: [first[node] for node in questions[at].path])
