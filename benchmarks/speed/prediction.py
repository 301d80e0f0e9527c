"""How well the engine foresees what its batches take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from benchmarks.speed.forced import Scored

LEARNING = 20
"""Batches from which the engine learns what batches take, so that they do not count."""


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
