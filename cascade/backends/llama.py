"""The embedded backend: llama.cpp in this process, every prompt node computed once per lineage."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from cascade.adapter_facts import AdapterFacts
from cascade.adapters import ModelSet
from cascade.backends.base import BackendFacts, Probe, Scores, Wave, WaveCost
from cascade.backends.kv_store import Entry, KVStore, chunks
from cascade.backends.native import ContextSize, NativeModel
from cascade.backends.native_rows import Rows, Run
from cascade.errors import CascadeError, ClosedError, DecodeError
from cascade.prompt import Node, PromptBuilder, PromptFormat
from cascade.report import Provenance
from cascade.tree import BASE


@dataclass(slots=True)
class _Tally:
    """What the wave at hand has cost so far."""

    decode_calls: int = 0
    adapter_swaps: int = 0
    tokens_decoded: int = 0


class LlamaRunner:
    """Runs waves on one context; only one thread may use it."""

    def __init__(self, native: NativeModel, adapters: Mapping[str, AdapterFacts], labels: tuple[int, int]) -> None:
        self._native = native
        self._adapters = adapters
        self._labels = labels
        self._tally = _Tally()
        self.store = KVStore(native.n_cells, native.n_sequences)

    def lineage(self, adapter: str) -> str:
        """Which adapter computes tasks, groups and items for questions that this adapter answers.

        An activated adapter acts from its invocation on, so the base model computes all before it.
        """
        return BASE if adapter == BASE or self._adapters[adapter].is_activated else adapter

    def score(self, wave: Wave) -> Scores:
        """See ``Backend.score``."""
        started = time.perf_counter()
        self._tally = _Tally()
        order = _together([probe.node for probe in wave.probes])
        logits = np.empty(len(order))
        try:
            for chunk in self._chunks([wave.probes[at] for at in order]):
                places = order[chunk]
                logits[places] = self._score_chunk([wave.probes[at] for at in places], wave.adapter)
        except BaseException:
            # Whatever failed, the cache may now hold half a node: nothing in it is trusted again.
            self.store.clear()
            self._native.clear()
            raise
        asked = sum(probe.node.end for probe in wave.probes)
        cost = WaveCost(
            decode_calls=self._tally.decode_calls,
            adapter_swaps=self._tally.adapter_swaps,
            tokens_decoded=self._tally.tokens_decoded,
            tokens_reused=asked - self._tally.tokens_decoded,
            elapsed_ms=1_000 * (time.perf_counter() - started),
        )
        return Scores(logits.tolist(), cost)

    def release(self, nodes: Iterable[Node]) -> None:
        """See ``Backend.release``."""
        for entry in self.store.release(nodes):
            self._native.cut(entry.sequence)
        if not len(self.store):
            self._native.clear()

    def _chunks(self, probes: Sequence[Probe]) -> Iterable[slice]:
        """Runs of probes that fit side by side, no item twice in one: a question forks nothing."""
        paths = [_item(probe).path for probe in probes]
        extra = [len(probe.node.tokens) for probe in probes]
        for chunk in chunks(paths, extra, self.store.n_cells, self.store.n_sequences):
            first, seen = chunk.start, set[Node]()
            for at in range(chunk.start, chunk.stop):
                if _item(probes[at]) in seen:
                    yield slice(first, at)
                    first, seen = at, set()
                seen.add(_item(probes[at]))
            yield slice(first, chunk.stop)

    def _score_chunk(self, probes: Sequence[Probe], adapter: str) -> list[float]:
        lineage = self.lineage(adapter)
        entries = self._take(probes, lineage)
        before: list[Run] = []  # what a question has before its invocation, the base model computes too
        asked: list[Run] = []
        for probe, entry in zip(probes, entries, strict=True):
            tokens, at = probe.node.tokens, probe.node.start
            start = 0 if lineage == adapter else self._adapters[adapter].activation_start(tokens) or 0
            if start:
                before.append((tokens[:start], at, entry.sequence, False))
            asked.append((tokens[start:], at + start, entry.sequence, True))
        if before:
            self._activate(lineage)
            self._decode(before)
        self._activate(adapter)
        logits = self._decode(asked)
        for probe, entry in zip(probes, entries, strict=True):
            self._native.cut(entry.sequence, probe.node.start)
        return logits

    def _take(self, probes: Sequence[Probe], lineage: str) -> list[Entry]:
        """The entries of the probes' items; what is missing is computed, level by level."""
        items = [_item(probe) for probe in probes]
        nodes = dict.fromkeys(node for item in items for node in item.path)
        present = {node: entry for node in nodes if (entry := self.store.find(node, lineage))}
        missing = [node for node in nodes if node not in present]
        n_cells = sum(len(node.tokens) for node in missing) + sum(len(probe.node.tokens) for probe in probes)
        for gone in self.store.make_room(n_cells, len(missing), set(present.values())):
            self._native.cut(gone.sequence)
        missing.sort(key=lambda node: len(node.path))
        for _, level in groupby(missing, key=lambda node: len(node.path)):
            self._activate(lineage)
            self._decode([self._start(node, lineage) for node in level])
        return [self._entry(item, lineage) for item in items]

    def _start(self, node: Node, lineage: str) -> Run:
        """Gives a node a sequence that shares its parent's cells; returns the run that fills the rest."""
        entry = self.store.add(node, lineage)
        if entry.parent:
            self._native.fork(entry.parent.sequence, entry.sequence, node.start)
        return node.tokens, node.start, entry.sequence, False

    def _entry(self, node: Node, lineage: str) -> Entry:
        entry = self.store.find(node, lineage)
        if entry is None:
            msg = "A prompt node that was just computed is not in the cache; this is a bug, please report it."
            raise DecodeError(msg)
        return entry

    def _activate(self, adapter: str) -> None:
        self._tally.adapter_swaps += self._native.activate("" if adapter == BASE else adapter)

    def _decode(self, runs: Sequence[Run]) -> list[float]:
        """Decode runs in as few calls as fit; log odds of yes at the outputs, in order."""
        rows = Rows.of(runs)
        found: list[float] = []
        for at in range(0, len(rows), self._native.n_batch):
            part = slice(at, at + self._native.n_batch)
            piece = Rows(rows.tokens[part], rows.positions[part], rows.sequences[part], rows.outputs[part])
            logits = self._native.decode(piece, self._labels)
            found += (logits[:, 0].astype(float) - logits[:, 1]).tolist()
            self._tally.decode_calls += 1
            self._tally.tokens_decoded += len(piece)
        return found


