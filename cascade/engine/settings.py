"""What an engine is opened with: settings that belong to no cascade, its config and its log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Literal

from cascade.arguments import one_of
from cascade.budget import Budget
from cascade.config.schema import Config, config_from, read_config
from cascade.engine.admission import Rules
from cascade.engine.adoption import Origin
from cascade.engine.observer import Log, Observer, check_observer


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of an engine that do not belong to a cascade.

    Attributes:
        budgets: Cascade -> budget of requests whose caller gives none.
        rules: Limits for concurrent requests: how many may be open, and what to do under load.
        new_event_loop: Makes the engine's event loop, whose clock all deadlines use.
        observers: Objects that are told of requests and batches.
        log: Keeps requests, decisions and calls; None for no log.
        closes_log: Whether the log is closed with the engine.
        origin: The config that it comes from, for ``adopt``; None for an engine of parts.

    Raises:
        InputError: A value is of another type, or an observer lacks a method.
    """

    budgets: Mapping[str, Budget] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    observers: Sequence[Observer] = ()
    log: Log | None = None
    closes_log: bool = False
    origin: Origin | None = None

    def __post_init__(self) -> None:
        one_of("budgets", self.budgets, Mapping, "a dict from cascade to Budget is needed")
        for name, budget in self.budgets.items():
            one_of(f"budgets[{name!r}]", budget, Budget, "a Budget is needed")
        one_of("rules", self.rules, Rules, "a Rules is needed")
        one_of("observers", self.observers, Iterable, "a list of observers is needed")
        object.__setattr__(self, "observers", tuple(self.observers))
        for observer in self.told:
            check_observer(observer)

    @property
    def told(self) -> tuple[Observer, ...]:
        """All who are told of requests and batches: the observers, and the log."""
        return tuple(self.observers) if self.log is None else (*self.observers, self.log)


def settings_of(
    config: Config, observers: Sequence[Observer] = (), log: Log | None = None, *, closes_log: bool = False
) -> EngineSettings:
    """What a config says of budgets and callers."""
    return EngineSettings(
        budgets={name: cascade.budget() for name, cascade in config.cascade.items()},
        rules=Rules(
            max_requests=config.engine.max_requests,
            refuses=config.engine.overload == "refuse",
            asks_ahead=config.engine.ask_ahead,
        ),
        observers=observers,
        log=log,
        closes_log=closes_log,
    )


ConfigLike = Config | Mapping[str, Any] | Path | str
"""A config, its tables as a dict, or the path of a config file."""


def given_config(config: ConfigLike) -> Config:
    """What a caller gives as a config.

    Raises:
        InputError: It is neither a config, nor a path, nor a dict.
        ConfigError: It does not hold together.
    """
    if isinstance(config, Config):
        return config
    if isinstance(config, Mapping):
        return config_from(config)
    one_of("config", config, (str, PathLike), "a Config is needed, the path of a config file, or its tables as a dict")
    return read_config(Path(config))


def log_of(log: Log | Literal["config"] | None, config: Config) -> Log | None:
    """The log of an engine: the one that is given, or that of its config, which is opened.

    Raises:
        MachineError: The config's log cannot be opened.
    """
    if log != "config":
        return log
    if config.log is None:
        return None
    from cascade.log.decision_log import DecisionLog  # noqa: PLC0415 - sqlite3 loads only where it is used

    return DecisionLog.of(config.log)
