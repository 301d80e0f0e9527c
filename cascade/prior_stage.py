"""A stage that asks no model: what is known of an item settles it, or leaves it to the stages. Immutable, pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cascade.items import Item
from cascade.outlook import Prior
from cascade.stage import Target

LOWER, UPPER = "lower", "upper"
"""The two thresholds of a prior stage, where those of other stages go by tier."""


class Source(StrEnum):
    """Where the p of a prior stage comes from.

    ``evidence``: a logistic model of the item's facts; an item without evidence that it weighs is left to the model.
    ``caller``: the item's own ``prior``; an item without one is left to the model.
    """

    EVIDENCE = "evidence"
    CALLER = "caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorStage:
    """What stands before a cascade's first question and costs no call.

    Attributes:
        name: Unique in its cascade.
        lower: Below this p the item takes ``no``; 0 for none.
        upper: From this p on it takes ``yes``; 1 for none but those that are certain.
        yes: Where likely items go.
        no: Where unlikely items go.
        source: Where p comes from.
        prior: The logistic model; None where the caller's own number is used.
    """

    name: str
    lower: float
    upper: float
    yes: Target
    no: Target
    source: Source = Source.EVIDENCE
    prior: Prior | None = None

    def p_matters(self, item: Item) -> float | None:
        """P that an item matters, in [0, 1]; None where nothing is known."""
        if self.source is Source.CALLER:
            return item.prior
        return self.prior.p_matters(item) if self.prior is not None and self.prior.knows(item) else None

    def answer(self, p_matters: float | None) -> bool | None:
        """Yes, no, or None where the first question is asked."""
        if p_matters is None or self.lower <= p_matters < self.upper:
            return None
        return p_matters >= self.upper

    def threshold(self, *, answer: bool) -> float:
        """The threshold that decided."""
        return self.upper if answer else self.lower

    def target(self, *, answer: bool) -> Target:
        """Where an answer leads."""
        return self.yes if answer else self.no
