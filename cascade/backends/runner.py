"""Runs waves on one llama.cpp context: every prompt node is computed once per lineage."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.adapter_facts import AdapterFacts
from cascade.backends.base import Probe, Scores, Wave, WaveCost
from cascade.backends.kv_store import Entry, KVStore, chunks
from cascade.backends.native import NativeModel
from cascade.backends.native_rows import Rows
from cascade.backends.trie_calls import Stretch, calls
from cascade.errors import DecodeError
from cascade.prompt import Node
from cascade.tree import BASE


@dataclass(slots=True)
class _Tally:
    """What the wave at hand has cost so far."""

    decode_calls: int = 0
    adapter_swaps: int = 0
    tokens_decoded: int = 0
    model_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a context holds.

    Attributes:
        cells: Cells that prompt nodes fill.
        nodes: Prompt nodes.
        sequences: Sequences that hold any cell, as llama.cpp sees it.
        peak_cells: Most cells that were ever filled or promised.
    """

    cells: int
    nodes: int
    sequences: int
    peak_cells: int


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
            model_ms=1_000 * self._tally.model_s,
        )
        return Scores(logits.tolist(), cost)

    def release(self, nodes: Iterable[Node], lineage: str | None = None) -> None:
        """See ``Backend.release``."""
        for entry in self.store.release(nodes, lineage):
            self._native.cut(entry.sequence)
        if not len(self.store):
            self._native.clear()

    def usage(self) -> Usage:
        """What the cache holds now."""
        store = self.store
        return Usage(
            cells=store.cells_used,
            nodes=len(store),
            sequences=self._native.n_sequences_used(),
            peak_cells=store.peak_cells,
        )

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
        """Log odds of each probe; no item stands twice."""
        lineage = self.lineage(adapter)
        heads = {_item(probe): probe.node.tokens[: self._switch(probe, lineage)] for probe in probes}
        entries, missing = self._take(probes, lineage)
        own = [_item(probe) for probe in probes]
        # Under a plain adapter the whole question goes along with its item; under an activated one
        # what stands before its invocation does.
        along = list(_stretches(entries, missing, heads, is_output=lineage == adapter))
        if along:
            self._activate(lineage)
        logits = self._decode(along)
        if lineage != adapter:
            self._activate(adapter)
            logits = self._decode(
                [
                    Stretch(entries[item], probe.node.tokens[len(heads[item]) :], item.end + len(heads[item]), True)
                    for probe, item in zip(probes, own, strict=True)
                ],
                self._native.size.n_ask,
            )
        for item in own:
            self._native.cut(entries[item].sequence, item.end)
        return logits

    def _switch(self, probe: Probe, lineage: str) -> int:
        """How many of a question's tokens its item's lineage computes."""
        if lineage == probe.adapter:
            return len(probe.node.tokens)
        return self._adapters[probe.adapter].activation_start(probe.node.tokens) or 0

    def _take(self, probes: Sequence[Probe], lineage: str) -> tuple[dict[Node, Entry], set[Node]]:
        """An entry for every node above the probes, upper ones first, and which of them are yet to be computed."""
        nodes = dict.fromkeys(node for probe in probes for node in _item(probe).path)
        present = {node: entry for node in nodes if (entry := self.store.find(node, lineage))}
        missing = nodes.keys() - present.keys()
        n_cells = sum(len(node.tokens) for node in missing) + sum(len(probe.node.tokens) for probe in probes)
        for gone in self.store.make_room(n_cells, len(missing), set(present.values())):
            self._native.cut(gone.sequence)
        return {node: present.get(node) or self.store.add(node, lineage) for node in nodes}, missing

    def _activate(self, adapter: str) -> None:
        self._tally.adapter_swaps += self._native.activate("" if adapter == BASE else adapter)

    def _decode(self, stretches: Sequence[Stretch], most: int | None = None) -> list[float]:
        """Decode stretches in as few calls as fit, or of ``most`` tokens; log odds of yes at the outputs, in order."""
        size = self._native.size
        found: list[float] = []
        # Not more than goes through the layers together, so that llama.cpp has no short rest to compute.
        for call in calls(stretches, min(most or size.n_ubatch, size.n_ubatch, self._native.n_batch)):
            for fork in call.forks:
                self._native.fork(fork.source, fork.target, fork.end)
            rows = Rows.of(call.runs)
            started = time.perf_counter()
            logits = self._native.decode(rows, self._labels)
            self._tally.model_s += time.perf_counter() - started
            found += (logits[:, 0].astype(float) - logits[:, 1]).tolist()
            self._tally.decode_calls += 1
            self._tally.tokens_decoded += len(rows)
        return found


def _stretches(
    entries: Mapping[Node, Entry], missing: set[Node], heads: Mapping[Node, Sequence[int]], *, is_output: bool
) -> Iterator[Stretch]:
    """What the nodes' lineage computes: nodes that are missing, and behind items the head of their question."""
    for node, entry in entries.items():
        tokens = node.tokens if node in missing else ()
        head = heads.get(node, ())
        if tokens or head:
            yield Stretch(entry, (*tokens, *head), node.start if tokens else node.end, is_output and node in heads)


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
