"""What tuning stage by stage would cost, to compare with. Pure numpy."""

from __future__ import annotations

import numpy as np

from cascade.prior_stage import LOWER, UPPER
from cascade.tuning.measure import Array
from cascade.tuning.outcome import Outcome, Replay, deciding, own_thresholds
from cascade.tuning.scored import Key
from cascade.tuning.surface import LEAST, keeps_on_yes

_N_HALVINGS = 20


def stage_by_stage(searched: Replay, tested: Replay, recall: float) -> Outcome | None:
    """What tuning stage by stage costs at the same recall on the tasks that were tested.

    Each question, and the lower threshold of a prior stage, gets the value that keeps one same share of what matters
    and is asked there; the upper threshold of a prior stage lets as large a share pass of what does not matter. The
    share is the largest whose measured recall is no less.

    Args:
        searched: The tasks that thresholds are set on.
        tested: The tasks that they are measured on.
        recall: The least recall there.

    Returns:
        None where no share reaches it.
    """
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


def _level(replay: Replay, lost: float) -> dict[Key, float]:
    """Thresholds that each lose the same share of what matters and is asked there."""
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
        level |= {(cascade.prior_stage.name, LOWER): lower, (cascade.prior_stage.name, UPPER): max(lower, upper)}
    return level
