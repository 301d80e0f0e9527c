"""How well the engine foresees what its waves take. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from cascade.bench.forced import Scored

LEARNING = 20
"""Waves from which the engine learns what waves take, so that they do not count."""


def judged(rounds: Sequence[Sequence[Scored]]) -> list[Scored]:
    """The waves whose predictions count.

    Args:
        rounds: The waves of each round in order, those of the warm-up first.

    Returns:
        Waves after the first ``LEARNING``; where fewer than that would be left, those after the
        first round. Waves that were stopped do not count: what they would have taken is not known.
    """
    every = list(chain.from_iterable(rounds))
    later = every[LEARNING:] if len(every) >= 2 * LEARNING else chain.from_iterable(rounds[1:])
    return [wave for wave in later if wave.is_whole and wave.cost.elapsed_ms > 0]


def prediction_error(waves: Sequence[Scored]) -> dict[str, float | None]:
    """Median and 95th percentile of |predicted - actual| / actual, and over how many waves.

    Args:
        waves: From ``judged``; without any, there is no error to tell.
    """
    if not waves:
        return {"p50": None, "p95": None, "n": 0}
    predicted, actual = np.array([(wave.predicted_ms, wave.cost.elapsed_ms) for wave in waves]).T
    errors = np.abs(predicted - actual) / actual
    return {"p50": float(np.median(errors)), "p95": float(np.percentile(errors, 95)), "n": len(waves)}


def prediction_figures(rounds: Sequence[Sequence[Scored]]) -> dict[str, Any]:
    """``prediction_error`` of rounds, and under ``predictions`` (predicted, actual) milliseconds of each wave."""
    waves = judged(rounds)
    return {
        "prediction_error": prediction_error(waves),
        "predictions": [[wave.predicted_ms, wave.cost.elapsed_ms] for wave in waves],
    }
