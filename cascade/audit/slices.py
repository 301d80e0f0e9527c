"""Which rows are of which tier, kind and repository."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cascade.audit.errors import TIER, Slices
from cascade.rows import Labelled
from cascade.tuning.scored import ScoredTasks


def slices(scored: ScoredTasks, tasks: Sequence[Labelled]) -> Slices:
    """Masks over all rows; an item that several tiers found is in each of their slices.

    Args:
        scored: The scores.
        tasks: The tasks that were scored.
    """
    tiers = [item.tiers for labelled in tasks for item in labelled.items]
    found = {
        (TIER, tier): np.array([tier in given for given in tiers])
        for tier in sorted({tier for given in tiers for tier in given})
    }
    for dimension, values in scored.slices.items():
        found |= {(dimension, value): np.asarray(values == value) for value in np.unique(values).tolist() if value}
    return found
