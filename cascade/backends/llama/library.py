"""llama.cpp as Python sees it, or why it cannot be loaded here, and what to do."""

from __future__ import annotations

from cascade.errors import MachineError
from cascade.machine import rebuild_llama_cpp

try:
    import llama_cpp
except Exception as error:  # a shared library can fail to load in any way
    msg = f"llama.cpp cannot be loaded ({error}). Build it again: `{rebuild_llama_cpp()}`"
    raise MachineError(msg) from error

__all__ = ["llama_cpp"]
