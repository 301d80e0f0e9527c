"""What the parts of a model call cost, in milliseconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What evaluating text with a model costs, part by part.

    The defaults were measured with a model of 0.6 billion parameters on two
    processor cores: decode calls of different sizes on a trie-shaped batch (a
    shared beginning in one sequence, many short items in sequences of their
    own), the time fitted as a sum of the parts. ``cascade doctor --tune``
    measures the same for a model on the machine at hand. Only the proportions
    between the parts matter to a plan.

    Attributes:
        per_token_ms: Evaluating one token more in a decode call.
        per_output_ms: Reading the logits of one row more.
        per_call_ms: One decode call more, whatever its size: it reads all of the model's weights.
        per_swap_ms: Attaching another adapter.
        per_cell_ms: What a token takes longer for every cell of the cache that is in use, its own
            prompt's or not: llama.cpp looks at all of them, if only to skip them.
    """

    per_token_ms: float = 2.2
    per_output_ms: float = 1.5
    per_call_ms: float = 50.0
    per_swap_ms: float = 10.0
    per_cell_ms: float = 2.5e-4
