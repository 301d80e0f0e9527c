"""What a tuning aims for: what is guaranteed, and the cost that is made small."""

from __future__ import annotations

from dataclasses import dataclass, replace

from cascade.arguments import price as checked_price
from cascade.config.figures import OF_HANDED_ON, RECALLS, Figure, Metric, Unit, figure_of
from cascade.errors import InputError
from cascade.evaluation.replay import Outcome
from cascade.tree import Cascade
from cascade.tuning.objective import Cost, Objective

_FALSE_POSITIVE = 2.0
"""Items handed on that a false positive is worth under a recall: what is kept is then more likely than not to matter.

Without a price nothing would be handed on, since a recall lets everything be kept.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningTarget:
    """Target of a tuning: the guarantee, and the cost to make small.

    Attributes:
        level: The least mean that is guaranteed, in (0, 1).
        metric: The guaranteed metric.
        unit: Whether the mean is over tasks or over rows.
        delta: The chance that the guarantee may be wrong, in (0, 1).
        cost: The cost to make small; None for misses under a precision, for what is handed on under a metric that
            counts it in, and for calls otherwise.
        false_positive: Calls, milliseconds or items handed on that a false positive is worth; 0 to 1e9. None: it
            only breaks ties, but is worth 2 items handed on under a recall.
        handed_on: Calls, or milliseconds, that an item handed on is worth; 0 to 1e9. None for 0.

    Raises:
        InputError: A number is outside its range, or a price is given beside a cost of another unit.
    """

    level: float
    metric: Metric = Metric.RECALL
    unit: Unit = Unit.TASK
    delta: float = 0.05
    cost: Cost | None = None
    false_positive: float | None = None
    handed_on: float | None = None

    def __post_init__(self) -> None:
        for name, value in ((self.figure.one, self.level), ("a delta", self.delta)):
            if not 0 < value < 1:
                first, rest = name[0].upper(), name[1:]
                msg = f"{first}{rest} of {value} was given; it must lie between 0 and 1. Give one such as 0.95 or 0.05."
                raise InputError(msg)
        priced = [cost for cost in Cost if cost.prices(Cost.FALSE_POSITIVES)]
        spent = [cost for cost in Cost if cost.prices(Cost.HANDED_ON)]
        self._check_price("a false positive", "False positives have", self.false_positive, priced)
        self._check_price("an item handed on", "Items handed on have", self.handed_on, spent)

    def _check_price(self, one: str, many: str, price: float | None, units: list[Cost]) -> None:
        if price is None:
            return
        checked_price(f"The price of {one}", price)
        if self.minimised not in units:
            known = " or ".join(unit.replace("_", " ") for unit in units)
            msg = (
                f"{many} a price of {price:g} beside {known}, and {self.minimised} are to be made small. Minimise "
                f"{known}, or give no price."
            )
            raise InputError(msg)

    @property
    def figure(self) -> Figure:
        """The name of the guaranteed figure."""
        return figure_of(self.metric, self.unit)

    @property
    def minimised(self) -> Cost:
        """The cost that is made small."""
        if self.cost is not None:
            return self.cost
        if self.metric in OF_HANDED_ON:
            return Cost.HANDED_ON
        return Cost.MISSES if self.metric is Metric.PRECISION else Cost.CALLS

    @property
    def objective(self) -> Objective:
        """The cost to make small, with the weights of false positives and of what is handed on."""
        price, handed_on = self.false_positive, self.handed_on or 0.0
        if price is None and self.minimised is Cost.HANDED_ON and self.metric in RECALLS:
            price = _FALSE_POSITIVE
        plain = Objective(self.minimised, handed_on=handed_on)
        return plain if price is None else replace(plain, false_positive=price)

    def of(self, cascade: Cascade) -> TuningTarget:
        """The same target for a cascade: where it hands nothing on, calls are made small by default.

        Raises:
            InputError: It hands nothing on, and this is to be made small or has a price.
        """
        if cascade.handed_on:
            return self
        if self.cost is Cost.HANDED_ON or self.handed_on is not None:
            msg = (
                f"Cascade {cascade.name!r} hands nothing on: no stage's uncertain way leads to a label of its own. "
                "Minimise calls or latency, without a price for what is handed on."
            )
            raise InputError(msg)
        return replace(self, cost=Cost.CALLS) if self.minimised is Cost.HANDED_ON else self

    def is_idle(self, outcome: Outcome) -> bool:
        """True if thresholds keep nothing of what matters, or hand everything on, which can reach a target of no use.

        To hand on all that matters, and drop the rest, is of use under a metric that counts it in.
        """
        hands_on = outcome.mattering_handed_on > 0 and self.metric in OF_HANDED_ON
        return outcome.handed_on == 1 or (outcome.misses == 1 and not hands_on)
