"""What a user would pick instead: what every peer is, and llama-cpp-python's own ``Llama``.

The workload's labels take the branches, so a peer is asked exactly what the engine is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from benchmarks.speed.asks import Ask
from benchmarks.speed.workload import Workload
from cascade.backends.llama.library import llama_cpp
from cascade.backends.llama.native import ContextSize
from cascade.config.schema import Config
from cascade.errors import PeerError
from cascade.models.model_set import ModelSet
from cascade.stages import BASE

_N_LOGPROBS = 20


class Peer(Protocol):
    """Something else that can be asked the same, in one setting; it is loaded when made."""

    @property
    def name(self) -> str:
        """What it is, with its setting."""

    def run(self) -> float:
        """Asks everything, from an empty cache; returns seconds.

        Raises:
            PeerError: It failed.
        """

    def close(self) -> None:
        """Frees everything; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerSetup:
    """What is put to every peer.

    Attributes:
        config: The config that the engine runs.
        models: Its model and adapters.
        workload: What the engine is asked.
        asked: The queries that this causes, in the order of a loop over the items.
        labels: Token ids of yes and no.
        size: The engine's context, whose threads and layers on a GPU are each peer's too.
    """

    config: Config
    models: ModelSet
    workload: Workload
    asked: Sequence[Ask]
    labels: tuple[int, int]
    size: ContextSize

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of the adapters that answer, in order of first use; ``base`` may be one."""
        return tuple(dict.fromkeys(ask.adapter for ask in self.asked))

    @property
    def longest(self) -> int:
        """Tokens of the longest prompt."""
        return max(ask.node.end for ask in self.asked)


class LlamaPeer:
    """A set of ``Llama`` instances, one an adapter, since an instance has one ``lora_path``.

    Queries come in the order of a loop over the items, so that each instance finds the beginning of
    the prompt in its cache.

    Args:
        setup: What is asked.
        by_hand: False for one completion of one token with log-probabilities per query, as the
            documentation has it; True for its best case, where nothing is sampled and the two
            logits are read from the context.

    Raises:
        PeerError: An instance cannot be made.
    """

    def __init__(self, setup: PeerSetup, *, by_hand: bool) -> None:
        self.name = "Llama.generate, logits by hand" if by_hand else "Llama, completion with logprobs"
        self._prompts = [(ask.adapter, list(ask.node.prompt)) for ask in setup.asked]
        self._ask: Callable[[Any, list[int]], None] = _by_hand if by_hand else _completion
        options: Mapping[str, Any] = {
            "model_path": str(setup.models.model_path),
            "n_ctx": -(-(setup.longest + 8) // 256) * 256,
            "n_threads": setup.size.n_threads,
            "n_threads_batch": setup.size.n_threads,
            "n_gpu_layers": setup.size.n_gpu_layers,
            "logits_all": not by_hand,
            "verbose": False,
        }
        self._llamas: dict[str, Any] = {}
        try:
            for adapter in setup.adapters:
                self._llamas[adapter] = llama_cpp.Llama(**options, **_lora(setup, adapter))
        except (ValueError, RuntimeError) as error:
            self.close()
            msg = f"Llama cannot be opened: {error}"
            raise PeerError(msg) from error

    def run(self) -> float:
        """See ``Peer.run``."""
        for llama in self._llamas.values():
            llama.reset()
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), False)
        started = time.perf_counter()
        try:
            for adapter, prompt in self._prompts:
                self._ask(self._llamas[adapter], prompt)
        except (ValueError, RuntimeError) as error:
            msg = f"Llama failed: {error}"
            raise PeerError(msg) from error
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Peer.close``."""
        while self._llamas:
            self._llamas.popitem()[1].close()


def _lora(setup: PeerSetup, adapter: str) -> Mapping[str, Any]:
    if adapter == BASE:
        return {}
    entry = setup.models.adapters[adapter]
    return {"lora_path": str(entry.path), "lora_scale": entry.scale}


def _completion(llama: Any, prompt: list[int]) -> None:
    llama.create_completion(prompt, max_tokens=1, logprobs=_N_LOGPROBS, temperature=0.0)


def _by_hand(llama: Any, prompt: list[int]) -> None:
    next(llama.generate(prompt, top_k=1, temp=0.0))
    llama_cpp.llama_get_logits_ith(llama.ctx, -1)
