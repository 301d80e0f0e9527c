"""The embedded backend: llama.cpp in this process, every prompt node computed once per prefix adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Protocol

from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.costs import CallSizes, Costs
from cascade.backends.llama.kv_cache import Usage
from cascade.backends.llama.loaded import LoadedModel
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.runner import LlamaRunner
from cascade.backends.llama.timing import slowdown
from cascade.backends.llama.tokenizer import LlamaTokenizer
from cascade.backends.worker import Worker
from cascade.errors import CascadeError
from cascade.models.model_set import ModelSet
from cascade.prompt import Node, PromptBuilder, PromptFormat


class Runner(Protocol):
    """What runs batches on a model; only one thread may use it."""

    def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""

    def usage(self) -> Usage:
        """What the cache holds now."""


class LlamaBackend:
    """llama.cpp behind the ``Backend`` protocol: one worker thread owns the context.

    The backends of several models share one worker, so that they take turns on the same threads: OpenMP keeps a team
    of threads for every thread that calls it, and lets no team spin at barriers once there are more than cores.
    """

    def __init__(self, runner: Runner, native: LoadedModel, info: BackendInfo, worker: Worker | None = None) -> None:
        self._runner = runner
        self._native = native
        self._info = info
        self._closed = False
        if worker is None:
            self._worker = Worker("cascade-llama", self._end)
        else:
            self._worker = worker
            worker.share(self._end)

    @classmethod
    def open(
        cls,
        models: ModelSet,
        form: PromptFormat,
        size: ContextSize,
        costs: Costs | None = None,
        worker: Worker | None = None,
    ) -> LlamaBackend:
        """Load a checked model with its adapters.

        Args:
            models: Their files.
            form: The prompt format.
            size: How large the context is and how it computes.
            costs: What was measured of this model here; None for the default, at a pace that is measured now.
            worker: The thread that runs it; None for one of its own.

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
            invocations={name: own for name, each in models.adapters.items() if (own := each.info.invocation_tokens)},
            scales=models.scales,
            prefix_adapters={name: runner.prefix_adapter(name) for name in (models.base, *models.adapters)},
            form=form,
            tokenizer=native.tokenizer,
            max_prompt=min(native.n_cells, models.model.n_ctx_train),
            max_tokens=native.n_cells,
            max_nodes=native.n_sequences,
            costs=costs or Costs(),
            slowdown=measured,
            sizes=CallSizes(n_batch=native.n_batch, n_batch_questions=min(size.n_batch_questions, native.n_batch)),
        )
        try:
            return cls(runner, native, info, worker)
        except CascadeError:
            native.close()
            raise

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._info

    @property
    def worker(self) -> Worker:
        """The thread that runs it, perhaps with others."""
        return self._worker

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
