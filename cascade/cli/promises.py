"""Promises of thresholds files, in pure form."""

from __future__ import annotations

from cascade.metrics import counted
from cascade.thresholds_file import PromiseConfig
from cascade.tuning.kept_promise import Promised
from cascade.tuning.measure import PROMISED


def promise_in_words(promise: PromiseConfig) -> str:
    """What thresholds promise, of what tasks, and how sure that is."""
    return (
        f"Promised of these thresholds: {promised_of(promise)}, on tasks like those they were tuned on, wrong with a "
        f"chance of at most {promise.delta:g}; tested on {counted(promise.tasks, 'task')} held out "
        f"(p-value {promise.p_value:.2g})."
    )


def promised_of(promise: PromiseConfig) -> Promised:
    """What a file promises."""
    measure, unit = PROMISED[promise.figure]
    return Promised(level=promise.level, measure=measure, unit=unit, largest=promise.largest or 1)
