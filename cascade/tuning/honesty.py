"""How honest probabilities are, of all rows and of slices of them. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cascade.metrics import calibration_error, calibration_error_beyond_chance
from cascade.scoring import TINY

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Honesty:
    """Figures of probabilities; each is better the lower.

    Attributes:
        ece: Expected calibration error over bins of equal mass, in [0, 1].
        ece_beyond_chance: The same less what perfectly honest probabilities would show by chance on so few tasks.
        brier: Mean squared error, in [0, 1].
        log_loss: Mean of -log p of what was true, in nats.
    """

    ece: float
    ece_beyond_chance: float
    brier: float
    log_loss: float

    @classmethod
    def of(cls, p: Array, truths: Array, tasks: NDArray[np.int64]) -> Self:
        """Of at least one row."""
        return cls(
            ece=calibration_error(p, truths),
            ece_beyond_chance=calibration_error_beyond_chance(p, truths, tasks),
            brier=float(((p - truths) ** 2).mean()),
            log_loss=log_loss(p, truths),
        )

    @classmethod
    def mean(cls, parts: Sequence[Self], weights: Sequence[int]) -> Self:
        """The mean of several, by weight."""

        def over(name: str) -> float:
            return float(np.average([getattr(part, name) for part in parts], weights=weights))

        return cls(
            ece=over("ece"),
            ece_beyond_chance=over("ece_beyond_chance"),
            brier=over("brier"),
            log_loss=over("log_loss"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of a question's rows.

    Attributes:
        name: What divides them: "kind" or "repository".
        value: Which part this is.
        n: Its rows.
        before: Of the raw p(yes).
        after: Of the calibrated one, every task by curves of the other folds.
        unseen: Of a repository, by curves of the other repositories; None where there are too few, or for other slices.
    """

    name: str
    value: str
    n: int
    before: Honesty
    after: Honesty
    unseen: Honesty | None = None


def log_loss(p: Array, truths: Array) -> float:
    """Mean of -log p of what was true, in nats; p is kept off 0 and 1."""
    low = np.clip(p, TINY, 1 - TINY)
    return float(-(truths * np.log(low) + (1 - truths) * np.log1p(-low)).mean())
