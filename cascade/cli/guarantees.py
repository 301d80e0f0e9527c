"""What a file of thresholds guarantees, in words."""

from __future__ import annotations

from cascade.config.figures import GUARANTEED
from cascade.config.thresholds import GuaranteeConfig
from cascade.errors import counted
from cascade.tuning.check import Guarantee


def guarantee_in_words(guarantee: GuaranteeConfig) -> str:
    """What thresholds guarantee, of what tasks, and how sure that is."""
    return (
        f"Guaranteed of these thresholds: {guaranteed_of(guarantee)}, on tasks like those they were tuned on, wrong "
        f"with a chance of at most {guarantee.delta:g}; tested on {counted(guarantee.tasks, 'task')} held out "
        f"(p-value {guarantee.p_value:.2g})."
    )


def guaranteed_of(guarantee: GuaranteeConfig) -> Guarantee:
    """What a file guarantees."""
    metric, unit = GUARANTEED[guarantee.figure]
    return Guarantee(level=guarantee.level, metric=metric, unit=unit, largest=guarantee.largest or 1)
