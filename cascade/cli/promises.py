"""Promises of thresholds files, in pure form."""

from __future__ import annotations

from cascade.thresholds_file import PromiseConfig
from cascade.tuning.kept_promise import Promised
from cascade.tuning.measure import Measure, Unit


def promised_of(promise: PromiseConfig) -> Promised:
    """What a file promises."""
    return Promised(
        level=promise.level,
        measure=Measure(promise.measure),
        unit=Unit(promise.unit),
        largest=promise.largest or 1,
    )
