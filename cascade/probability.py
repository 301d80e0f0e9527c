"""From the logits of two label tokens to p(yes). Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

TINY = 1e-6
"""How far from 0 and 1 a probability is kept where its log odds must be finite."""


_SURE = 100.0  # log odds that ``p_yes`` rounds to 0 and 1


def p_yes(logits: ArrayLike) -> Array:
    """Probability of yes among yes and no, in [0, 1].

    Args:
        logits: Natural-log odds, ``logit_yes - logit_no``, any shape.

    Source: the softmax of two logits is the logistic function of their difference; written with
    tanh, which overflows at neither end.
    """
    return 0.5 * (1 + np.tanh(0.5 * np.asarray(logits, dtype=np.float64)))


def logit(p: ArrayLike) -> Array:
    """Natural-log odds of probabilities in [0, 1]; the ends are infinite."""
    values = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.log(values) - np.log1p(-values)


def sure_logit(p: ArrayLike) -> Array:
    """Natural-log odds of probabilities in [0, 1], all finite; ``p_yes`` makes the same probabilities of them again.

    NaN, and what is outside [0, 1], becomes NaN.
    """
    with np.errstate(invalid="ignore"):
        return np.clip(logit(p), -_SURE, _SURE)


def finite_logit(p: ArrayLike) -> Array:
    """Natural-log odds of probabilities in [0, 1] that are kept ``TINY`` away from both ends."""
    return logit(np.clip(p, TINY, 1 - TINY))


N_KNOTS = 65
KNOTS = p_yes(np.linspace(-8, 8, N_KNOTS))
"""Raw p at which a curve's values stand, even in log odds; (65,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A map from raw to calibrated p(yes), never falling, linear between its knots.

    Attributes:
        kind: ``raw``, ``temperature``, ``platt``, ``beta`` or ``isotonic``; with ``halfway`` behind it where it lies in
            the middle between that one and raw.
        values: Calibrated p at the knots, in [0, 1]; (65,).
    """

    kind: str
    values: tuple[float, ...]

    def __call__(self, p: ArrayLike) -> Array:
        """Calibrated p(yes) of raw ones, in their shape."""
        return np.asarray(np.interp(np.asarray(p, np.float64), KNOTS, self.values), np.float64)
