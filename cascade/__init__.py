"""Short-circuiting cascades of yes/no questions on small models: sort hundreds of candidates cheaply.

from cascade import Engine, Item

with Engine.open() as engine:
    report = engine.classify("retry uploads that time out", items, cascade="precision")
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # that of typing, which takes its time
if TYPE_CHECKING:
    from cascade.backends.base import Backend, BackendInfo, Batch, BatchCost, Query, Scores, Stop
    from cascade.backends.scripted import ScriptedBackend
    from cascade.budget import Budget
    from cascade.config.schema import Config, read_config, shipped_config
    from cascade.engine.engine import Engine
    from cascade.engine.observer import Observer, SeenBatch
    from cascade.errors import (
        BackendError,
        CascadeError,
        ClosedError,
        ConfigError,
        DecodeError,
        InputError,
        ItemError,
        ModelFileError,
        OverloadError,
        ServerError,
    )
    from cascade.items import Group, Item, Task
    from cascade.profile import Prior, Profile
    from cascade.prompt import Limits
    from cascade.report import Decision, Provenance, Report, Statistics, Status, Step
    from cascade.stages import BASE, Combine, Question, Stage, Target
    from cascade.tree import Cascade

__all__ = [
    "BASE",
    "Backend",
    "BackendError",
    "BackendInfo",
    "Batch",
    "BatchCost",
    "Budget",
    "Cascade",
    "CascadeError",
    "ClosedError",
    "Combine",
    "Config",
    "ConfigError",
    "Decision",
    "DecodeError",
    "Engine",
    "Group",
    "InputError",
    "Item",
    "ItemError",
    "Limits",
    "ModelFileError",
    "Observer",
    "OverloadError",
    "Prior",
    "Profile",
    "Provenance",
    "Query",
    "Question",
    "Report",
    "Scores",
    "ScriptedBackend",
    "SeenBatch",
    "ServerError",
    "Stage",
    "Statistics",
    "Status",
    "Step",
    "Stop",
    "Target",
    "Task",
    "read_config",
    "shipped_config",
]

_NAMES = {
    "cascade.backends.base": "Backend BackendInfo Query Scores Stop Batch BatchCost",
    "cascade.backends.scripted": "ScriptedBackend",
    "cascade.budget": "Budget",
    "cascade.config.schema": "Config read_config shipped_config",
    "cascade.engine.engine": "Engine",
    "cascade.errors": "BackendError CascadeError ClosedError ConfigError DecodeError "
    "InputError ItemError ModelFileError OverloadError ServerError",
    "cascade.items": "Group Item Task",
    "cascade.engine.observer": "Observer SeenBatch",
    "cascade.profile": "Profile Prior",
    "cascade.prompt": "Limits",
    "cascade.report": "Decision Provenance Report Statistics Status Step",
    "cascade.stages": "BASE Combine Question Stage Target",
    "cascade.tree": "Cascade",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a checker would take any name for one

    def __getattr__(name: str) -> object:
        """A public name, whose module is loaded when it is first used."""
        if name not in _HOMES:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        found = getattr(import_module(_HOMES[name]), name)
        globals()[name] = found
        return found


def __dir__() -> list[str]:
    return __all__
