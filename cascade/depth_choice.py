"""Where to stop decomposing: what each question more gains, and what it takes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Self

from cascade.errors import InputError

_POINTS = 100  # of F1: from 0 to 100
_PRICED_MS = 100  # what a price is given for


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How a cascade does at one depth.

    Attributes:
        depth: Most stages that an item passes; 0 for one call that tells all labels apart.
        accuracy: Share of items with their true label.
        macro_f1_over_rows: Mean F1 of the labels that occur, in [0, 1].
        recall_over_rows: Share of what matters that is kept; None where nothing matters.
        calls_per_item: Probes over items.
        predicted_ms: Median over requests of what the cost model foretold.
        elapsed_ms: Median over requests of what they took.
    """

    depth: int
    accuracy: float
    macro_f1_over_rows: float
    recall_over_rows: float | None
    calls_per_item: float
    predicted_ms: float
    elapsed_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What time is worth, or how much of it there is.

    Attributes:
        price: Points of macro F1 over rows that 100 ms are worth; at least 0.
        budget_ms: Milliseconds that a request may take, which then decide alone; None for no such limit.

    Raises:
        InputError: A value is not allowed.
    """

    price: float
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        if not (isfinite(self.price) and self.price >= 0):
            msg = f"A price of {self.price}; allowed is any finite number from 0 on, in points of macro F1 for 100 ms."
            raise InputError(msg)
        if self.budget_ms is not None and not (isfinite(self.budget_ms) and self.budget_ms > 0):
            msg = f"A budget of {self.budget_ms} ms; allowed is any finite number above 0."
            raise InputError(msg)

    @classmethod
    def of(cls, price: float | None, budget_ms: float | None, configured: float) -> Self:
        """What a user gave, and what the config says where they gave nothing.

        Raises:
            InputError: Both were given, or a value is not allowed.
        """
        if price is not None and budget_ms is not None:
            msg = "Give one of --price and --budget: the first weighs time against quality, the second sets a limit."
            raise InputError(msg)
        return cls(price=configured if price is None else price, budget_ms=budget_ms)

    def choose(self, levels: Sequence[Level]) -> Level | None:
        """The depth after which no question pays.

        Under a price it is the depth with the most points left once its time is paid for, the least
        such depth; so one question that gains nothing does not hide another that does. Under a
        budget it is the deepest whose median request fits.

        Args:
            levels: In order of depth, at least one.

        Returns:
            None where nothing fits the budget.
        """
        if self.budget_ms is not None:
            limit = self.budget_ms
            return next((level for level in reversed(levels) if level.elapsed_ms <= limit), None)
        return max(
            levels, key=lambda level: _POINTS * level.macro_f1_over_rows - self.price * level.elapsed_ms / _PRICED_MS
        )

    def as_dict(self) -> dict[str, Any]:
        """JSON form: which of the two decided, and its value."""
        if self.budget_ms is not None:
            return {"by": "budget", "budget_ms": self.budget_ms}
        return {"by": "price", "price": self.price}


def rows(levels: Sequence[Level]) -> list[dict[str, Any]]:
    """Levels in JSON form, each with what it gains over the one before; see ``points_per_ms``."""
    pairs = zip(levels, (None, *levels), strict=False)
    return [asdict(level) | {"points_per_ms": points_per_ms(level, before)} for level, before in pairs]


def points_per_ms(level: Level, before: Level | None) -> float | None:
    """Points of macro F1 that a depth gains over the one before, for each millisecond more.

    Returns:
        None for the first depth, and where no time was added.
    """
    if before is None or level.elapsed_ms <= before.elapsed_ms:
        return None
    return _POINTS * (level.macro_f1_over_rows - before.macro_f1_over_rows) / (level.elapsed_ms - before.elapsed_ms)
