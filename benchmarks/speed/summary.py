"""What rounds of a workload say: medians, spreads, the distance to the limits, and how good predictions were."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any

import numpy as np

from benchmarks.speed.forced import Scored
from benchmarks.speed.limits import flops_per_token
from benchmarks.speed.measure import Bench, Round

LEARNING = 20
"""Batches from which the engine learns what batches take, so that they do not count."""


def summary(bench: Bench, rounds: Sequence[Round]) -> dict[str, Any]:
    """Figures of a workload: medians over rounds; calls and tokens are the same in every round."""
    costs = [wave.cost for wave in rounds[-1].batches]
    tokens = sum(cost.tokens_decoded for cost in costs)
    n_items, n_calls = bench.workload.n_items, len(bench.queries)
    model_s = [sum(wave.cost.model_ms for wave in entry.batches) / 1_000 for entry in rounds]
    rate = _median(tokens / entry.wall_s for entry in rounds)
    return {
        "workload": bench.workload.name,
        "rounds": len(rounds),
        "items": n_items,
        "calls_per_item": n_calls / n_items,
        "tokens_decoded_per_item": tokens / n_items,
        "tokens_reused_per_item": sum(cost.tokens_reused for cost in costs) / n_items,
        "decode_calls": sum(cost.decode_calls for cost in costs),
        "adapter_swaps": sum(cost.adapter_swaps for cost in costs),
        "wall_ms": 1_000 * _median(entry.wall_s for entry in rounds),
        "cpu_ms": 1_000 * _median(entry.cpu_s for entry in rounds),
        "decision_ms": _percentiles([value for entry in rounds for value in entry.decision_ms]),
        "request_ms": _percentiles([value for entry in rounds for value in entry.request_ms]),
        "tokens_over_least": tokens / bench.reuse.least,
        "rate": rate,
        "best_rate": _median(entry.best_rate for entry in rounds),
        "rate_over_best": _median(tokens / entry.wall_s / entry.best_rate for entry in rounds),
        "outside_model": _median(1 - inside / entry.wall_s for inside, entry in zip(model_s, rounds, strict=True)),
        "stages_over_first": _stages_over_first(rounds),
        "flops": rate * flops_per_token(bench.models.model),
        "reuse": asdict(bench.reuse),
        "settled_ms": list(rounds[-1].decision_ms),
        "waves": [
            {
                "adapter": wave.adapter,
                "queries": wave.n_queries,
                "tokens": wave.cost.tokens_decoded,
                "decode_calls": wave.cost.decode_calls,
                "adapter_swaps": wave.cost.adapter_swaps,
                "elapsed_ms": wave.cost.elapsed_ms,
            }
            for wave in rounds[-1].batches
        ],
    } | prediction_figures(bench.history)


def _stages_over_first(rounds: Sequence[Round]) -> float | None:
    """Time of all stages over that of the first alone, where every item passes all of them."""
    ratios = [entry.wall_s / entry.first_stage_s for entry in rounds if entry.first_stage_s]
    return _median(ratios) if ratios else None


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{at}": float(np.percentile(values, at)) for at in (50, 95, 99)}


def _median(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def judged(rounds: Sequence[Sequence[Scored]]) -> list[Scored]:
    """The batches whose predictions count.

    Args:
        rounds: The batches of each round in order, those of the warm-up first.

    Returns:
        Batches after the first ``LEARNING``; where fewer than that would be left, those after the
        first round. Batches that were stopped do not count: what they would have taken is not known.
    """
    every = list(chain.from_iterable(rounds))
    later = every[LEARNING:] if len(every) >= 2 * LEARNING else chain.from_iterable(rounds[1:])
    return [batch for batch in later if batch.is_whole and batch.cost.elapsed_ms > 0]


def prediction_error(batches: Sequence[Scored]) -> dict[str, float | None]:
    """Median and 95th percentile of |predicted - actual| / actual, and over how many batches.

    Args:
        batches: From ``judged``; without any, there is no error to tell.
    """
    if not batches:
        return {"p50": None, "p95": None, "n": 0}
    predicted, actual = np.array([(batch.predicted_ms, batch.cost.elapsed_ms) for batch in batches]).T
    errors = np.abs(predicted - actual) / actual
    return {"p50": float(np.median(errors)), "p95": float(np.percentile(errors, 95)), "n": len(batches)}


def prediction_figures(rounds: Sequence[Sequence[Scored]]) -> dict[str, Any]:
    """``prediction_error`` of rounds, and under ``predictions`` (predicted, actual) milliseconds of each batch."""
    batches = judged(rounds)
    return {
        "prediction_error": prediction_error(batches),
        "predictions": [[batch.predicted_ms, batch.cost.elapsed_ms] for batch in batches],
    }
