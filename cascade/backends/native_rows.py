"""Tokens to decode, as flat arrays: filled by numpy, not by loops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Run = tuple[Sequence[int], int, int, bool]
"""(token ids, first position, sequence, whether the last token is an output)."""


@dataclass(slots=True)
class Rows:
    """Tokens to decode: parallel arrays of one length, in the order of decoding.

    Attributes:
        tokens: Token ids.
        positions: Position of each in its sequence.
        sequences: Sequence of each.
        outputs: Whether logits are wanted there.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    outputs: NDArray[np.int8]

    @staticmethod
    def of(runs: Sequence[Run]) -> Rows:
        """Runs one after the other, in order."""
        lengths = np.fromiter((len(run[0]) for run in runs), np.int64, len(runs))
        ends = np.cumsum(lengths)
        starts = np.repeat(ends - lengths, lengths)
        total = int(lengths.sum())
        first = np.fromiter((run[1] for run in runs), np.int64, len(runs))
        sequences = np.fromiter((run[2] for run in runs), np.int32, len(runs))
        outputs = np.zeros(total, np.int8)
        outputs[ends - 1] = np.fromiter((run[3] for run in runs), np.int8, len(runs))
        tokens = np.fromiter((token for run in runs for token in run[0]), np.int32, total)
        positions = (np.arange(total) - starts + np.repeat(first, lengths)).astype(np.int32)
        return Rows(tokens, positions, np.repeat(sequences, lengths), outputs)

    def __len__(self) -> int:
        return len(self.tokens)
