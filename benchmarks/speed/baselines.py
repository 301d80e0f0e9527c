"""What a user would pick instead of a cascade: which baselines there are, and what every one of them is asked.

The workload's labels take the branches, so a baseline is asked exactly what the engine is asked. This module loads
none of them, so that the command line can name them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from benchmarks.speed.workload import LabelledQuery, Workload
from cascade.config.schema import Config
from cascade.config.toml import meant
from cascade.errors import CascadeError, InputError
from cascade.models.model_set import ModelSet

if TYPE_CHECKING:
    from cascade.backends.llama.native import ContextSize  # loads llama_cpp

BASELINES = {
    "llama": "llama-cpp-python's Llama, one completion with log-probabilities per query, as documented",
    "llama-by-hand": "Llama.generate with the two logits read by hand",
    "llama-server": "llama.cpp's server with several slots, prompt cache and an adapter per request",
    "transformers": "transformers and PEFT on torch in BF16, batches of padded prompts, as documented",
    "transformers-by-hand": "the same with logits of the last position alone",
    "single-call": "one call of the same model and engine per item, in place of a cascade",
}
"""Name of a baseline -> what it is."""

ALL = "all"
"""Stands for every baseline."""


class BaselineError(CascadeError):
    """Another library or program that is compared with cannot run here, or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineChoice:
    """The baselines of one comparison.

    Attributes:
        names: Keys of ``BASELINES``, each once.
        server: Path of a llama-server; needed by the baseline of that name alone.
        n_rounds: Rounds in which baselines take part, the first ones; None for every round.
    """

    names: tuple[str, ...] = ()
    server: Path | None = None
    n_rounds: int | None = None

    @classmethod
    def of(cls, names: Iterable[str], server: Path | None = None, n_rounds: int | None = None) -> Self:
        """A choice by names, where ``all`` stands for every baseline.

        Raises:
            InputError: A name is unknown.
        """
        found = dict.fromkeys(names)
        unknown = [name for name in found if name not in BASELINES and name != ALL]
        if unknown:
            near = meant(unknown[0], (*BASELINES, ALL))
            msg = f"Unknown baseline {unknown[0]!r}. {near}Allowed are {', '.join(BASELINES)} and {ALL}."
            raise InputError(msg)
        return cls(names=tuple(BASELINES) if ALL in found else tuple(found), server=server, n_rounds=n_rounds)

    def takes_part(self, at: int) -> bool:
        """Whether baselines run in the round of this index."""
        return self.n_rounds is None or at < self.n_rounds


class Baseline(Protocol):
    """Something else that can be asked the same, in one setting; it is loaded when made."""

    @property
    def name(self) -> str:
        """What it is, with its setting."""

    def run(self) -> float:
        """Asks everything, from an empty cache; returns seconds.

        Raises:
            BaselineError: It failed.
        """

    def close(self) -> None:
        """Frees everything; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineSetup:
    """What is put to every baseline.

    Attributes:
        config: The config that the engine runs.
        models: Its model and adapters.
        workload: What the engine is asked.
        queries: The queries that this causes, in the order of a loop over the items.
        labels: Token ids of yes and no.
        size: The engine's context, whose threads and layers on a GPU are each baseline's too.
    """

    config: Config
    models: ModelSet
    workload: Workload
    queries: Sequence[LabelledQuery]
    labels: tuple[int, int]
    size: ContextSize

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that answer, in order of first use; ``base`` may be one."""
        return tuple(dict.fromkeys(query.adapter for query in self.queries))

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(query.node.end for query in self.queries)
