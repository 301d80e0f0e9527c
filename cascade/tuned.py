"""What tuning finds: how llama.cpp runs one model fastest on one machine, and what its parts cost there. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from cascade.costs import Costs

_T = TypeVar("_T")

LEAST_GAIN = 0.03
"""Share of the time that a setting must save before it replaces the default."""

LEAST_ROUNDS = 3
"""Rounds below which nothing replaces a default."""

_LEAST_MS = 1e-4  # a cost of nothing would let a planner do without end what it believes to be free


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningKey:
    """What a tuning holds for: any other model or machine needs its own.

    Attributes:
        model_sha256: SHA-256 of the model's file, in hex.
        llama_cpp: Version of llama-cpp-python.
        processor: The processor's name.
        n_cores: Cores that the process may use.
        n_gpu_layers: Layers on a GPU.
    """

    model_sha256: str
    llama_cpp: str
    processor: str
    n_cores: int
    n_gpu_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How llama.cpp runs one model fastest on one machine; None where the default is as good.

    Attributes:
        flash_attention: See ``ModelConfig``.
        n_batch: See ``ModelConfig``.
        n_threads: See ``ModelConfig``.
        gain: How many times as fast all of these together are as the defaults.
        full_pool: How many times as long a decode takes when other prompts fill the rest of the cache.
        costs: What the parts of a model call cost with these settings.
    """

    flash_attention: bool | None = None
    n_batch: int | None = None
    n_threads: int | None = None
    gain: float = 1.0
    full_pool: float = 1.0
    costs: Costs = field(default_factory=Costs)

    def settings(self) -> dict[str, Any]:
        """The settings that replace a default, by name."""
        found = {
            "flash_attention": self.flash_attention,
            "n_batch": self.n_batch,
            "n_threads": self.n_threads,
        }
        return {name: value for name, value in found.items() if value is not None}


def clearly_best(seconds: Mapping[_T, Sequence[float]]) -> _T:
    """The choice that is clearly faster than the first one, or else the first one.

    Rounds are compared one by one, since whatever else the machine did it did to all of a round. To
    win, a choice must save ``LEAST_GAIN`` in nine rounds of ten, which noise alone hardly does.

    Args:
        seconds: Choice -> its time in each round, the default first; all of one length.
    """
    default, *others = seconds
    base = np.asarray(seconds[default])
    if len(base) < LEAST_ROUNDS:
        return default
    ratios = {other: np.asarray(seconds[other]) / base for other in others}
    better = [other for other, ratio in ratios.items() if np.quantile(ratio, 0.9) < 1 - LEAST_GAIN]
    return min(better, key=lambda other: float(np.median(ratios[other])), default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Median milliseconds of decodes that differ in one part each.

    Attributes:
        n_items: Items of the first two.
        n_tokens: Tokens of an item.
        n_questions: Questions of the others, each a few tokens, all in one call.
        whole_ms: All items in one call.
        split_ms: A call for each item.
        silent_ms: The questions, no logits read.
        asked_ms: The same, with the logits of one row of each.
        kept_ms: The same, under an adapter.
        swapped_ms: The same, with the adapter attached anew.
    """

    n_items: int
    n_tokens: int
    n_questions: int
    whole_ms: float
    split_ms: float
    silent_ms: float
    asked_ms: float
    kept_ms: float = 0.0
    swapped_ms: float = 0.0

    def costs(self) -> Costs:
        """The time as a sum of its parts, none below a tenth of a microsecond."""
        per_call = max((self.split_ms - self.whole_ms) / (self.n_items - 1), _LEAST_MS)
        return Costs(
            per_token_ms=max((self.whole_ms - per_call) / (self.n_items * self.n_tokens), _LEAST_MS),
            per_output_ms=max((self.asked_ms - self.silent_ms) / self.n_questions, _LEAST_MS),
            per_call_ms=per_call,
            per_swap_ms=max(self.swapped_ms - self.kept_ms, 0.0),
        )
