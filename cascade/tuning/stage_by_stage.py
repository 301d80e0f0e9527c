"""Thresholds tuned stage by stage, which joint tuning is compared with. Pure numpy."""

from __future__ import annotations

import numpy as np

from cascade.evaluation.replay import Outcome, Replay, deciding, own_thresholds
from cascade.evaluation.scored import Key
from cascade.probability import Array
from cascade.stages import ANY_TIER, Limits, Threshold
from cascade.tuning.free_thresholds import LEAST, keeps_on_yes

_N_HALVINGS = 20


def stage_by_stage(searched: Replay, tested: Replay, recall: float) -> Outcome | None:
    """Outcome of tuning stage by stage to the same recall on the tested tasks.

    Each yes/no question, and the lower threshold of a prior stage, gets the value that loses the same share of the
    positives that are asked there. The upper threshold of a prior stage lets the same share of the negatives pass.
    The share is the largest whose recall is at least ``recall``.

    Args:
        searched: The tasks that thresholds are set on.
        tested: The tasks that they are measured on.
        recall: The least recall there.

    Returns:
        None if no share reaches it, or where a recall depends on a choice or score as well.
    """
    if any(stage.has_values for stage in deciding(searched.cascade)):
        return None
    found = None
    low, high = 0.0, 1.0
    for _ in range(_N_HALVINGS):
        share = (low + high) / 2
        level = _level(searched, share)
        if 1 - tested.losses(level).mean() >= recall:
            low, found = share, level
        else:
            high = share
    return tested.outcome(found) if found is not None else None


def _level(replay: Replay, lost: float) -> dict[Key, Threshold]:
    """Thresholds that each lose the same share of the positives that are asked there."""
    cascade, kept = replay.cascade, replay.matters
    level = own_thresholds(cascade)
    for stage in deciding(cascade):
        for tier in stage.questions:
            p: Array = replay.scored.p[stage.name, tier]
            known = p[kept & ~np.isnan(p)]
            if known.size:
                share = lost if keeps_on_yes(cascade, stage) else 1 - lost
                level[stage.name, tier] = float(np.clip(np.quantile(known, share, method="lower"), LEAST, 1 - LEAST))
    if cascade.prior_stage is not None:
        is_known = ~np.isnan(replay.priors)
        found, other = replay.priors[is_known & kept], replay.priors[is_known & ~kept]
        lower = float(np.quantile(found, lost, method="lower")) if found.size else 0.0
        upper = float(np.quantile(other, 1 - lost, method="higher")) if other.size and lost else 1.0
        level[cascade.prior_stage.name, ANY_TIER] = Limits(lower, max(lower, upper))
    return level
