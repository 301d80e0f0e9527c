"""The table ``[engine]`` of a config file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cascade.arguments import HIGHEST_PRICE
from cascade.config.toml import Frozen


class EngineConfig(Frozen):
    """Limits for concurrent requests, and what an engine does with budgets and thresholds."""

    max_requests: int = Field(1_024, ge=1, description="Most requests that may be open at once; more are refused.")
    overload: Literal["shallower", "refuse"] = Field(
        "shallower",
        description="When budgets cannot be kept in full: all go less deep, or those that would be late are refused.",
    )
    f1_points_per_100ms: float = Field(
        1.0,
        ge=0,
        le=HIGHEST_PRICE,
        allow_inf_nan=False,
        description="Points of macro F1 over all rows that 100 ms are worth.",
    )
    on_threshold_mismatch: Literal["refuse", "warn"] = Field(
        "refuse",
        description="When tuned thresholds were made for another model, adapter or questions than those at hand.",
    )
    ask_ahead: bool = Field(True, description="Ask ahead of the tree where the cost model says that it is faster.")
