"""What thresholds are chosen to make small: a cost, with prices for what is beside it. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cascade.arguments import price
from cascade.evaluation.replay import Outcomes, Replay
from cascade.probability import Array

_TIE = 1e-3  # weight of the second cost, which only breaks ties


class Cost(StrEnum):
    """A cost to make small.

    ``calls``: queries per item. ``false_positives``: items kept that do not matter, per item. ``misses``: the share
    of what matters that is lost. ``latency``: predicted milliseconds per item. ``handed_on``: the share of items that
    is handed on as uncertain.
    """

    CALLS = "calls"
    FALSE_POSITIVES = "false_positives"
    MISSES = "misses"
    LATENCY = "latency"
    HANDED_ON = "handed_on"

    @property
    def is_spent(self) -> bool:
        """True for calls and milliseconds."""
        return self in {Cost.CALLS, Cost.LATENCY}

    def prices(self, other: Cost) -> bool:
        """True if the other cost can have a price in this one's unit."""
        if other is Cost.HANDED_ON:
            return self.is_spent
        return other is Cost.FALSE_POSITIVES and (self.is_spent or self is Cost.HANDED_ON)


@dataclass(frozen=True, slots=True)
class Objective:
    """A cost to make small, with a tie-breaker.

    Attributes:
        cost: The cost.
        false_positive: What a false positive counts beside calls, milliseconds or items handed on, in their unit; 0
            to 1e9. By itself it only breaks ties; the other costs have ties broken by calls, and what is handed on
            also by wrong labels.
        handed_on: What an item that is handed on counts beside calls or milliseconds, in their unit; 0 to 1e9.

    Raises:
        InputError: A price is outside its range.
    """

    cost: Cost
    false_positive: float = _TIE
    handed_on: float = 0.0

    def __post_init__(self) -> None:
        price("The price of a false positive", self.false_positive)
        price("The price of an item handed on", self.handed_on)

    def __str__(self) -> str:
        """In words."""
        is_priced = self.cost.prices(Cost.FALSE_POSITIVES) and self.false_positive != _TIE
        prices = {Cost.FALSE_POSITIVES: self.false_positive if is_priced else 0.0, Cost.HANDED_ON: self.handed_on}
        return " + ".join((str(self.cost), *(f"{worth:g} {name}" for name, worth in prices.items() if worth)))

    def of_rows(self, replay: Replay, rows: Outcomes) -> Array:
        """The cost of each row, whose mean is that of them all; ``rows`` has calls or milliseconds."""
        kept = replay.is_kept[rows.labels]
        false = (kept & ~replay.matters).astype(float)
        if self.cost.is_spent:
            spent = np.asarray(rows.costs + self.false_positive * false)
            return spent + self.handed_on * replay.is_handed_on[rows.labels] if self.handed_on else spent
        if self.cost is Cost.HANDED_ON:
            handed_on = replay.is_handed_on[rows.labels]
            wrong = ~handed_on & (rows.labels != replay.scored.labels)
            return np.asarray(handed_on + self.false_positive * false + _TIE * wrong)
        if self.cost is Cost.FALSE_POSITIVES:
            return np.asarray(false + _TIE * rows.costs)
        weight = replay.matters.size / max(int(replay.matters.sum()), 1)
        return np.asarray(weight * (replay.matters & ~kept) + _TIE * rows.costs)
