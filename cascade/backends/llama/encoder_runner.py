"""Runs batches on an encoder: each query is a pair that is read as a whole, and nothing is kept."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from cascade.backends.base import Batch, Query, Scores, Stop
from cascade.backends.costs import Costs, Work
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.kv_cache import Usage
from cascade.backends.llama.loaded import AbortedError
from cascade.backends.llama.tally import Tally
from cascade.models.lora import AdapterInfo
from cascade.prompt import Node
from cascade.stages import BASE


class EncoderRunner:
    """Runs batches on one context; only one thread may use it.

    Args:
        native: The model.
        base: What batches call the model without an adapter.
    """

    def __init__(self, native: NativeEncoder, base: str = BASE) -> None:
        self._native = native
        self._base = base

    def score(self, batch: Batch, stop: Stop | None = None) -> Scores:
        """See ``Backend.score``."""
        stop = stop or Stop()
        tally = Tally()
        logits = [math.nan] * len(batch.queries)
        spoilt: dict[int, str] = {}
        self._native.resume()
        with stop.interrupting(self._native.interrupt):
            self._activate(batch.adapter, tally)
            for places in self._calls(batch.queries):
                if stop.is_asked:
                    break
                try:
                    found = self._read([batch.queries[at].node.prompt for at in places], tally)
                except AbortedError:
                    break
                for at, odds in zip(places, found, strict=True):
                    if math.isfinite(odds):
                        logits[at] = odds
                    else:
                        spoilt[at] = "what its head says is NaN or infinite"
        return Scores(logits, tally.cost(n_asked=tally.tokens), spoilt=spoilt)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``; there is nothing to forget."""

    def take_in(self, key: str, info: AdapterInfo) -> None:
        """See ``Runner.take_in``; there is nothing to know."""

    def let_go(self, key: str) -> None:
        """See ``Runner.let_go``; nothing is kept."""

    @staticmethod
    def usage() -> Usage:
        """What is kept between batches: nothing."""
        return Usage(cells=0, nodes=0, sequences=0, peak_cells=0)

    def _calls(self, queries: Sequence[Query]) -> Iterator[list[int]]:
        """Places of queries for one call each: pairs of like length together, the shortest first."""
        places: list[int] = []
        n_tokens = 0
        for at in sorted(range(len(queries)), key=lambda at: queries[at].node.end):
            length = queries[at].node.end
            if places and (n_tokens + length > self._native.n_batch or len(places) == self._native.n_sequences):
                yield places
                places, n_tokens = [], 0
            places.append(at)
            n_tokens += length
        yield places

    def _read(self, pairs: Sequence[Sequence[int]], tally: Tally) -> list[float]:
        """Log odds of the pairs of one call."""
        started = time.perf_counter()
        found: list[float] = self._native.encode(pairs).tolist()
        tally.called(started, sum(map(len, pairs)), cells=0, n_outputs=len(pairs))
        return found

    def _activate(self, adapter: str, tally: Tally) -> None:
        before = time.perf_counter()
        if self._native.activate("" if adapter == self._base else adapter):
            tally.swapped(adapter, before)


_LENGTHS = (64, 16, 64, 64)  # tokens of a call; a new context's first one is slow and does not count


def slowdown(native: NativeEncoder, costs: Costs) -> float:
    """How many times as long as costs say a call takes, from three small ones."""
    ratios = []
    for length in _LENGTHS:
        n = min(length, native.max_pair)
        before = time.perf_counter()
        native.encode([[token % native.tokenizer.n_vocab for token in range(n)]])
        ms = 1_000 * (time.perf_counter() - before)
        ratios.append(ms / Work.of(tokens=n, cells=0, most=n, outputs=1).at(costs.parts))
    return median(ratios[1:])
