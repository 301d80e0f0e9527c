"""A calibration curve: from raw to calibrated p(yes). Immutable, pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade.scoring import p_yes

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

    def __call__(self, p: ArrayLike) -> NDArray[np.float64]:
        """Calibrated p(yes) of raw ones, in their shape."""
        return np.asarray(np.interp(np.asarray(p, np.float64), KNOTS, self.values), np.float64)
