"""Rates over all that a cascade judged, estimated from the items that were drawn at random. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cascade.dataset.known import is_oracles
from cascade.dataset.tally import Drawn
from cascade.evaluation.distributions import Z_95, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A share of all items that were judged.

    Attributes:
        value: In [0, 1].
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """In per cent, such as ``30.0 % (25.1 to 35.4)``."""
        return f"{self.value:.1%} ({100 * self.low:.1f} to {100 * self.high:.1f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What the random share says.

    Attributes:
        drawn: Items that were drawn.
        labelled: Those of them whose true label is known.
        by_oracle: Those of these that an oracle labelled.
        wrong: Share of judged items whose given label is not the true one; None without any.
        labels: True label -> its share.
    """

    drawn: int
    labelled: int
    by_oracle: int
    wrong: Estimate | None
    labels: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


def rates(drawn: Sequence[Drawn]) -> Rates:
    """The rates that drawn items come to, each weighed by one over its probability of being drawn.

    The interval is Wilson's, for as many items as the weights are worth.
    """
    known = [one for one in drawn if one.label]
    given = [one for one in known if one.given]
    labels = sorted({one.label for one in known})
    return Rates(
        drawn=len(drawn),
        labelled=len(known),
        by_oracle=sum(is_oracles(one.source) for one in known),
        wrong=_share([(1 / one.p, one.label != one.given) for one in given]) if given else None,
        labels={label: _share([(1 / one.p, one.label == label) for one in known]) for label in labels},
    )


def _share(rows: Sequence[tuple[float, bool]]) -> Estimate:
    total = sum(weight for weight, _ in rows)
    value = sum(weight for weight, hit in rows if hit) / total
    worth = total**2 / sum(weight**2 for weight, _ in rows)
    low, high = wilson(value, worth, Z_95)
    return Estimate(value=value, low=low, high=high)
