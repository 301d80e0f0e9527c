"""How long a request may take and how deep it may go. Pure: reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from cascade.arguments import number, refuse, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a request may spend. Whatever is absent does not limit it; the earlier of two times holds.

    Attributes:
        ms: Milliseconds from the call on; more than 0.
        deadline: When it must be done, in seconds as ``time.monotonic`` counts them.
        depth: Most stages that an item may pass, at least 1.

    Raises:
        InputError: A value is not allowed.
    """

    ms: float | None = None
    deadline: float | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.ms is not None:
            allowed = "allowed is any finite number of milliseconds above 0. Leave it out for no limit"
            ms = number("The budget", self.ms, allowed)
            if ms <= 0:
                refuse("The budget", self.ms, allowed)
            object.__setattr__(self, "ms", ms)
        if self.deadline is not None:
            allowed = "allowed are finite seconds of time.monotonic(). Leave it out for no limit"
            object.__setattr__(self, "deadline", number("The deadline", self.deadline, allowed))
        if self.depth is not None:
            allowed = "allowed is 1 or more stages. Leave it out for no limit"
            object.__setattr__(self, "depth", whole("The depth", self.depth, allowed))

    def ends(self, now: float) -> float:
        """When time is up for a call made now, in seconds; infinity for never."""
        from_now = inf if self.ms is None else now + self.ms / 1_000
        return min(from_now, inf if self.deadline is None else self.deadline)


NO_LIMIT = Budget()

BudgetLike = Budget | float | None | Literal["config"]
"""A budget, its milliseconds, None for no limit, or "config" for what the cascade's config says."""


_ALLOWED = 'allowed are milliseconds above 0, a Budget, None for no limit, or "config"'


def budget_of(value: BudgetLike, configured: Budget) -> Budget:
    """The budget that a caller means.

    Raises:
        InputError: It is not allowed.
    """
    if isinstance(value, Budget):
        return value
    if isinstance(value, str) and value == "config":
        return configured
    if value is None:
        return NO_LIMIT
    return Budget(ms=number("The budget", value, _ALLOWED))
