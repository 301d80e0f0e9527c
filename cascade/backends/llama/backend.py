"""The embedded backend: llama.cpp in this process, every prompt node computed once per prefix adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.costs import CallSizes, Costs
from cascade.backends.llama.kv_cache import Usage
from cascade.backends.llama.loaded import LoadedModel
from cascade.backends.llama.markers import check_markers
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.runner import LlamaRunner
from cascade.backends.llama.timing import slowdown
from cascade.backends.llama.tokenizer import LlamaTokenizer
from cascade.backends.swapping import Prepared
from cascade.backends.worker import Worker
from cascade.errors import CascadeError
from cascade.models.lora import AdapterInfo
from cascade.models.model_set import Adapter, ModelSet, file_hash
from cascade.prompt import Node, PromptBuilder, PromptFormat
from cascade.tree import Cascade


class Runner(Protocol):
    """What runs batches on a model; only one thread may use it."""

    def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""

    def usage(self) -> Usage:
        """What the cache holds now."""

    def take_in(self, key: str, info: AdapterInfo) -> None:
        """Know of an adapter that the model has loaded since."""

    def let_go(self, key: str) -> None:
        """Forget an adapter that is about to be freed, and all that it computed."""


class LlamaBackend:
    """llama.cpp behind the ``Backend`` protocol: one worker thread owns the context.

    Each computes with all its threads, beside others as well: the number of threads may change the last bits of an
    answer, and the system shares the cores out by need.
    """

    def __init__(self, runner: Runner, native: LoadedModel, models: ModelSet, info: BackendInfo) -> None:
        self._runner = runner
        self._native = native
        self._models = models
        self._info = replace(info, **_facts(models, info))
        self._closed = False
        self._worker = Worker("cascade-llama", self._end)

    @classmethod
    def open(
        cls,
        models: ModelSet,
        form: PromptFormat,
        size: ContextSize,
        costs: Costs | None = None,
    ) -> LlamaBackend:
        """Load a checked model with its adapters.

        Args:
            models: Their files.
            form: The prompt format.
            size: How large the context is and how it computes.
            costs: What was measured of this model here; None for the default, at a pace that is measured now.

        Raises:
            ModelFileError: llama.cpp refused a file, or one has changed.
            ConfigError: The prompt format's labels are not single tokens of this model.
            MachineError: llama.cpp cannot compute here, or no thread can be started.
        """
        native = NativeModel(models.model_path, size)
        try:
            for adapter in models.adapters.values():
                native.load_adapter(adapter.name, adapter.path, adapter.scale)
            models.check_files()
            labels = PromptBuilder(form, native.tokenizer).label_tokens()
            measured = 1.0 if costs else slowdown(native, Costs())
        except CascadeError:
            native.close()
            raise
        runner = LlamaRunner(
            native, {name: adapter.info for name, adapter in models.adapters.items()}, labels, models.base
        )
        info = BackendInfo(
            provenance=models.provenance(form.name, labels),
            prefix_adapters=models.prefix_adapters,
            form=form,
            tokenizer=native.tokenizer,
            max_prompt=min(native.n_cells, models.model.n_ctx_train),
            max_tokens=native.n_cells,
            max_nodes=native.n_sequences,
            costs=costs or Costs(),
            slowdown=measured,
            sizes=CallSizes(n_batch=native.n_batch, n_batch_questions=min(size.n_batch_questions, native.n_batch)),
            n_threads=native.n_threads,
        )
        try:
            return cls(runner, native, models, info)
        except CascadeError:
            native.close()
            raise

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._info

    @property
    def tokenizer(self) -> LlamaTokenizer:
        """That of its facts, which can also read token ids back."""
        return self._native.tokenizer

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        return await asyncio.wrap_future(self._worker.submit(self._runner.score, batch, stop))

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        if not self._closed:
            self._worker.submit(self._runner.release, tuple(nodes), prefix_adapter)

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """See ``SwappingBackend.check_markers``; an encoder reads no question."""
        held = self._models.adapters
        own = {name: held[key] for name, key in keys.items() if key in held}
        others = {question.adapter for question in cascade.questions()} - own.keys() - {self._models.base}
        if not self._info.is_encoder:
            check_markers(cascade, PromptBuilder(self._info.form, self._info.tokenizer), own, others)

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:
        """See ``SwappingBackend.prepare``."""
        adapter = self._same(name, path, scale) or self._models.read_adapter(name, path, scale)
        return Prepared(sha256=adapter.sha256, scale=scale, load=partial(self._load, adapter))

    async def unload(self, key: str) -> None:
        """See ``SwappingBackend.unload``."""
        await asyncio.wrap_future(self._worker.submit(self._free_adapter, key))
        self._hold({name: adapter for name, adapter in self._models.adapters.items() if name != key})

    def _same(self, name: str, path: Path, scale: float) -> Adapter | None:
        """An adapter that is loaded already, if the file holds it; it was checked then."""
        for known in self._models.adapters.values():
            if (known.name, known.scale) == (name, scale) and path.is_file() and file_hash(path) == known.sha256:
                return replace(known, path=path)
        return None

    async def _load(self, adapter: Adapter, key: str) -> None:
        await asyncio.wrap_future(self._worker.submit(self._take_in, adapter, key))
        self._hold({**self._models.adapters, key: adapter})

    def _hold(self, adapters: dict[str, Adapter]) -> None:
        """Say that these are loaded."""
        self._models = replace(self._models, adapters=adapters)
        self._info = replace(self._info, **_facts(self._models, self._info))

    def _take_in(self, adapter: Adapter, key: str) -> None:
        """Load an adapter, in the worker."""
        self._native.load_adapter(key, adapter.path, adapter.scale)
        try:
            adapter.check_file()
        except CascadeError:
            self._native.unload_adapter(key)
            raise
        self._runner.take_in(key, adapter.info)

    def _free_adapter(self, key: str) -> None:
        """Free an adapter, in the worker."""
        self._runner.let_go(key)
        self._native.unload_adapter(key)

    def usage(self) -> Usage:
        """What the cache holds once the work at hand is done; waits for it.

        Raises:
            ClosedError: The backend is closed.
        """
        return self._worker.submit(self._runner.usage).result()

    async def close(self) -> None:
        """See ``Backend.close``."""
        if not self._closed and self._worker.is_here:
            await asyncio.wrap_future(self._free())

    def abandon(self) -> None:
        """``close`` for a backend that never met an event loop; waits."""
        if not self._closed and self._worker.is_here:
            self._free().result()

    def _end(self) -> None:
        """Free everything as soon as the decode at hand is interrupted; does not wait."""
        if not self._closed:
            self._native.interrupt()
            self._free()

    def _free(self) -> Future[None]:
        """Free the model once the work at hand is done; nothing is taken after it."""
        self._closed = True
        done = self._worker.submit(self._native.close)
        self._worker.close()
        return done


def _facts(models: ModelSet, info: BackendInfo) -> dict[str, Any]:
    """What a backend says of the adapters that are loaded."""
    return {
        "provenance": models.provenance(info.provenance.prompt_format, info.provenance.label_tokens),
        "invocations": models.invocations,
        "scales": models.scales,
        "prefix_adapters": models.prefix_adapters,
    }
