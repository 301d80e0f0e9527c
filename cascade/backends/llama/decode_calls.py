"""Which tokens go into which decode call when many nodes of a trie are computed at once. Pure.

A node and the nodes below it go into one call: the upper one's tokens belong to the sequences of
all nodes below it as well, so that those see its cells without waiting for a call of their own.
Calls are of equal length, since a short one at the end would cost nearly as much as a long one; a
node may be cut in two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascade.backends.llama.batch_rows import Run
from cascade.backends.llama.kv_cache import Entry


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is to be computed of one sequence.

    Attributes:
        entry: Whose sequence.
        tokens: The tokens, at least one.
        start: Position of the first.
        is_output: Whether logits are wanted at the last.
    """

    entry: Entry
    tokens: Sequence[int]
    start: int
    is_output: bool = False

    @property
    def end(self) -> int:
        """Position behind the last."""
        return self.start + len(self.tokens)

    @property
    def is_new(self) -> bool:
        """Whether the sequence is still empty, so that it must first share what stands above it."""
        return self.start == self.entry.node.start


@dataclass(frozen=True, slots=True)
class Fork:
    """Sequence ``target`` shall share the cells of ``source`` from position 0 up to ``end``."""

    source: int
    target: int
    end: int


@dataclass(frozen=True, slots=True)
class Call:
    """One decode call.

    Attributes:
        forks: What must come before it.
        runs: Its tokens.
        finished: Entries whose stretch is computed with it, in order.
        outputs: Those of them whose logits it gives, in order.
    """

    forks: tuple[Fork, ...]
    runs: tuple[Run, ...]
    finished: tuple[Entry, ...]
    outputs: tuple[Entry, ...]


def calls(stretches: Sequence[Stretch], n_batch: int) -> Iterator[Call]:
    """The calls that compute stretches.

    Args:
        stretches: Upper nodes before those below them, each node at most once.
        n_batch: Most tokens of a call.
    """
    done = {stretch.entry: stretch.start for stretch in stretches}
    n_tokens = sum(len(stretch.tokens) for stretch in stretches)
    n_calls = -(-n_tokens // n_batch)
    ends = {stretch.entry: stretch.end for stretch in stretches}
    for pieces in _cut(stretches, -(-n_tokens // max(1, n_calls))):
        yield Call(
            forks=tuple(_forks(pieces, done)),
            runs=tuple(_runs(pieces)),
            finished=tuple(piece.entry for piece in pieces if piece.end == ends[piece.entry]),
            outputs=tuple(piece.entry for piece in pieces if piece.is_output),
        )
        for piece in pieces:
            done[piece.entry] = piece.end


def _cut(stretches: Sequence[Stretch], length: int) -> Iterator[list[Stretch]]:
    """Stretches in batches of a length; the last may be shorter."""
    batch: list[Stretch] = []
    room = length
    for stretch in stretches:
        at = 0
        while at < len(stretch.tokens):
            tokens = stretch.tokens[at : at + room]
            is_output = stretch.is_output and at + len(tokens) == len(stretch.tokens)
            batch.append(Stretch(stretch.entry, tokens, stretch.start + at, is_output))
            at += len(tokens)
            room -= len(tokens)
            if not room:
                yield batch
                batch, room = [], length
    if batch:
        yield batch


def _forks(pieces: Sequence[Stretch], done: dict[Entry, int]) -> Iterator[Fork]:
    """Forks of the sequences that begin here, each from what its parent had before this call.

    llama.cpp lets sequences share a token only while both hold the same cells, and so they do.
    """
    for piece in pieces:
        parent = piece.entry.parent
        if piece.is_new and parent is not None:
            end = done.get(parent, parent.node.end)
            if end:
                yield Fork(parent.sequence, piece.entry.sequence, end)


def _runs(pieces: Sequence[Stretch]) -> list[Run]:
    """The pieces with their sequences: their own, and those of the nodes below that begin in this call."""
    below: dict[Entry, list[int]] = {}
    runs = []
    for piece in reversed(pieces):
        own = [piece.entry.sequence, *below.pop(piece.entry, ())]
        runs.append(Run(piece.tokens, piece.start, own, piece.is_output))
        if piece.is_new and piece.entry.parent is not None:
            below.setdefault(piece.entry.parent, []).extend(own)
    return runs[::-1]
