"""A quick look, at open, at how fast this machine runs a model that was never tuned here."""

from __future__ import annotations

import time
from statistics import median

from cascade.backends.native import NativeModel
from cascade.backends.native_rows import Rows, Run
from cascade.costs import Costs, Work

_LENGTHS = (8, 64, 8, 64)  # tokens of a decode; a new context's first one is slow and does not count


def pace(native: NativeModel, costs: Costs) -> float:
    """How many times as long as costs say a decode takes, from three small ones in an empty cache; leaves it empty."""
    ratios = []
    for length in _LENGTHS:
        n = min(length, native.n_batch)
        rows = Rows.of([Run([token % native.tokenizer.n_vocab for token in range(n)], 0, (0,), is_output=True)])
        native.clear()
        before = time.perf_counter()
        native.decode(rows, (0, 0))
        ms = 1_000 * (time.perf_counter() - before)
        ratios.append(ms / Work.of(tokens=n, cells=0, most=n, outputs=1).at(costs.parts))
    native.clear()
    return median(ratios[1:])
