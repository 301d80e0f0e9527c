"""Requests in, batches out: the engine and its scheduler."""

from cascade.engine.engine import Engine
from cascade.engine.settings import EngineSettings

__all__ = ["Engine", "EngineSettings"]
