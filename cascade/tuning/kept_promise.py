"""Whether a promise still holds on new labelled tasks. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cascade.tree import Cascade
from cascade.tuning.outcome import Replay, own_thresholds
from cascade.tuning.risk import betting_p
from cascade.tuning.scored import ScoredTasks

_N_HALVINGS = 12
_SEED = 19390101


class Verdict(StrEnum):
    """What new tasks say of a promise.

    ``holds``: it is confirmed anew.
    ``broken``: the mean is below what was promised, by more than chance.
    ``unclear``: there are too few tasks to say.
    """

    HOLDS = "holds"
    BROKEN = "broken"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPromise:
    """A promise on new tasks.

    Attributes:
        promised: The least mean that was promised, in (0, 1).
        measured: The mean of the new tasks; None without any.
        low: Lower end of its interval, which is wrong with a chance of at most alpha / 2.
        high: Upper end, likewise.
        n_tasks: Tasks that have a recall.
        p_broken: Of "the mean is at least what was promised".
        p_holds: Of "the mean is below it".
        verdict: Broken or holds where that p-value is at most alpha / 2.
    """

    promised: float
    measured: float | None
    low: float
    high: float
    n_tasks: int
    p_broken: float
    p_holds: float
    verdict: Verdict

    @classmethod
    def of(cls, cascade: Cascade, scored: ScoredTasks, promised: float, alpha: float, seed: int = _SEED) -> KeptPromise:
        """Of the mean recall per task.

        Args:
            cascade: With the thresholds that the promise is about.
            scored: New labelled tasks.
            promised: The least mean recall.
            alpha: The chance of a wrong verdict, half of it for either side.
            seed: Decides the order in which tasks are bet on, so that the order given does not matter.
        """
        losses = Replay(cascade, scored).losses(own_thresholds(cascade))
        return cls.of_recalls(1 - np.random.default_rng(seed).permutation(losses), promised, alpha)

    @classmethod
    def of_recalls(cls, recalls: NDArray[np.float64], promised: float, alpha: float) -> KeptPromise:
        """Of figures in [0, 1], one for each task, in an order that does not depend on them."""
        half = alpha / 2
        p_broken, p_holds = betting_p(recalls, promised, half), betting_p(1 - recalls, 1 - promised, half)
        verdict = Verdict.BROKEN if p_broken <= half else Verdict.HOLDS if p_holds <= half else Verdict.UNCLEAR
        return cls(
            promised=promised,
            measured=float(recalls.mean()) if recalls.size else None,
            low=1 - _highest(1 - recalls, half),
            high=_highest(recalls, half),
            n_tasks=recalls.size,
            p_broken=p_broken,
            p_holds=p_holds,
            verdict=verdict,
        )


def _highest(values: NDArray[np.float64], alpha: float) -> float:
    """The highest mean that is not refuted at ``alpha``, by halving."""
    low, high = (float(values.mean()), 1.0) if values.size else (1.0, 1.0)
    for _ in range(_N_HALVINGS if low < high else 0):
        middle = (low + high) / 2
        low, high = (low, middle) if betting_p(values, middle, alpha) <= alpha else (middle, high)
    return high
