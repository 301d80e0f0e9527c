"""Tokens to decode, as flat arrays: filled by numpy, not by loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens that follow each other in the same sequences.

    Attributes:
        tokens: Token ids, at least one.
        start: Position of the first.
        sequences: Sequence ids that all of them belong to, at least one.
        is_output: Whether logits are wanted at the last.
    """

    tokens: Sequence[int]
    start: int
    sequences: Sequence[int]
    is_output: bool = False


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokens to decode: parallel arrays of length N, in the order of decoding.

    Attributes:
        tokens: (N,) token ids.
        positions: (N,) position of each.
        outputs: (N,) 1 where logits are wanted.
        n_sequences: (N,) number of sequences that each belongs to.
        first_sequence: (N,) where those begin in ``sequences``; tokens of one run share them.
        sequences: (M,) sequence ids.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    outputs: NDArray[np.int8]
    n_sequences: NDArray[np.int32]
    first_sequence: NDArray[np.int64]
    sequences: NDArray[np.int32]

    @staticmethod
    def of(runs: Sequence[Run]) -> Rows:
        """Runs one after the other, in order; at least one."""
        lengths = np.fromiter((len(run.tokens) for run in runs), np.int64, len(runs))
        sizes = np.fromiter((len(run.sequences) for run in runs), np.int64, len(runs))
        starts = np.fromiter((run.start for run in runs), np.int64, len(runs))
        ends = np.cumsum(lengths)
        total = int(ends[-1])
        outputs = np.zeros(total, np.int8)
        outputs[ends - 1] = np.fromiter((run.is_output for run in runs), np.int8, len(runs))
        return Rows(
            tokens=np.fromiter(chain.from_iterable(run.tokens for run in runs), np.int32, total),
            positions=(np.arange(total) + np.repeat(starts - ends + lengths, lengths)).astype(np.int32),
            outputs=outputs,
            n_sequences=np.repeat(sizes, lengths).astype(np.int32),
            first_sequence=np.repeat(np.cumsum(sizes) - sizes, lengths),
            sequences=np.fromiter(chain.from_iterable(run.sequences for run in runs), np.int32, int(sizes.sum())),
        )

    def part(self, part: slice) -> Rows:
        """Some of the tokens, in order; the ids of their sequences stay where they are."""
        return Rows(
            self.tokens[part],
            self.positions[part],
            self.outputs[part],
            self.n_sequences[part],
            self.first_sequence[part],
            self.sequences,
        )

    def __len__(self) -> int:
        return len(self.tokens)
