"""Times the weight formats of one model against each other, on the same short trie-shaped batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from cascade.backends.native import ContextSize, NativeModel
from cascade.backends.trie_batch import TrieBatch, cells
from cascade.model_formats import ModelFormat

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
