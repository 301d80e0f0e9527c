"""How long a batch will take: what it has to do, times prices that are learned from every decode. Pure, reads no clock.

Prices are fitted to the last few hundred decodes by least squares of relative errors, drawn towards
the prices at the start while there is little to go by, and towards the middle where a stall would
pull them (Huber's weights). A quick level follows what the whole machine does meanwhile.
"""

from __future__ import annotations

from collections import deque
from math import ceil, inf
from typing import NamedTuple

import numpy as np

from cascade.backends.costs import CallSizes, Costs, Work

_WINDOW = 128  # decodes that are remembered
_REFIT = 8  # decodes after which prices are fitted anew
_EARLY = 32  # decodes until which they are fitted anew after each
_PULL = 1.0  # how many decodes the price of a part at the start weighs
_LEAST_PULL = 1e-6  # keeps a part that no decode had where it is
_ROUGH = 0.1  # relative error from which a decode weighs less (Huber 1964)
_TURNS = 3  # of reweighting
_LEVEL = 0.15  # how much of the newest decode goes into the level
_LEVEL_MOST = 1.5  # a decode that took longer than this times its prediction stalled; it says nothing of the level
_RECENT = 64  # decodes that say how far off predictions are
_SAFE = 0.9  # share of them that a margin shall cover
_LEAST_MARGIN, _MOST_MARGIN = 1.1, 2.0
_LEAST_PRICE = 0.02  # of the price at the start: nothing is free


class BatchShape(NamedTuple):
    """What a batch, or several alike, has to do. Numbers may be expectations, so that they need not be whole.

    Attributes:
        tokens: Prompt tokens that are computed before the questions.
        asked: Tokens of the questions.
        outputs: Questions, each of which reads the logits of one row.
        cells: Cells of the KV cache in use before.
        cells_asked: Cells in use while questions are computed, where another adapter computes them than the prompts;
            None where one adapter computes both in the same calls.
        swaps: Changes of the adapter.
        batches: How many batches share the work in equal parts; 1 or more.
        requests: Requests to the server that answers.
        is_served: True if a server answers, so that only ``batches``, ``requests`` and ``outputs`` count.
    """

    tokens: float = 0.0
    asked: float = 0.0
    outputs: float = 0.0
    cells: float = 0.0
    cells_asked: float | None = None
    swaps: float = 0.0
    batches: int = 1
    requests: float = 0.0
    is_served: bool = False


def work(shape: BatchShape, sizes: CallSizes) -> Work:
    """What a backend does for a batch: its calls, and what they compute.

    Args:
        shape: The batch.
        sizes: How the backend cuts work into calls.
    """
    start = Work(batches=shape.batches)
    if shape.is_served:
        return start.plus(Work(requests=shape.requests, questions=shape.outputs))
    if shape.cells_asked is None:
        tokens, cells, most, prompts = shape.tokens + shape.asked, shape.cells, sizes.n_batch, Work()
    else:
        tokens, cells, most = shape.asked, shape.cells_asked, sizes.n_batch_questions
        prompts = Work.of(tokens=shape.tokens, cells=shape.cells, most=sizes.n_batch)
    most = max(1, min(most, ceil(tokens / shape.batches)))
    last = Work.of(tokens=tokens, cells=cells, most=most, outputs=shape.outputs, swaps=shape.swaps)
    return start.plus(prompts).plus(last)


class CostModel:
    """Predicts what work takes, and learns from what it took.

    Args:
        costs: Prices at the start.
        slowdown: How many times as long as these prices say the machine takes, as far as is known.
    """

    def __init__(self, costs: Costs, slowdown: float = 1.0) -> None:
        self._start = np.array(costs.parts)
        self._prices: list[float] = (self._start * slowdown).tolist()
        self._level, self._margin = 1.0, _LEAST_MARGIN
        self._seen: deque[tuple[Work, float]] = deque(maxlen=_WINDOW)
        self._n_new = 0
        self.n_seen = 0

    def predict(self, work: Work) -> float:
        """Milliseconds that work will take."""
        return self._level * work.at(self._prices)

    @property
    def margin(self) -> float:
        """How many times its prediction a batch must be given to end in time nine times in ten; at least 1.1."""
        return self._margin

    def learn(self, work: Work, ms: float) -> None:
        """Take in what a decode took; times of 0 and less, and those that are no number, teach nothing."""
        expected = self.predict(work)
        if not 0 < ms < inf or expected <= 0:
            return
        self._seen.append((work, ms))
        self.n_seen += 1
        self._n_new += 1
        ratio = min(max(ms / expected, 1 / _LEVEL_MOST), _LEVEL_MOST)
        self._level *= ratio**_LEVEL
        if self._n_new >= _REFIT or self.n_seen <= _EARLY:
            self._fit()

    def _fit(self) -> None:
        """Factors on the prices at the start, so that shares of a decode's time sum to 1."""
        self._n_new = 0
        ms = np.array([ms for _, ms in self._seen])
        work = np.array([work for work, _ in self._seen])
        shares = work * self._start / ms[:, None]
        slowdown = float(np.median(1 / shares.sum(axis=1)))
        pull = np.diag(_PULL * (shares**2).mean(axis=0) + _LEAST_PULL)
        weights = np.ones(len(ms))
        for _ in range(_TURNS):
            weighted = shares * weights[:, None]
            factors = np.linalg.solve(weighted.T @ shares + pull, weighted.sum(axis=0) + slowdown * pull.diagonal())
            weights = np.minimum(1.0, _ROUGH / np.maximum(np.abs(shares @ factors - 1), _LEAST_PULL))
        prices = self._start * np.maximum(factors, _LEAST_PRICE * slowdown)
        self._prices = prices.tolist()
        recent = ms[-_RECENT:] / (work[-_RECENT:] @ prices)
        self._level = float(np.median(recent[-_REFIT:]))
        self._margin = float(np.clip(np.quantile(recent, _SAFE) / np.median(recent), _LEAST_MARGIN, _MOST_MARGIN))
