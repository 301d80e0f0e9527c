"""What trials with budgets say: how far over, what was answered, and how good it was. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np

from benchmarks.speed.budget_trials import Tried
from cascade.report import Status
from cascade.tree import Cascade

BINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, inf)
"""Borders of the budget as a share of the full time, in the anytime curve."""


def trial_figures(tried: Sequence[Tried], cascades: Mapping[str, Cascade]) -> dict[str, Any]:
    """Figures of all trials; those that ran alone make the anytime curve."""
    alone = [entry for entry in tried if entry.trial.is_alone]
    company = [entry for entry in tried if not entry.trial.is_alone]
    statuses = Counter(status for entry in tried for status in entry.statuses)
    return {
        "overshoot": overshoot(tried),
        "overshoot_alone": overshoot(alone),
        "overshoot_in_company": overshoot(company),
        "over_ms": [entry.over_ms for entry in tried],
        "violations": sum(entry.violations for entry in tried),
        "statuses": {
            str(status): statuses[str(status)] / max(statuses.total(), 1)
            for status in (Status.DECIDED, Status.DEPTH_CAP, Status.DEADLINE)
        },
        "anytime": anytime(alone, cascades),
    }


def overshoot(tried: Sequence[Tried]) -> dict[str, float] | None:
    """Milliseconds over budget, below 0 where time was left, and shares of requests that were late; None without any.

    ``over``, ``over_10_ms`` and ``over_30_ms`` are the shares that ended after their budget, and by
    more than 10 and 30 ms.
    """
    if not tried:
        return None
    over = np.array([entry.over_ms for entry in tried])
    return {
        **{f"p{at}_ms": float(np.percentile(over, at)) for at in (50, 95, 99)},
        "max_ms": float(over.max()),
        "over": float(np.mean(over > 0)),
        "over_10_ms": float(np.mean(over > 10)),
        "over_30_ms": float(np.mean(over > 30)),
        "n": len(tried),
    }


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 99th percentile and maximum, and of how many; None without any."""
    if not values:
        return {"p50": None, "p99": None, "max": None, "n": 0}
    return {
        "p50": float(np.median(values)),
        "p99": float(np.percentile(values, 99)),
        "max": float(np.max(values)),
        "n": len(values),
    }


def anytime(tried: Sequence[Tried], cascades: Mapping[str, Cascade]) -> list[dict[str, Any]]:
    """Quality by budget, in ``BINS`` of its share of the full time; bins without a trial are left out.

    Returns:
        For each cascade and bin the mean ``share`` of the full time, ``accuracy`` (share of items
        with their label), ``recall_over_rows`` (share of the items to be kept that were kept, whatever the
        label), ``decided`` (share of items), and how many requests there were.
    """
    found = []
    for name, cascade in cascades.items():
        own = [entry for entry in tried if entry.trial.call.cascade == name]
        for low, high in pairwise(BINS):
            if entries := [entry for entry in own if low <= entry.trial.share < high]:
                found.append({"cascade": name, **_quality(entries, cascade.dropped)})
    return found


def _quality(tried: Sequence[Tried], dropped: str) -> dict[str, Any]:
    pairs = [
        (truth, label) for entry in tried for truth, label in zip(entry.trial.call.labels, entry.labels, strict=False)
    ]
    kept = [label != dropped for truth, label in pairs if truth != dropped]
    decided = [status == Status.DECIDED for entry in tried for status in entry.statuses]
    return {
        "share": float(np.mean([entry.trial.share for entry in tried])),
        "accuracy": float(np.mean([label == truth for truth, label in pairs])),
        "recall_over_rows": float(np.mean(kept)) if kept else None,
        "decided": float(np.mean(decided)),
        "requests": len(tried),
    }
