"""How an engine treats its callers, by hand or as a config says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from cascade.admission import Rules
from cascade.arguments import one_of
from cascade.budget import Budget
from cascade.config import Config
from cascade.observer import Observer, check_observer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How an engine treats its callers.

    Attributes:
        budgets: Cascade -> what a request may spend where its caller does not say.
        rules: How many callers are treated.
        new_event_loop: Makes the event loop whose clock is the engine's.
        observers: Who is told of requests and waves.

    Raises:
        InputError: A value is of another type, or an observer lacks a method.
    """

    budgets: Mapping[str, Budget] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    observers: Sequence[Observer] = ()

    def __post_init__(self) -> None:
        one_of("budgets", self.budgets, Mapping, "a dict from cascade to Budget is needed")
        for name, budget in self.budgets.items():
            one_of(f"budgets[{name!r}]", budget, Budget, "a Budget is needed")
        one_of("rules", self.rules, Rules, "a Rules is needed")
        one_of("observers", self.observers, Iterable, "a list of observers is needed")
        object.__setattr__(self, "observers", tuple(self.observers))
        for observer in self.observers:
            check_observer(observer)


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
