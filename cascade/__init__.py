"""Short-circuiting cascades of yes/no questions on small models: sort hundreds of candidates cheaply.

from cascade import Engine, Item

with Engine.open() as engine:
    report = engine.classify("retry uploads that time out", items, cascade="precision")
"""

from cascade.backends.base import Backend, BackendFacts, Probe, Scores, Wave, WaveCost
from cascade.backends.scripted import ScriptedBackend
from cascade.budget import Budget
from cascade.config import Config, read_config, shipped_config
from cascade.engine import Engine
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
from cascade.observer import Observer, SeenWave
from cascade.outlook import Outlook, Prior
from cascade.prompt import Limits
from cascade.report import Decision, Provenance, Report, Statistics, Status, Step
from cascade.stage import BASE, Combine, Question, Stage, Target
from cascade.stop import Stop
from cascade.tree import Cascade

__all__ = [
    "BASE",
    "Backend",
    "BackendError",
    "BackendFacts",
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
    "Outlook",
    "OverloadError",
    "Prior",
    "Probe",
    "Provenance",
    "Question",
    "Report",
    "Scores",
    "ScriptedBackend",
    "SeenWave",
    "ServerError",
    "Stage",
    "Statistics",
    "Status",
    "Step",
    "Stop",
    "Target",
    "Task",
    "Wave",
    "WaveCost",
    "read_config",
    "shipped_config",
]
