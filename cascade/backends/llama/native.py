"""A decoder through llama-cpp-python's low-level API: one model, one context with its KV cache, its adapters."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cascade.backends.llama.batch_rows import Rows
from cascade.backends.llama.context import context_bytes
from cascade.backends.llama.library import llama_cpp
from cascade.backends.llama.loaded import MAX_SEQUENCES, AbortedError, ContextSize, LoadedModel
from cascade.backends.llama.log import signals_held
from cascade.errors import DecodeError

__all__ = ["AbortedError", "ContextSize", "NativeModel"]

_PAD = 256  # llama.cpp rounds n_ctx up to this


class NativeModel(LoadedModel):
    """A loaded decoder with one context and any number of adapters; see ``LoadedModel``."""

    def _open_context(self, size: ContextSize) -> None:
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = -(-size.n_ctx // _PAD) * _PAD
        params.n_batch = min(size.n_batch, params.n_ctx)
        # llama.cpp cuts a longer batch into these, which leaves a short rest to compute; calls are cut evenly instead.
        params.n_ubatch = params.n_batch
        params.n_seq_max = min(size.n_seq_max, MAX_SEQUENCES)
        params.n_outputs_max = params.n_seq_max
        params.kv_unified = True
        params.pooling_type = llama_cpp.LLAMA_POOLING_TYPE_NONE  # a reranker file asks for RANK, which has no logits
        params.flash_attn_type = 1 if size.flash_attention else 0
        self._new_context(params, size, context_bytes(self._model, params))
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.n_cells: int = llama_cpp.llama_n_ctx(self._context)
        self._arrays(size.n_batch)

    def reopen(self, size: ContextSize) -> None:
        """Another context in place of the present one: the cache is empty and no adapter active.

        ``n_gpu_layers`` and ``use_extra_bufts`` stay what the model was loaded with.

        Raises:
            ModelFileError: llama.cpp cannot open it; the model can then only be closed.
        """
        self._check_open()
        with signals_held():
            self._close_context()
        self._open_context(size)

    def fork(self, source: int, target: int, end: int) -> None:
        """Let a sequence share another's cells from position 0 up to ``end``."""
        self._check_sequence(source)
        self._check_sequence(target)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def cut(self, sequence: int, start: int = 0) -> None:
        """Take a sequence off its cells from a position on."""
        self._check_sequence(sequence)
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def duplicate(self, source: int, target: int) -> None:
        """Give a sequence cells of its own that hold what another's hold.

        Raises:
            DecodeError: There are not so many free cells.
        """
        self._check_sequence(source)
        self._check_sequence(target)
        size = llama_cpp.llama_state_seq_get_size(self._context, source)
        data = (ctypes.c_uint8 * size)()
        llama_cpp.llama_state_seq_get_data(self._context, data, size, source)
        if not llama_cpp.llama_state_seq_set_data(self._context, data, size, target):
            msg = f"Sequence {source} cannot be copied: {self._log.last_error() or 'no reason given'}."
            raise DecodeError(msg)

    def n_sequences_used(self) -> int:
        """How many sequences hold any cell."""
        self._check_open()
        return sum(llama_cpp.llama_memory_seq_pos_max(self._memory, at) >= 0 for at in range(self.n_sequences))

    def clear(self, *, data: bool = False) -> None:
        """Empty the cache.

        Args:
            data: Whether to zero the cells as well. A free cell is masked, but a NaN in it still spoils what
                is computed beside it.
        """
        self._check_open()
        llama_cpp.llama_memory_clear(self._memory, data)

    def decode(self, rows: Rows, labels: Sequence[int]) -> NDArray[np.float32]:
        """Decode at most ``n_batch`` rows in one call.

        Args:
            rows: The rows.
            labels: Token ids, at least one.

        Returns:
            (n_outputs, n_labels) logits of the labels at the output rows, in order.

        Raises:
            AbortedError: It was interrupted.
            DecodeError: The rows are out of bounds (nothing was touched), or llama.cpp failed (what
                the cache then holds is unknown: clear it).
        """
        self._check_rows(rows, labels)
        self._run(llama_cpp.llama_decode, rows)
        n_outputs = int(rows.outputs.sum())
        if not n_outputs:
            return np.empty((0, len(labels)), np.float32)
        pointer = llama_cpp.llama_get_logits(self._context)
        table = np.ctypeslib.as_array(pointer, shape=(n_outputs, self.tokenizer.n_vocab))
        return np.array(table[:, np.asarray(labels)], dtype=np.float32)

    def _check_sequence(self, sequence: int) -> None:
        self._check_open()
        if not 0 <= sequence < self.n_sequences:
            msg = f"Sequence {sequence} is outside 0..{self.n_sequences - 1}."
            raise DecodeError(msg)

    def _check_rows(self, rows: Rows, labels: Sequence[int]) -> None:
        self._check_open()
        n = len(rows)
        if not 0 < n <= self.n_batch:
            msg = f"A decode of {n} tokens is outside 1..{self.n_batch}."
            raise DecodeError(msg)
        if not labels:
            msg = "A decode needs at least one label token."
            raise DecodeError(msg)
        bounds = (
            ("token", rows.tokens, self.tokenizer.n_vocab),
            ("label token", np.asarray(labels), self.tokenizer.n_vocab),
            ("position", rows.positions, self.n_cells),
            ("sequence", rows.sequences, self.n_sequences),
            ("number of outputs", np.asarray([rows.outputs.sum()]), self.n_sequences + 1),
        )
        for name, values, limit in bounds:
            if values.min() < 0 or values.max() >= limit:
                msg = f"A {name} of {values.min()}..{values.max()} in a decode is outside 0..{limit - 1}."
                raise DecodeError(msg)
