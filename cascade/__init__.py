"""Short-circuiting cascades of yes/no questions on small models: sort hundreds of candidates cheaply.

    from cascade import Engine, Item

    with Engine.open() as engine:
        report = engine.classify("retry uploads that time out", items, cascade="precision")

These names are public. What they are made of is imported from its module: errors from ``cascade.errors``, ``Target``
and ``Source`` from ``cascade.stages``, and what a backend of your own needs from ``cascade.backends.base``.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # that of typing, which takes its time
if TYPE_CHECKING:
    from cascade.backends.scripted import ScriptedBackend
    from cascade.budget import Budget
    from cascade.config.schema import Config, read_config, shipped_config
    from cascade.engine.engine import Engine
    from cascade.engine.observer import Observer
    from cascade.engine.traces import Traces
    from cascade.errors import CascadeError
    from cascade.items import Group, Item, Task
    from cascade.log.decision_log import DecisionLog
    from cascade.log.outcomes import Outcome
    from cascade.profile import Profile
    from cascade.prompt import Limits
    from cascade.report import Decision, Report, Status
    from cascade.stages import Combine, Question, Stage
    from cascade.tree import Cascade

__all__ = [
    "Budget",
    "Cascade",
    "CascadeError",
    "Combine",
    "Config",
    "Decision",
    "DecisionLog",
    "Engine",
    "Group",
    "Item",
    "Limits",
    "Observer",
    "Outcome",
    "Profile",
    "Question",
    "Report",
    "ScriptedBackend",
    "Stage",
    "Status",
    "Task",
    "Traces",
    "read_config",
    "shipped_config",
]

_NAMES = {
    "cascade.backends.scripted": "ScriptedBackend",
    "cascade.budget": "Budget",
    "cascade.config.schema": "Config read_config shipped_config",
    "cascade.engine.engine": "Engine",
    "cascade.engine.observer": "Observer",
    "cascade.engine.traces": "Traces",
    "cascade.errors": "CascadeError",
    "cascade.items": "Group Item Task",
    "cascade.log.decision_log": "DecisionLog",
    "cascade.log.outcomes": "Outcome",
    "cascade.profile": "Profile",
    "cascade.prompt": "Limits",
    "cascade.report": "Decision Report Status",
    "cascade.stages": "Combine Question Stage",
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
