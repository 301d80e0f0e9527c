"""Runs batches on one llama.cpp context: every prompt node is computed once per prefix adapter."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cascade.backends.base import Batch, Query, Scores, Stop
from cascade.backends.llama.batch_rows import Rows
from cascade.backends.llama.chunk import Chunk, Gather, item_of, shared_nodes, together
from cascade.backends.llama.decode_calls import Stretch, calls
from cascade.backends.llama.kv_cache import Entry, KVStore, Usage, chunks
from cascade.backends.llama.native import AbortedError, NativeModel
from cascade.backends.llama.tally import Tally
from cascade.models.lora import AdapterInfo
from cascade.probability import odds_of_likeliest
from cascade.prompt import Node, Segment
from cascade.stages import BASE


class _StoppedError(Exception):
    """The batch was stopped; the chunk at hand is not finished."""


@dataclass(slots=True)
class _Reached:
    """How far the batch at hand has come.

    Attributes:
        cells: Cells in use, as far as they are filled.
        finished: Entries whose last stretch is computed.
        logits: Log odds of yes, or of the likeliest label, behind an entry, of the chunk at hand.
        values: Logits of the labels behind an entry, of the chunk at hand.
        found: The same for queries that are scored.
        lost: Nodes with their prefix adapter that were begun or kept, and are not any more.
    """

    cells: int
    finished: set[Entry] = field(default_factory=set)
    logits: dict[Entry, float] = field(default_factory=dict)
    values: dict[Entry, Sequence[float]] = field(default_factory=dict)
    found: dict[Query, Sequence[float]] = field(default_factory=dict)
    lost: list[tuple[Node, str]] = field(default_factory=list)


class LlamaRunner:
    """Runs batches on one context; only one thread may use it.

    Args:
        native: The model.
        adapters: Name -> facts of each adapter that it has loaded.
        labels: Tokens of yes and no.
        base: What batches call the model without an adapter.
    """

    def __init__(
        self,
        native: NativeModel,
        adapters: Mapping[str, AdapterInfo],
        labels: tuple[int, int],
        base: str = BASE,
    ) -> None:
        self._native = native
        self._base = base
        self._adapters = dict(adapters)
        self._labels = labels
        self._tally, self._reached = Tally(), _Reached(cells=0)
        self._stop = Stop()
        self._gather = Gather(labels)
        self.store = KVStore(native.n_cells, native.n_sequences)

    def prefix_adapter(self, adapter: str) -> str:
        """Which adapter computes tasks, groups and items for questions that this adapter answers.

        An activated adapter acts from its invocation on, so the base model computes all before it.
        """
        return self._base if adapter == self._base or self._adapters[adapter].is_activated else adapter

    def score(self, batch: Batch, stop: Stop | None = None) -> Scores:
        """See ``Backend.score``."""
        # A swap of a batch that was stopped before its call is the next call's.
        self._tally, self._reached = Tally(is_swapped=self._tally.is_swapped), _Reached(self.store.cells_used)
        order = together([query.node for query in batch.queries])
        logits = np.full(len(order), np.nan)
        spoilt: list[int] = []
        self._stop = stop or Stop()
        self._native.resume()
        try:
            with self._stop.interrupting(self._native.interrupt):
                suspects = self._score_places(batch, order, logits)
                # What spoilt these may be another adapter's: a NaN in any cell spoils what is computed beside it.
                spoilt = self._score_places(batch, suspects, logits)
        except _StoppedError:
            pass  # what has no score will be asked again
        except BaseException:
            self._empty()  # whatever failed, the cache may now hold half a node
            raise
        cost = self._tally.cost(n_asked=sum(query.node.end for query in batch.queries))
        reached = self._reached
        lost = tuple(key for key in dict.fromkeys(reached.lost) if self.store.find(*key) is None)
        return Scores(
            logits.tolist(),
            cost,
            lost,
            values={at: reached.found[query] for at, query in enumerate(batch.queries) if query in reached.found},
            spoilt=dict.fromkeys(spoilt, "its logits are NaN or infinite"),
        )

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        for entry in self.store.release(nodes, prefix_adapter):
            self._native.cut(entry.sequence)
        if not len(self.store):
            self._native.clear()

    def take_in(self, key: str, info: AdapterInfo) -> None:
        """See ``backend.Runner.take_in``."""
        self._adapters[key] = info

    def let_go(self, key: str) -> None:
        """See ``backend.Runner.let_go``."""
        for entry in self.store.release_all(key):
            self._native.cut(entry.sequence)
        del self._adapters[key]

    def usage(self) -> Usage:
        """What the cache holds now."""
        store = self.store
        return Usage(
            cells=store.cells_used,
            nodes=len(store),
            sequences=self._native.n_sequences_used(),
            peak_cells=store.peak_cells,
        )

    def _score_places(self, batch: Batch, order: Sequence[int], logits: NDArray[np.float64]) -> list[int]:
        """Score some of a batch's queries.

        Args:
            batch: The batch.
            order: Their places.
            logits: Takes the log odds, NaN where there are none.

        Returns:
            The places that were answered with no finite number; then the cache is empty.

        Raises:
            _StoppedError: The batch was stopped; what was scored before stands.
        """
        spoilt: list[int] = []
        for places in self._chunks(batch.queries, order):
            try:
                logits[places] = self._score_chunk([batch.queries[at] for at in places], batch.adapter)
                spoilt += [at for at in places if math.isnan(logits[at])]
            except _StoppedError as stopped:
                logits[places] = stopped.args[0]
                raise
            finally:
                if not all(map(math.isfinite, self._reached.logits.values())):
                    self._empty()
        return spoilt

    def _empty(self) -> None:
        """Forget everything, and zero it: nothing in the cache is trusted any more."""
        self._reached.lost += self.store.keys()
        self._reached.cells = 0
        self.store.clear()
        self._native.clear(data=True)

    def _chunks(self, queries: Sequence[Query], order: Sequence[int]) -> Iterator[Sequence[int]]:
        """Places of queries, in order, that fit side by side."""
        paths, extra = [], []
        repeated = shared_nodes(queries)
        for query in (queries[at] for at in order):
            is_own = item_of(query) in repeated
            paths.append(query.node.path if is_own else item_of(query).path)
            extra.append(0 if is_own else len(query.node.tokens))
        for chunk in chunks(paths, extra, self.store.n_cells, self.store.n_sequences):
            yield order[chunk]

    def _score_chunk(self, queries: Sequence[Query], adapter: str) -> list[float]:
        """Log odds of each query.

        Raises:
            _StoppedError: It was stopped; has the log odds, NaN where there are none.
        """
        self._reached.logits.clear()  # an item's entry stands for another question in each chunk
        self._reached.values.clear()
        chunk = self._take(queries, self.prefix_adapter(adapter))
        self._gather = Gather.of(self._labels, chunk)
        own = chunk.prefix_adapter == adapter
        try:
            # Under a plain adapter the whole question goes along with its item; under an activated one
            # what stands before its invocation does.
            along = list(chunk.along(is_output=own))
            if along:
                self._activate(chunk.prefix_adapter)
            self._decode(along, self._native.n_batch)
            if not own:
                self._activate(adapter)
                self._decode(list(chunk.asked()), self._native.size.n_batch_questions)
        except _StoppedError:
            self._undo(chunk)
            raise _StoppedError(self._logits(chunk)) from None
        finally:
            self._forget_questions(chunk)
        return self._logits(chunk)

    def _logits(self, chunk: Chunk) -> list[float]:
        """Log odds of each query, NaN where there are none."""
        found = [self._reached.logits.get(holder, math.nan) for holder in chunk.holders]
        if self._gather.places:
            pairs = zip(chunk.queries, chunk.holders, found, strict=True)
            told = {query: holder for query, holder, odds in pairs if query.labels and math.isfinite(odds)}
            self._reached.found |= {query: self._reached.values[holder] for query, holder in told.items()}
        return [logit if math.isfinite(logit) else math.nan for logit in found]

    def _switch(self, query: Query, prefix_adapter: str) -> int:
        """How many of a question's tokens its item's prefix adapter computes."""
        if prefix_adapter == query.adapter:
            return len(query.node.tokens)
        return self._adapters[query.adapter].activation_start(query.node.tokens) or 0

    def _take(self, queries: Sequence[Query], prefix_adapter: str) -> Chunk:
        """Room and an entry for every node above the queries, and for questions that share their item."""
        repeated = shared_nodes(queries)
        nodes = dict.fromkeys(node for query in queries for node in item_of(query).path)
        questions = {query.node: None for query in queries if item_of(query) in repeated}
        present = {node: entry for node in nodes if (entry := self.store.find(node, prefix_adapter))}
        missing = nodes.keys() - present.keys()
        n_cells = sum(len(node.tokens) for node in missing) + sum(len(query.node.tokens) for query in queries)
        for gone in self.store.make_room(n_cells, len(missing) + len(questions), set(present.values())):
            self._native.cut(gone.sequence)
        entries = {node: present.get(node) or self.store.add(node, prefix_adapter) for node in (*nodes, *questions)}
        holders = [entries[query.node if query.node in questions else item_of(query)] for query in queries]
        heads = {
            holder: query.node.tokens[: self._switch(query, prefix_adapter)]
            for query, holder in zip(queries, holders, strict=True)
        }
        return Chunk(queries, prefix_adapter, entries, missing, holders, heads)

    def _forget_questions(self, chunk: Chunk) -> None:
        """Take every question off the cache: what an adapter computed of it is never used again."""
        for query, holder in zip(chunk.queries, chunk.holders, strict=True):
            if holder.node is not query.node:
                self._native.cut(holder.sequence, holder.node.end)
        own = [node for node in chunk.entries if node.segment is Segment.QUESTION]
        for entry in self.store.release(own, chunk.prefix_adapter) if own else ():
            self._native.cut(entry.sequence)

    def _undo(self, chunk: Chunk) -> None:
        """Forget the nodes that were not finished.

        All sequences of an interrupted call are cut, since llama.cpp takes a token that several
        share off one of them alone and leaves the others with cells that were never computed.
        """
        lost = [node for node in chunk.missing if chunk.entries[node] not in self._reached.finished]
        self._reached.lost += [(node, chunk.prefix_adapter) for node in lost]
        for entry in self.store.release(lost, chunk.prefix_adapter):
            self._native.cut(entry.sequence)

    def _activate(self, adapter: str) -> None:
        before = time.perf_counter()
        if self._native.activate("" if adapter == self._base else adapter):
            self._tally.swapped(adapter, before)

    def _decode(self, stretches: Sequence[Stretch], most: int) -> None:
        """Decode stretches in as few calls as fit.

        Raises:
            _StoppedError: Nothing more may be begun, or the call at hand was interrupted.
        """
        for call in calls(stretches, min(most, self._native.n_batch)):
            if self._stop.is_asked:
                raise _StoppedError
            for fork in call.forks:
                self._native.fork(fork.source, fork.target, fork.end)
            rows = Rows.of(call.runs)
            started = time.perf_counter()
            try:
                logits = self._native.decode(rows, self._gather.tokens)
            except AbortedError:
                raise _StoppedError from None
            self._tally.called(started, len(rows), self._reached.cells, len(call.outputs))
            self._reached.cells += len(rows)
            self._reached.finished.update(call.finished)
            self._read(call.outputs, logits)

    def _read(self, outputs: Sequence[Entry], logits: NDArray[np.float32]) -> None:
        """Take in the logits behind entries; (n_outputs, n_labels)."""
        reached, places = self._reached, self._gather.places
        for entry, found in zip(outputs, logits.tolist(), strict=True):
            if entry in places:
                reached.values[entry] = own = [found[place] for place in places[entry]]
                reached.logits[entry] = odds_of_likeliest(own)
            else:
                reached.logits[entry] = found[0] - found[1]
