"""A model with a book of its cache, cell by cell: what each answer was made from is known, and not guessed from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.backends.llama.batch_rows import Rows
from cascade.backends.llama.native import AbortedError, NativeModel


@dataclass(slots=True)
class _Cell:
    """A cell of the cache.

    Attributes:
        position: Position of its token.
        adapter: What computed it; empty for the base model.
        sequences: Who sees it.
    """

    position: int
    adapter: str
    sequences: set[int]


class BookedModel(NativeModel):
    """A model that enters a fault for each answer that saw anything else than one prompt under the adapters it must.

    That is every position once, from the first to the answer's own; all of it computed by the adapter that answers,
    or by the base model up to where that adapter begins.
    """

    def __init__(self, *arguments: Any) -> None:
        self.faults: list[str] = []
        self._cells: list[_Cell] = []
        super().__init__(*arguments)

    def clear(self, *, data: bool = False) -> None:
        """See ``NativeModel.clear``."""
        super().clear(data=data)
        self._cells.clear()

    def fork(self, source: int, target: int, end: int) -> None:
        """See ``NativeModel.fork``."""
        super().fork(source, target, end)
        for cell in self._cells:
            if source in cell.sequences and cell.position < end:
                cell.sequences.add(target)

    def cut(self, sequence: int, start: int = 0) -> None:
        """See ``NativeModel.cut``."""
        super().cut(sequence, start)
        for cell in self._cells:
            if cell.position >= start:
                cell.sequences.discard(sequence)
        self._cells = [cell for cell in self._cells if cell.sequences]

    def decode(self, rows: Rows, labels: Sequence[int]) -> NDArray[np.float32]:
        """See ``NativeModel.decode``."""
        try:
            found = super().decode(rows, labels)
        except AbortedError:
            self._enter(rows)  # until its sequences are cut, some of them hold what was not computed
            raise
        for cell in self._enter(rows):
            self._check(cell)
        return found

    def _enter(self, rows: Rows) -> list[_Cell]:
        """Enter the cells of a call; returns those that answer."""
        new = []
        for at in range(len(rows)):
            first = int(rows.first_sequence[at])
            own = set(rows.sequences[first : first + int(rows.n_sequences[at])].tolist())
            new.append(_Cell(int(rows.positions[at]), self.active, own))
        self._cells += new
        return [cell for cell, is_output in zip(new, rows.outputs, strict=True) if is_output]

    def _check(self, answer: _Cell) -> None:
        (sequence, *_) = answer.sequences
        own = (cell for cell in self._cells if sequence in cell.sequences and cell.position <= answer.position)
        seen = sorted((cell.position, cell.adapter) for cell in own)
        positions, adapters = zip(*seen, strict=True)
        if positions != tuple(range(answer.position + 1)):
            self.faults.append(f"an answer saw the positions {positions}")
        changes = [adapters[0], *(after for before, after in pairwise(adapters) if before != after)]
        if changes not in ([answer.adapter], ["", answer.adapter]):
            self.faults.append(f"adapter {answer.adapter!r} answered on what {changes} computed")
