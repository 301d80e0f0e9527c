"""How an engine treats its callers, by hand or as a config says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.admission import Rules
from cascade.budget import Budget
from cascade.config import Config
from cascade.observer import Observer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an engine treats its callers.

    Attributes:
        budgets: Cascade -> what a request may spend where its caller does not say.
        rules: How many callers are treated.
        new_event_loop: Makes the event loop whose clock is the engine's.
        observers: Who is told of requests and waves.
    """

    budgets: Mapping[str, Budget] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    observers: Sequence[Observer] = ()


def settings_of(config: Config, observers: Sequence[Observer] = ()) -> EngineSettings:
    """What a config says of budgets and callers."""
    return EngineSettings(
        budgets={name: cascade.budget() for name, cascade in config.cascade.items()},
        rules=Rules(
            max_requests=config.engine.max_requests,
            refuses=config.engine.overload == "refuse",
            speculates=config.engine.speculate,
        ),
        observers=observers,
    )
