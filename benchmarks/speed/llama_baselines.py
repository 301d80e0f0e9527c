"""Baselines on llama.cpp in this process: llama-cpp-python's own ``Llama``, and one call per item by our engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.speed.baselines import BaselineError, BaselineSetup
from benchmarks.speed.forced import uncut
from cascade.backends.llama.library import llama_cpp
from cascade.engine.engine import Engine
from cascade.errors import CascadeError
from cascade.evaluation.single_call import one_stage
from cascade.stages import BASE

_N_LOGPROBS = 20


class LlamaBaseline:
    """A set of ``Llama`` instances, one an adapter, since an instance has one ``lora_path``.

    Queries come in the order of a loop over the items, so that each instance finds the beginning of
    the prompt in its cache.

    Args:
        setup: What is asked.
        by_hand: False for one completion of one token with log-probabilities per query, as the
            documentation has it; True for its best case, where nothing is sampled and the two
            logits are read from the context.

    Raises:
        BaselineError: An instance cannot be made.
    """

    def __init__(self, setup: BaselineSetup, *, by_hand: bool) -> None:
        self.name = "Llama.generate, logits by hand" if by_hand else "Llama, completion with logprobs"
        self._prompts = [(query.adapter, list(query.node.prompt)) for query in setup.queries]
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
            raise BaselineError(msg) from error

    def run(self) -> float:
        """See ``Baseline.run``."""
        for llama in self._llamas.values():
            llama.reset()
            llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(llama.ctx), False)
        started = time.perf_counter()
        try:
            for adapter, prompt in self._prompts:
                self._ask(self._llamas[adapter], prompt)
        except (ValueError, RuntimeError) as error:
            msg = f"Llama failed: {error}"
            raise BaselineError(msg) from error
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Baseline.close``."""
        while self._llamas:
            self._llamas.popitem()[1].close()


def _lora(setup: BaselineSetup, adapter: str) -> Mapping[str, Any]:
    if adapter == BASE:
        return {}
    entry = setup.models.adapters[adapter]
    return {"lora_path": str(entry.path), "lora_scale": entry.scale}


def _completion(llama: Any, prompt: list[int]) -> None:
    llama.create_completion(prompt, max_tokens=1, logprobs=_N_LOGPROBS, temperature=0.0)


def _by_hand(llama: Any, prompt: list[int]) -> None:
    next(llama.generate(prompt, top_k=1, temp=0.0))
    llama_cpp.llama_get_logits_ith(llama.ctx, -1)


class SingleCallBaseline:
    """The workload's requests as one question per item: all labels told apart at one position.

    This is what a user without a cascade would do, at its cheapest: every item once, one question, the same small
    model, engine and trie, no adapter but the first stage's. It is a lower bound of such a call's cost: a model of this
    size tells several labels apart badly, which is why cascades exist, and one that does it well is several times as
    large. The engine reads two logits at the position; more of the same row cost nothing, so the number of labels does
    not show in its time.

    Args:
        setup: What is asked.

    Raises:
        BaselineError: The engine does not open, or the question does not fit the model.
    """

    def __init__(self, setup: BaselineSetup) -> None:
        self.name = "one call for all labels, same model and engine"
        self._calls = setup.workload.calls
        cascades = {name: one_stage(cascade) for name, cascade in setup.config.cascades().items()}
        try:
            self._engine = Engine.open(uncut(setup.config), cascades=cascades)
        except CascadeError as error:
            msg = f"The single call cannot be made: {error}"
            raise BaselineError(msg) from error

    def run(self) -> float:
        """See ``Baseline.run``."""

        async def ask() -> None:
            await asyncio.gather(
                *(self._engine.aclassify(call.task, call.items, call.cascade, budget=None) for call in self._calls)
            )

        started = time.perf_counter()
        try:
            asyncio.run(ask())
        except CascadeError as error:
            msg = f"The single call failed: {error}"
            raise BaselineError(msg) from error
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Baseline.close``."""
        self._engine.close()
