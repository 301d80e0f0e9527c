"""How long a request may take and how deep it may go. Pure: reads no clock."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from cascade.arguments import finite, given, is_real, whole
from cascade.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a request may spend. Absent values set no limit; with both ``ms`` and ``deadline`` the earlier one counts.

    Attributes:
        ms: Milliseconds from the call on; above 0.
        deadline: Time at which the caller must have its answer, in seconds of ``time.monotonic``.
        depth: Most stages that an item may pass; at least 1.

    Raises:
        InputError: A value is not allowed.

    Examples:
        >>> import time
        >>> from cascade import Budget
        >>> Budget(ms=250, depth=2)
        Budget(ms=250.0, deadline=None, depth=2)
        >>> soon = Budget(deadline=time.monotonic() + 0.2)
    """

    ms: float | None = None
    deadline: float | None = None
    depth: int | None = None

    def __post_init__(self) -> None:
        if self.ms is not None:
            self._take("ms", finite(self.ms), "A budget of {} ms; allowed is any finite number above 0", above=0)
        if self.deadline is not None:
            allowed = "A deadline of {}; allowed are finite seconds of time.monotonic()"
            self._take("deadline", finite(self.deadline), allowed)
        if self.depth is not None:
            self._take("depth", whole(self.depth), "A depth of {}; allowed is 1 or more stages")

    def _take(self, name: str, value: float | None, allowed: str, above: float = -inf) -> None:
        """Keep a value as it was checked."""
        if value is None or value <= above:
            msg = f"{allowed.format(given(getattr(self, name)))}. Leave it out for no limit."
            raise InputError(msg)
        object.__setattr__(self, name, value)

    def ends(self, now: float) -> float:
        """When time is up for a call made now, in seconds; infinity for never."""
        from_now = inf if self.ms is None else now + self.ms / 1_000
        return min(from_now, inf if self.deadline is None else self.deadline)


NO_LIMIT = Budget()

BudgetLike = Budget | float | None | Literal["config"]
"""A budget, its milliseconds, None for no limit, or "config" for what the cascade's config says."""


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
    if not is_real(value):
        msg = f'A budget of {given(value)}; allowed are milliseconds, a Budget, None for no limit, or "config".'
        raise InputError(msg)
    return Budget(ms=value)
