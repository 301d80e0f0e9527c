"""A batch in the shape of a cascade's work, to time a context by: the tokens are random, the trie is real.

A task's prefix stands in one sequence; items of about 40 tokens, each in a sequence of its own that
shares the prefix's cells, and a question of a few tokens behind each item. One long plain prompt
would say nothing of the masked tiles, the outputs and the short calls that a cascade is made of.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median

import numpy as np

from cascade.backends.costs import Costs, Work
from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.models.base_model import ModelFormat

PREFIX = 120
ITEM = 40
QUESTION = 5
_LABELS = (0, 1)
_SEED = 0

Clock = Callable[[], float]


def cells(n_items: int) -> int:
    """Cells that a batch fills."""
    return PREFIX + n_items * (ITEM + QUESTION)


class TrieBatch:
    """Items below one prefix, decoded again and again, each time forgotten.

    Args:
        native: The model; its context has ``n_items + 1`` sequences and ``cells(n_items)`` cells at least.
        n_items: Items.
        clock: Seconds.
    """

    def __init__(self, native: NativeModel, n_items: int, clock: Clock = time.perf_counter) -> None:
        self._native = native
        self._sequences = range(1, n_items + 1)
        self._clock = clock
        shape = (n_items, ITEM + QUESTION)
        drawn = np.random.default_rng(_SEED).integers(0, native.tokenizer.n_vocab, (PREFIX + shape[0] * shape[1],))
        self._prefix: list[int] = drawn[:PREFIX].tolist()
        self._texts: list[list[int]] = drawn[PREFIX:].reshape(shape).tolist()

    def start(self) -> None:
        """Decode the prefix into an empty cache, which warms a new context up as well."""
        self._native.clear()
        self._decode([Run(self._prefix, 0, [0])], self._native.n_batch)

    def fill(self, n_free: int) -> None:
        """Fill the cache with prompts of other requests until about ``n_free`` cells are left; ``start`` first."""
        used, size = PREFIX, PREFIX + ITEM
        self._fork(self._sequences[:1])
        self._decode([self._item(self._sequences[0])], self._native.n_batch)
        for sequence in range(self._sequences.stop, self._native.n_sequences):
            if self._native.n_cells - used - size < n_free:
                break
            self._native.duplicate(self._sequences[0], sequence)
            used += size
        self._forget()

    def run(self, n_batch: int) -> float:
        """Decode all items, then their questions, in calls of at most ``n_batch`` tokens; seconds."""
        started = self._clock()
        self._fork(self._sequences)
        self._decode([self._item(at) for at in self._sequences], n_batch)
        self._decode([self._question(at) for at in self._sequences], n_batch)
        seconds = self._clock() - started
        self._forget()
        return seconds

    def items(self, n_batch: int, *, alone: bool = False) -> float:
        """Decode all items in calls of at most ``n_batch`` tokens, or of one item each; seconds."""
        runs = [self._item(at) for at in self._sequences]
        self._fork(self._sequences)
        started = self._clock()
        for part in [[run] for run in runs] if alone else [runs]:
            self._decode(part, n_batch)
        seconds = self._clock() - started
        self._forget()
        return seconds

    def questions(self, n_batch: int, before: Callable[[], object], *, is_output: bool = True) -> float:
        """Decode all questions behind the prefix; seconds, those that ``before`` takes included."""
        runs = [replace(self._question(at), start=PREFIX, is_output=is_output) for at in self._sequences]
        self._fork(self._sequences)
        started = self._clock()
        before()
        self._decode(runs, n_batch)
        seconds = self._clock() - started
        self._forget()
        return seconds

    def _item(self, sequence: int) -> Run:
        return Run(self._texts[sequence - 1][:ITEM], PREFIX, [sequence])

    def _question(self, sequence: int) -> Run:
        return Run(self._texts[sequence - 1][ITEM:], PREFIX + ITEM, [sequence], is_output=True)

    def _fork(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            self._native.fork(0, sequence, PREFIX)

    def _forget(self) -> None:
        for sequence in self._sequences:
            self._native.cut(sequence)

    def _decode(self, runs: Sequence[Run], n_batch: int) -> None:
        rows = Rows.of(runs)
        for at in range(0, len(rows), n_batch):
            self._native.decode(rows.part(slice(at, at + n_batch)), _LABELS)


_LENGTHS = (8, 64, 8, 64)  # tokens of a decode; a new context's first one is slow and does not count


def slowdown(native: NativeModel, costs: Costs) -> float:
    """How many times as long as costs say a decode takes, from three small ones in an empty cache; leaves it empty."""
    ratios = []
    for length in _LENGTHS:
        n = min(length, native.n_batch)
        rows = Rows.of([Run([token % native.tokenizer.n_vocab for token in range(n)], 0, (0,), is_output=True)])
        native.clear()
        before = time.perf_counter()
        native.decode(rows, (0, 0))
        ms = 1_000 * (time.perf_counter() - before)
        ratios.append(ms / Work.of(tokens=n, cells=0, most=n, outputs=1).at(costs.parts))
    native.clear()
    return median(ratios[1:])


_ITEMS = 8
_ROUNDS = 5
_COPIES = 2  # llama.cpp keeps some formats twice: as mapped from the file, and rearranged for the processor
_MEMORY_SHARE = 0.5


def time_formats(
    formats: Sequence[ModelFormat], size: ContextSize, seconds: float, memory: int | None
) -> dict[ModelFormat, tuple[float, ...]]:
    """Seconds that each format takes for the batch, round by round.

    All are held in memory and timed in turns where they fit, otherwise one after the other.

    Args:
        formats: Files that llama.cpp may load.
        size: How contexts compute; its cells and sequences are cut to what the batch needs.
        seconds: When no further round is begun; the first is always finished.
        memory: Bytes of the machine's main memory; None if unknown.

    Raises:
        ModelFileError: llama.cpp refused a file.
        DecodeError: llama.cpp failed a decode.
    """
    small = replace(size, n_ctx=cells(_ITEMS), n_seq_max=_ITEMS + 1)
    fits = memory is not None and _COPIES * sum(entry.n_bytes for entry in formats) < _MEMORY_SHARE * memory
    together = [formats] if fits else [[entry] for entry in formats]
    found: dict[ModelFormat, tuple[float, ...]] = {}
    for group in together:
        found |= _timed(group, small, seconds / len(together))
    n_rounds = min(len(times) for times in found.values())
    return {entry: times[:n_rounds] for entry, times in found.items()}


def _timed(formats: Sequence[ModelFormat], size: ContextSize, seconds: float) -> dict[ModelFormat, tuple[float, ...]]:
    until = time.perf_counter() + seconds
    found: dict[ModelFormat, list[float]] = {entry: [] for entry in formats}
    with ExitStack() as stack:
        batches = {entry: stack.enter_context(_batch(entry, size)) for entry in formats}
        for at in range(_ROUNDS):
            if at and time.perf_counter() > until:
                break
            for entry in formats:
                found[entry].append(batches[entry].run(size.n_batch))
    return {entry: tuple(times) for entry, times in found.items()}


@contextmanager
def _batch(entry: ModelFormat, size: ContextSize) -> Iterator[TrieBatch]:
    native = NativeModel(entry.path, size)
    try:
        batch = TrieBatch(native, _ITEMS)
        batch.start()
        yield batch
    finally:
        native.close()
