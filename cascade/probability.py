"""From the logits of label tokens to p(yes), or to a distribution over values. Pure numpy."""

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


def sure_log(p: ArrayLike) -> Array:
    """Natural logarithms of probabilities in [0, 1], all finite; ``softmax`` makes the same probabilities again.

    NaN becomes NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.maximum(np.log(np.asarray(p, dtype=np.float64)), -_SURE))


def finite_logit(p: ArrayLike) -> Array:
    """Natural-log odds of probabilities in [0, 1] that are kept ``TINY`` away from both ends."""
    return logit(np.clip(p, TINY, 1 - TINY))


def softmax(logits: ArrayLike) -> Array:
    """Probabilities of values from their logits, which may be off by a constant; (..., k) to (..., k), sums of 1."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def odds_of_likeliest(logits: ArrayLike) -> float:
    """Natural-log odds of the likeliest of k values against all others, from their logits; (k,), k at least 2.

    NaN where a logit is no finite number.
    """
    values = np.sort(np.asarray(logits, dtype=np.float64))
    if not np.isfinite(values).all():
        return float("nan")
    others = values[:-1] - values[-2]
    return float(values[-1] - values[-2] - np.log(np.exp(others).sum()))


def confidence_of_choice(p: Array) -> Array:
    """How far the likeliest of k values lies above chance, in [0, 1]: (m - 1/k) / (1 - 1/k); (n, k) to (n,)."""
    chance = 1 / p.shape[-1]
    return np.asarray(np.clip((p.max(axis=-1) - chance) / (1 - chance), 0.0, 1.0))


def expected_score(p: Array) -> Array:
    """The expected level of k levels from 0 on, in [0, k - 1]; (n, k) to (n,)."""
    return np.asarray((p * np.arange(p.shape[-1], dtype=np.float64)).sum(axis=-1))


def confidence_of_score(p: Array) -> Array:
    """How close the distribution lies around its likeliest level, in [0, 1]; (n, k) to (n,).

    It is 1 less the mean distance from the likeliest level, over the mean distance of all levels from their middle.
    """
    levels = np.arange(p.shape[-1], dtype=np.float64)
    spread = np.abs(levels - (levels.size - 1) / 2).mean()
    distance = np.abs(levels - p.argmax(axis=-1)[..., None])
    return np.asarray(np.clip(1 - (p * distance).sum(axis=-1) / spread, 0.0, 1.0))


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
