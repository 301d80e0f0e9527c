"""An encoder through llama-cpp-python's low-level API: BERT with a classification head, llama.cpp's pooling ``rank``.

There is no KV cache, so that nothing is kept between calls and an interrupted call leaves nothing behind. The tokens of
a call are computed together: more of them than ``n_ubatch``, and a position that the model has no embedding for, abort
the process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.context import encoder_bytes
from cascade.backends.llama.library import llama_cpp
from cascade.backends.llama.loaded import MAX_SEQUENCES, ContextSize, LoadedModel
from cascade.errors import DecodeError


class NativeEncoder(LoadedModel):
    """A loaded encoder with one context and any number of adapters; see ``LoadedModel``.

    Attributes:
        max_pair: Most tokens of a pair.
    """

    def _open_context(self, size: ContextSize) -> None:
        n_positions = llama_cpp.llama_model_n_ctx_train(self._model)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = size.n_batch
        params.n_seq_max = min(size.n_seq_max, MAX_SEQUENCES, size.n_batch)  # with more llama.cpp ends the process
        params.embeddings = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_RANK
        params.flash_attn_type = 1 if size.flash_attention else 0
        self._new_context(params, size, encoder_bytes(self._model, params))
        self.max_pair: int = min(n_positions, size.n_batch)
        self._arrays(size.n_batch)

    def encode(self, pairs: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """What the head says of pairs, in one call.

        Args:
            pairs: Token ids of at most ``n_sequences`` pairs, ``n_batch`` tokens together.

        Returns:
            (n_pairs,) log odds of yes.

        Raises:
            AbortedError: It was interrupted.
            DecodeError: The pairs are out of bounds, or llama.cpp failed.
        """
        self._check_open()
        self._check(pairs)
        self._run(llama_cpp.llama_encode, Rows.of([Run(pair, 0, (at,)) for at, pair in enumerate(pairs)]))
        found = np.full(len(pairs), np.nan, np.float32)
        for at in range(len(pairs)):
            pointer = llama_cpp.llama_get_embeddings_seq(self._context, at)
            if not pointer:
                msg = f"llama.cpp gave no answer for pair {at} of {len(pairs)}."
                raise DecodeError(msg)
            found[at] = pointer[0]
        return found

    def _check(self, pairs: Sequence[Sequence[int]]) -> None:
        n_tokens = sum(map(len, pairs))
        if not 0 < len(pairs) <= self.n_sequences or not all(0 < len(pair) <= self.max_pair for pair in pairs):
            msg = (
                f"{len(pairs)} pairs of {n_tokens} tokens; 1 to {self.n_sequences} of at most {self.max_pair} each fit."
            )
            raise DecodeError(msg)
        if n_tokens > self.n_batch:
            msg = f"A call of {n_tokens} tokens is outside 1..{self.n_batch}."
            raise DecodeError(msg)
        least, most = min(map(min, pairs)), max(map(max, pairs))
        if least < 0 or most >= self.tokenizer.n_vocab:
            msg = f"A token of {least}..{most} is outside 0..{self.tokenizer.n_vocab - 1}."
            raise DecodeError(msg)
