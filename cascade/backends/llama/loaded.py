"""A model that llama.cpp has loaded, with its adapters and one context; what decoders and encoders have in common.

Most misuse of llama.cpp aborts the process instead of returning an error, so every argument is
checked here before it crosses. Nothing here is thread-safe: one thread owns a context.
"""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cascade.backends.llama.batch_rows import Rows
from cascade.backends.llama.extra_buffers import may_use_extra_buffers
from cascade.backends.llama.library import llama_cpp
from cascade.backends.llama.log import native_log, signals_held
from cascade.backends.llama.tokenizer import LlamaTokenizer
from cascade.errors import CascadeError, ClosedError, DecodeError, ModelFileError
from cascade.machine import n_threads, need_memory, share_heap

_IN_USE = 96 * 2**20  # bytes that are left for graphs, adapters that are switched and callers, as measured
_OWN_THREADS = 2  # the engine's, and the one that decodes
_ABORTED = 2  # what llama_decode and llama_encode return then

MAX_SEQUENCES = 256
"""Most sequences of a context (LLAMA_MAX_SEQ)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSize:
    """How large a context is and how it computes.

    Attributes:
        n_ctx: Cells of its KV cache.
        n_seq_max: Sequences, 2 to 256.
        n_batch: Most tokens of one decode; all go through the layers together.
        n_batch_questions: Most tokens of a decode that asks questions of items computed before.
        n_threads: Threads, at most one for each core that this process may use; 0 for all of these.
        n_gpu_layers: Layers on a GPU; -1 for all.
        flash_attention: Whether masked tiles of the shared cache are skipped.
        use_extra_bufts: Whether llama.cpp may rearrange quantised weights for this processor; None to find out whether
            it can.
    """

    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_batch_questions: int = 62
    n_threads: int = 0
    n_gpu_layers: int = 0
    flash_attention: bool = True
    use_extra_bufts: bool | None = None


class AbortedError(DecodeError):
    """A decode was interrupted; the sequences that it wrote to must be cut."""


class LoadedModel(ABC):
    """A loaded model with one context and any number of adapters.

    Raises:
        MachineError: llama.cpp cannot compute on this processor, or there is not enough memory.
        ModelFileError: llama.cpp refused a file.
    """

    def __init__(self, path: Path, size: ContextSize) -> None:
        self._log = native_log()
        self._path = path
        self._context: Any = None
        self._adapters: dict[str, tuple[Any, float]] = {}
        self._flag, self._is_interrupted = _abort_flag()
        params = llama_cpp.llama_model_default_params()
        # Weights are read and not mapped: a file that is written to would change or end what maps it.
        params.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        params.n_gpu_layers = size.n_gpu_layers if size.n_gpu_layers >= 0 else 1_000
        allowed = size.use_extra_bufts
        params.use_extra_bufts = may_use_extra_buffers(path) if allowed is None else allowed
        share_heap()
        if not size.n_gpu_layers:
            need_memory(path.stat().st_size if path.exists() else 0, f"Model {path}")
        with signals_held() as held:  # a signal ends the load of a large file, and is heard after it
            params.progress_callback = llama_cpp.llama_progress_callback(lambda _share, _data: not held)
            self._model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            msg = (
                f"llama.cpp cannot load {path}: {self._log.last_error() or 'no reason given'}. Get or export it again."
            )
            raise ModelFileError(msg)
        self.tokenizer = LlamaTokenizer(llama_cpp.llama_model_get_vocab(self._model))
        try:
            self._open_context(size)
        except CascadeError:
            self.close()
            raise

    @abstractmethod
    def _open_context(self, size: ContextSize) -> None:
        """Open a context of that size with ``_new_context``."""

    def _new_context(self, params: Any, size: ContextSize, n_bytes: int) -> None:
        """Open a context.

        Args:
            params: As llama.cpp wants them.
            size: What they come from.
            n_bytes: About how much memory it takes.
        """
        self.size = size
        self.active = ""
        self.n_threads = params.n_threads = params.n_threads_batch = n_threads(size.n_threads)
        if not size.n_gpu_layers:
            need_memory(
                n_bytes + _IN_USE,
                f"A context of {params.n_ctx} cells for {self._path}, with room to compute in,",
                params.n_threads + _OWN_THREADS,
            )
        with signals_held():
            context = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            reason = self._log.last_error() or "no reason given"
            msg = f"llama.cpp cannot open a context for {self._path}: {reason}. Set a smaller model.n_ctx or n_batch."
            raise ModelFileError(msg)
        self._context = context
        llama_cpp.llama_set_abort_callback(context, self._is_interrupted, ctypes.cast(self._flag, ctypes.c_void_p))
        self.n_batch: int = llama_cpp.llama_n_batch(context)
        self.n_sequences: int = llama_cpp.llama_n_seq_max(context)

    def _arrays(self, n: int) -> None:
        """Batch arrays, made once; llama.cpp reads them in place."""
        self._tokens, self._positions = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self._n_sequences, self._outputs = np.zeros(n, np.int32), np.zeros(n, np.int8)
        self._sequences = np.zeros(n, np.uint64)  # addresses of each token's sequence ids
        int_pointer = ctypes.POINTER(ctypes.c_int32)
        batch: Any = llama_cpp.llama_batch()
        batch.token = self._tokens.ctypes.data_as(int_pointer)
        batch.pos = self._positions.ctypes.data_as(int_pointer)
        batch.n_seq_id = self._n_sequences.ctypes.data_as(int_pointer)
        batch.seq_id = self._sequences.ctypes.data_as(ctypes.POINTER(int_pointer))
        batch.logits = self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))
        self._batch = batch

    def _run(self, function: Callable[[Any, Any], int], rows: Rows) -> None:
        """Let llama.cpp compute rows, which were checked.

        Args:
            function: Its function for that.
            rows: The rows.

        Raises:
            AbortedError: It was interrupted.
            DecodeError: llama.cpp failed.
        """
        n = len(rows)
        self._tokens[:n], self._positions[:n], self._outputs[:n] = rows.tokens, rows.positions, rows.outputs
        self._n_sequences[:n] = rows.n_sequences
        ids = rows.sequences  # stays alive, and so in place, until the call returns
        self._sequences[:n] = ids.ctypes.data + ids.itemsize * rows.first_sequence
        self._batch.n_tokens = n
        code = function(self._context, self._batch)
        if code == _ABORTED:
            msg = f"A decode of {n} tokens was interrupted."
            raise AbortedError(msg)
        if code != 0:
            msg = f"llama.cpp returned {code} for {n} tokens: {self._log.last_error() or 'no reason given'}."
            raise DecodeError(msg)

    def load_adapter(self, name: str, path: Path, scale: float) -> None:
        """Load a LoRA adapter under a name; it is not active yet."""
        if not self.size.n_gpu_layers and path.exists():
            need_memory(path.stat().st_size + _IN_USE, f"Adapter {path}")
        with signals_held():
            adapter = llama_cpp.llama_adapter_lora_init(self._model, os.fsencode(path))
        if not adapter:
            reason = self._log.last_error() or "no reason given"
            msg = f"llama.cpp cannot load adapter {path}: {reason}. Get or export it again for this base model."
            raise ModelFileError(msg)
        self._adapters[name] = (adapter, scale)

    @signals_held()
    def unload_adapter(self, name: str) -> None:
        """Free an adapter; one that is active is taken off first. What it computed is the caller's to forget."""
        if name == self.active:
            # A freed adapter must not stay attached: a new one at the same address would pass for it.
            self.activate("")
        adapter, _ = self._adapters.pop(name)
        llama_cpp.llama_adapter_lora_free(adapter)

    def activate(self, name: str) -> bool:
        """Make one adapter the active one, or none with an empty name; True if that was a change."""
        self._check_open()
        if name == self.active:
            return False
        if name:
            adapter, scale = self._adapters[name]
            pointers = (llama_cpp.llama_adapter_lora_p_ctypes * 1)(adapter)
            llama_cpp.llama_set_adapters_lora(self._context, pointers, 1, (ctypes.c_float * 1)(scale))
        else:
            llama_cpp.llama_set_adapters_lora(self._context, None, 0, None)
        self.active = name
        return True

    def interrupt(self) -> None:
        """End the decode that runs, and all that follow until ``resume``; from any thread."""
        self._flag[0] = b"\1"

    def resume(self) -> None:
        """Let decodes run again."""
        self._flag[0] = b"\0"

    @signals_held()
    def close(self) -> None:
        """Free everything; a second call does nothing."""
        self._close_context()
        if self._model:
            for adapter, _ in self._adapters.values():
                llama_cpp.llama_adapter_lora_free(adapter)
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _close_context(self) -> None:
        if self._context is not None:
            # Freed adapters must not stay attached: a new one at the same address would pass for them.
            llama_cpp.llama_set_adapters_lora(self._context, None, 0, None)
            llama_cpp.llama_free(self._context)
            self._context = None

    def _check_open(self) -> None:
        if self._context is None:
            msg = "The model is closed; open a new engine."
            raise ClosedError(msg)


def _abort_flag() -> tuple[Any, Any]:
    """Two bytes, and a function that llama.cpp calls after every node to ask whether the first is set.

    The function is the C library's ``strlen``: one of Python's own would wait for its lock each time.
    """
    flag = (ctypes.c_char * 2)()
    if os.name == "posix":
        address = ctypes.cast(ctypes.CDLL(None).strlen, ctypes.c_void_p).value or 0
        return flag, llama_cpp.ggml_abort_callback(address)
    return flag, llama_cpp.ggml_abort_callback(lambda _: flag[0] != b"\0")
