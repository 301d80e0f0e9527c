"""Requests in, batches out: the engine and its scheduler."""

from cascade.engine.engine import Engine, EngineSettings

__all__ = ["Engine", "EngineSettings"]
