"""A ranker that tests can foresee: a few signals, each with a weight of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cascade.evidence.ranker import Network, Ranker

SYMBOLS = {
    "body_share": (4.0, 3.0),
    "head_share": (3.0, 2.0),
    "named": (3.0, 1.0),
    "qualified": (2.0, 4.0),
    "file_seed": (1.0, 1.0),
}
FILES = {"words_share": (3.0,), "path_share": (2.0,), "imported": (1.0,)}
BIAS = -3.0


def simple_ranker() -> Ranker:
    """Log odds are -3 and a weighted sum of signals; the hidden layers say nothing."""
    return Ranker(symbols=network(SYMBOLS, 2), files=network(FILES, 1))


def network(weights: Mapping[str, Sequence[float]], n_outputs: int) -> Network:
    """Two equal members without hidden units, so that the mean of the members is what each says."""
    n = len(weights)
    last = np.full((2, 1, n_outputs), BIAS, np.float32)
    direct = np.array(list(weights.values()), np.float32).reshape(1, n, n_outputs)
    return Network(
        signals=tuple(weights),
        mean=np.zeros(n, np.float32),
        scale=np.ones(n, np.float32),
        first=np.zeros((2, n + 1, 1), np.float32),
        second=np.zeros((2, 2, 0), np.float32),
        last=last,
        direct=np.repeat(direct, 2, axis=0),
    )
