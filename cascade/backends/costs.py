"""What the parts of a model call cost, in milliseconds, and what a batch is made of. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

SHORT = 64
"""Tokens below which llama.cpp computes attention row by row and not in tiles (ggml-cpu/ops.cpp)."""

_WAKE = 0.02  # what a pause before a call costs, over what the call does
_SHORT_CELL = 2.5  # a cell costs a row on its own about this many times as much as a row of a tile


class Work(NamedTuple):
    """What decode calls have to do. Sums of work are work.

    Attributes:
        calls: Calls of ``SHORT`` tokens or more.
        tokens: Tokens of those.
        attended_cells: Of each of those tokens, the cells in use while it is computed.
        short_calls: Calls of fewer tokens.
        short_tokens: Tokens of those.
        short_attended_cells: Attended cells of those.
        outputs: Rows whose logits are read.
        swaps: Changes of the adapter.
        batches: First calls after a pause, for which threads have to wake up.
        requests: Requests to a server.
        questions: Questions in those.
    """

    calls: float = 0.0
    tokens: float = 0.0
    attended_cells: float = 0.0
    short_calls: float = 0.0
    short_tokens: float = 0.0
    short_attended_cells: float = 0.0
    outputs: float = 0.0
    swaps: float = 0.0
    batches: float = 0.0
    requests: float = 0.0
    questions: float = 0.0

    @staticmethod
    def of(*, tokens: float, cells: float, most: int, outputs: float = 0.0, swaps: float = 0.0) -> Work:
        """The work of some tokens in as few calls of equal length as there can be.

        Args:
            tokens: How many; 0 is no work but the swaps.
            cells: Cells in use before; each call looks at those of the calls before it and its own as well.
            most: Most tokens of a call.
            outputs: Rows whose logits are read.
            swaps: Changes of the adapter.
        """
        if not tokens:
            return Work(swaps=swaps)
        calls = -(-tokens // most)
        attended_cells = tokens * (cells + tokens * (calls + 1) / (2 * calls))
        if tokens / calls < SHORT:
            return Work(0.0, 0.0, 0.0, calls, tokens, attended_cells, outputs, swaps)
        return Work(calls, tokens, attended_cells, 0.0, 0.0, 0.0, outputs, swaps)

    def at(self, prices: Iterable[float]) -> float:
        """What it costs where each part has a price."""
        return sum(price * n for price, n in zip(prices, self, strict=True))

    def plus(self, other: Work) -> Work:
        """Both together."""
        return Work(*map(float.__add__, map(float, self), map(float, other)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What evaluating text with a model costs, part by part.

    The defaults were measured with a model of 0.6 billion parameters on two
    processor cores: decode calls of different sizes on a trie-shaped batch (a
    shared beginning in one sequence, many short items in sequences of their
    own), the time fitted as a sum of the parts. ``cascade doctor --autotune``
    measures the same for a model on the machine at hand. Only the proportions
    between the parts matter to a plan.

    Attributes:
        per_token_ms: Evaluating one token more in a decode call.
        per_output_ms: Reading the logits of one row more.
        per_call_ms: One decode call more, whatever its size: it reads all of the model's weights.
        per_swap_ms: Attaching another adapter.
        per_cell_ms: What a token takes longer for every cell of the cache that is in use, its own
            prompt's or not: llama.cpp looks at all of them, if only to skip them.
        per_request_ms: One request more to a server, with others in flight beside it.
        per_question_ms: One question more in a request to a server.
    """

    per_token_ms: float = 2.2
    per_output_ms: float = 1.5
    per_call_ms: float = 50.0
    per_swap_ms: float = 10.0
    per_cell_ms: float = 2.5e-4
    per_request_ms: float = 5.0
    per_question_ms: float = 1.0

    @property
    def parts(self) -> Work:
        """What one of each costs, in milliseconds."""
        return Work(
            calls=self.per_call_ms,
            tokens=self.per_token_ms,
            attended_cells=self.per_cell_ms,
            short_calls=self.per_call_ms,
            short_tokens=self.per_token_ms,
            short_attended_cells=_SHORT_CELL * self.per_cell_ms,
            outputs=self.per_output_ms,
            swaps=self.per_swap_ms,
            batches=_WAKE * self.per_call_ms,
            requests=self.per_request_ms,
            questions=self.per_question_ms,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSizes:
    """How a backend cuts work into calls.

    Attributes:
        n_batch: Most tokens of a call.
        n_batch_questions: Most tokens of a call that asks questions of items computed before.
        n_served: Most questions of a batch that a server answers.
        together: Adapters on servers that take all questions of an item in one request.
        shared: Adapters on servers -> most questions of a request, of whichever items; 1 where they are kept apart.
    """

    n_batch: int = 512
    n_batch_questions: int = 62
    n_served: int = 256
    together: frozenset[str] = frozenset()
    shared: Mapping[str, int] = field(default_factory=dict)
