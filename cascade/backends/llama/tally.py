"""What a batch has cost so far on one context."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from cascade.backends.base import BatchCost, Swap
from cascade.backends.costs import Work


@dataclass(slots=True)
class Tally:
    """Counts calls and changes of the adapter; a call is booked with all the time since the one before.

    Attributes:
        started: When the batch began, in seconds.
        booked: When the last call was counted, or else when the batch began.
        swaps: Changes of the active adapter set.
        decodes: What each call had to do, and the milliseconds that it took.
        model_s: Seconds inside calls of the model.
        tokens: Tokens computed.
        is_swapped: Whether the next call is the first under another adapter.
    """

    started: float = field(default_factory=time.perf_counter)
    booked: float = field(init=False)
    swaps: list[Swap] = field(default_factory=list)
    decodes: list[tuple[Work, float]] = field(default_factory=list)
    model_s: float = 0.0
    tokens: int = 0
    is_swapped: bool = False

    def __post_init__(self) -> None:
        self.booked = self.started

    def swapped(self, adapter: str, before: float) -> None:
        """Count a change of the adapter that began at a time, in seconds."""
        now = time.perf_counter()
        self.swaps.append(Swap(adapter=adapter, at_ms=1_000 * (before - self.started), ms=1_000 * (now - before)))
        self.is_swapped = True

    def called(self, started: float, n_tokens: int, cells: int, n_outputs: int) -> None:
        """Count a call.

        Args:
            started: When the model was called, in seconds.
            n_tokens: Tokens that it computed.
            cells: Cells in use before.
            n_outputs: Answers that were read.
        """
        now = time.perf_counter()
        work = Work.of(tokens=n_tokens, cells=cells, most=n_tokens, outputs=n_outputs, swaps=self.is_swapped)
        self.decodes.append((work.plus(Work(batches=not self.decodes)), 1_000 * (now - self.booked)))
        self.model_s += now - started
        self.booked = now
        self.tokens += n_tokens
        self.is_swapped = False

    def cost(self, n_asked: int) -> BatchCost:
        """What the batch has cost by now.

        Args:
            n_asked: Tokens of all its prompts, of which those that were not computed were reused.
        """
        return BatchCost(
            decode_calls=len(self.decodes),
            adapter_swaps=len(self.swaps),
            tokens_decoded=self.tokens,
            tokens_reused=max(n_asked - self.tokens, 0),
            elapsed_ms=1_000 * (time.perf_counter() - self.started),
            model_ms=1_000 * self.model_s,
            decodes=tuple(self.decodes),
            swaps=tuple(self.swaps),
        )
