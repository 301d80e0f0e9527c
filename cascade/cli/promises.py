"""Promises of thresholds files, in pure form."""

from __future__ import annotations

from cascade.thresholds_file import PromiseConfig
from cascade.tuning.kept_promise import Promised
from cascade.tuning.measure import PROMISED


def promised_of(promise: PromiseConfig) -> Promised:
    """What a file promises."""
    measure, unit = PROMISED[promise.figure]
    return Promised(level=promise.level, measure=measure, unit=unit, largest=promise.largest or 1)