class LlamaBackend:
    """llama.cpp behind the ``Backend`` protocol: one worker thread owns the context."""

    def __init__(self, runner: LlamaRunner, native: NativeModel, facts: BackendFacts) -> None:
        self._runner = runner
        self._native = native
        self._facts = facts
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cascade-llama")
        self._closed = False

    @classmethod
    def open(cls, models: ModelSet, form: PromptFormat, size: ContextSize) -> LlamaBackend:
        """Load a checked model with its adapters.

        Raises:
            ModelFileError: llama.cpp refused a file.
            ConfigError: The prompt format's labels are not single tokens of this model.
        """
        native = NativeModel(models.model_path, size)
        try:
            for adapter in models.adapters.values():
                native.load_adapter(adapter.name, adapter.path, adapter.scale)
            labels = PromptBuilder(form, native.tokenizer).label_tokens()
        except CascadeError:
            native.close()
            raise
        adapters = {name: adapter.facts for name, adapter in models.adapters.items()}
        facts = BackendFacts(
            provenance=Provenance(
                model=models.model_sha256,
                adapters={name: adapter.sha256 for name, adapter in models.adapters.items()},
                prompt_format=form.name,
                label_tokens=labels,
            ),
            adapters=frozenset(models.adapters),
            form=form,
            tokenizer=native.tokenizer,
            max_prompt=min(native.n_cells, models.model.n_ctx_train),
            max_tokens=native.n_cells,
            max_probes=native.n_sequences,
        )
        return cls(LlamaRunner(native, adapters, labels), native, facts)

    @property
    def facts(self) -> BackendFacts:
        """See ``Backend.facts``."""
        return self._facts

    async def score(self, wave: Wave) -> Scores:
        """See ``Backend.score``."""
        return await asyncio.wrap_future(self._submit(wave))

    def release(self, nodes: Iterable[Node]) -> None:
        """See ``Backend.release``."""
        if not self._closed:
            self._worker.submit(self._runner.release, tuple(nodes))

    async def close(self) -> None:
        """See ``Backend.close``."""
        if not self._closed:
            await asyncio.wrap_future(self._free())

    def abandon(self) -> None:
        """``close`` for a backend that never met an event loop; waits."""
        if not self._closed:
            self._free().result()

    def _free(self) -> Future[None]:
        """Free the model once the work at hand is done; nothing is taken after it."""
        self._closed = True
        done = self._worker.submit(self._native.close)
        self._worker.shutdown(wait=False)
        return done

    def _submit(self, wave: Wave) -> Future[Scores]:
        if self._closed:
            msg = "The backend is closed; open a new engine."
            raise ClosedError(msg)
        return self._worker.submit(self._runner.score, wave)


def _item(probe: Probe) -> Node:
    """The node that a probe's question hangs below."""
    if probe.node.parent is None:
        msg = "A question must stand below an item."
        raise DecodeError(msg)
    return probe.node.parent


def _together(questions: Sequence[Node]) -> list[int]:
    """Places of the questions, those that share nodes side by side, otherwise in the given order."""
    first: dict[Node, int] = {}
    for at, question in enumerate(questions):
        for node in question.path:
            first.setdefault(node, at)
    return sorted(range(len(questions)), key=lambda at: [first[node] for node in questions[at].path])
