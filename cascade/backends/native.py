"""llama.cpp through llama-cpp-python's low-level API: one model, one context, its adapters.

Most misuse of llama.cpp aborts the process instead of returning an error, so every argument is
checked here before it crosses. Nothing in this module is thread-safe except ``LlamaTokenizer``:
one thread owns a context.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray

from cascade.errors import ClosedError, DecodeError, ModelFileError
from cascade.logs import get_logger

log = get_logger("cascade.llama")

_ERROR_LEVEL = 3
_USER_DEFINED = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_PAD = 256  # llama.cpp rounds n_ctx up to this
_MAX_SEQUENCES = 256  # LLAMA_MAX_SEQ
_UBATCH = 512


class NativeLog:
    """llama.cpp's log: debug lines to structlog, the last errors kept for messages."""

    def __init__(self) -> None:
        self._errors: deque[str] = deque(maxlen=8)
        self._is_verbose = log.isEnabledFor(logging.DEBUG)  # asked once: llama.cpp logs in its hot path
        self._callback = llama_cpp.llama_log_callback(self._take)
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def _take(self, level: int, text: bytes, _data: object) -> None:
        if level != _ERROR_LEVEL and not self._is_verbose:
            return
        line = text.decode("utf-8", "replace").strip()
        if level == _ERROR_LEVEL:
            self._errors.append(line)
        if line:
            log.debug("llama.cpp", message=line)

    def last_error(self) -> str:
        """The latest error line, which is then forgotten; empty if there is none."""
        return self._errors.pop() if self._errors else ""


@cache
def native_log() -> NativeLog:
    """The process's one log hook, installed on first use; llama.cpp has a single slot for it."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    llama_cpp.llama_backend_init()
    return NativeLog()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSize:
    """How large a context is and how it computes.

    Attributes:
        n_ctx: Cells of its KV cache.
        n_seq_max: Sequences, 2 to 256.
        n_batch: Most tokens of one decode.
        n_threads: Threads; 0 for all cores this process may use.
        n_gpu_layers: Layers on a GPU; -1 for all.
        flash_attention: Whether masked tiles of the shared cache are skipped.
    """

    n_ctx: int
    n_seq_max: int
    n_batch: int
    n_threads: int = 0
    n_gpu_layers: int = 0
    flash_attention: bool = True


@dataclass(slots=True)
class Rows:
    """Tokens to decode: parallel arrays of one length, in the order of decoding.

    Attributes:
        tokens: Token ids.
        positions: Position of each in its sequence.
        sequences: Sequence of each.
        outputs: Whether logits are wanted there.
    """

    tokens: NDArray[np.int32]
    positions: NDArray[np.int32]
    sequences: NDArray[np.int32]
    outputs: NDArray[np.int8]

    @staticmethod
    def of(runs: Sequence[tuple[Sequence[int], int, int, bool]]) -> Rows:
        """From runs of (token ids, first position, sequence, whether the last token is an output)."""
        lengths = np.fromiter((len(run[0]) for run in runs), np.int64, len(runs))
        ends = np.cumsum(lengths)
        starts = np.repeat(ends - lengths, lengths)
        total = int(lengths.sum())
        first = np.fromiter((run[1] for run in runs), np.int64, len(runs))
        sequences = np.fromiter((run[2] for run in runs), np.int32, len(runs))
        outputs = np.zeros(total, np.int8)
        outputs[ends - 1] = np.fromiter((run[3] for run in runs), np.int8, len(runs))
        tokens = np.fromiter((token for run in runs for token in run[0]), np.int32, total)
        positions = (np.arange(total) - starts + np.repeat(first, lengths)).astype(np.int32)
        return Rows(tokens, positions, np.repeat(sequences, lengths), outputs)

    def __len__(self) -> int:
        return len(self.tokens)


class LlamaTokenizer:
    """A model's tokenizer behind the ``Tokenizer`` protocol; safe to call from any thread."""

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self._parsed_anyway = self._user_defined()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; see ``cascade.prompt.Tokenizer``."""
        if special:
            return self._tokenize(text, parse=True)
        return [token for part in self._apart(text) for token in self._tokenize(part, parse=False)]

    def text(self, token: int) -> str:
        """How the vocabulary writes a token.

        Raises:
            ModelFileError: There is no such token.
        """
        if not 0 <= token < self.n_vocab:
            msg = f"Token {token} is not in the vocabulary of {self.n_vocab} tokens."
            raise ModelFileError(msg)
        return str(llama_cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def _apart(self, text: str) -> list[str]:
        """A text cut so that llama.cpp finds no user-defined token in any part.

        With parse_special off it still parses those, such as Qwen3's <think>; a cut after the first
        character of each leaves nothing to find.
        """
        if self._parsed_anyway is None:
            return [text]
        parts = []
        while found := self._parsed_anyway.search(text):
            parts.append(text[: found.start() + 1])
            text = text[found.start() + 1 :]
        return [*parts, text]

    def _tokenize(self, text: str, *, parse: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, False, parse)
        if n < 0:
            buffer = (llama_cpp.llama_token * -n)()
            n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, -n, False, parse)
        return list(buffer[:n])

    def _user_defined(self) -> re.Pattern[str] | None:
        texts = [
            self.text(token)
            for token in range(self.n_vocab)
            if llama_cpp.llama_vocab_get_attr(self._vocab, token) & _USER_DEFINED
        ]
        long = sorted((text for text in texts if len(text) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, long))) if long else None


class NativeModel:
    """A loaded model with one context and any number of adapters.

    Raises:
        ModelFileError: llama.cpp refused a file.
    """

    def __init__(self, path: Path, size: ContextSize) -> None:
        self._log = native_log()
        self.size = size
        self._context: Any = None
        self._adapters: dict[str, tuple[Any, float]] = {}
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = size.n_gpu_layers if size.n_gpu_layers >= 0 else 1_000
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self._model:
            msg = f"llama.cpp cannot load {path}: {self._log.last_error() or 'no reason given'}."
            raise ModelFileError(msg)
        self.tokenizer = LlamaTokenizer(llama_cpp.llama_model_get_vocab(self._model))
        self.active = ""
        self._open_context(path)
        self._arrays(size.n_batch)

    def _open_context(self, path: Path) -> None:
        size = self.size
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = -(-size.n_ctx // _PAD) * _PAD
        params.n_batch = min(size.n_batch, params.n_ctx)
        params.n_ubatch = min(_UBATCH, params.n_batch)
        params.n_seq_max = min(size.n_seq_max, _MAX_SEQUENCES)
        params.n_outputs_max = params.n_seq_max
        params.kv_unified = True
        params.flash_attn_type = 1 if size.flash_attention else 0
        params.n_threads = params.n_threads_batch = size.n_threads or len(os.sched_getaffinity(0))
        context = llama_cpp.llama_init_from_model(self._model, params)
        if not context:
            msg = f"llama.cpp cannot open a context for {path}: {self._log.last_error() or 'no reason given'}."
            raise ModelFileError(msg)
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self.n_cells: int = llama_cpp.llama_n_ctx(context)
        self.n_batch: int = llama_cpp.llama_n_batch(context)
        self.n_sequences: int = llama_cpp.llama_n_seq_max(context)

    def _arrays(self, n: int) -> None:
        """Batch arrays, made once; llama.cpp reads them in place."""
        self._rows = Rows(np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int8))
        self._n_seq = np.ones(n, np.int32)
        base, step = self._rows.sequences.ctypes.data, self._rows.sequences.itemsize
        self._seq_pointers = base + step * np.arange(n, dtype=np.uint64)
        int_pointer = ctypes.POINTER(ctypes.c_int32)
        self._batch = llama_cpp.llama_batch()
        self._batch.token = self._rows.tokens.ctypes.data_as(int_pointer)
        self._batch.pos = self._rows.positions.ctypes.data_as(int_pointer)
        self._batch.n_seq_id = self._n_seq.ctypes.data_as(int_pointer)
        self._batch.seq_id = self._seq_pointers.ctypes.data_as(ctypes.POINTER(int_pointer))
        self._batch.logits = self._rows.outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8))

    def load_adapter(self, name: str, path: Path, scale: float) -> None:
        """Load a LoRA adapter under a name; it is not active yet."""
        adapter = llama_cpp.llama_adapter_lora_init(self._model, str(path).encode())
        if not adapter:
            msg = f"llama.cpp cannot load adapter {path}: {self._log.last_error() or 'no reason given'}."
            raise ModelFileError(msg)
        self._adapters[name] = (adapter, scale)

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

    def fork(self, source: int, target: int, end: int) -> None:
        """Let a sequence share another's cells from position 0 up to ``end``."""
        self._check_sequence(source)
        self._check_sequence(target)
        llama_cpp.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def cut(self, sequence: int, start: int = 0) -> None:
        """Take a sequence off its cells from a position on."""
        self._check_sequence(sequence)
        llama_cpp.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def clear(self) -> None:
        """Empty the cache."""
        self._check_open()
        llama_cpp.llama_memory_clear(self._memory, False)

    def decode(self, rows: Rows, labels: tuple[int, int]) -> NDArray[np.float32]:
        """Decode at most ``n_batch`` rows in one call.

        Returns:
            (n_outputs, 2) logits of the two labels at the output rows, in order.

        Raises:
            DecodeError: The rows are out of bounds (nothing was touched), or llama.cpp failed (what
                the cache then holds is unknown: clear it).
        """
        n = len(rows)
        self._check_rows(rows, labels)
        own = self._rows
        own.tokens[:n], own.positions[:n], own.sequences[:n] = rows.tokens, rows.positions, rows.sequences
        own.outputs[:n] = rows.outputs
        self._batch.n_tokens = n
        code = llama_cpp.llama_decode(self._context, self._batch)
        if code != 0:
            msg = f"llama_decode returned {code} for {n} tokens: {self._log.last_error() or 'no reason given'}."
            raise DecodeError(msg)
        n_outputs = int(rows.outputs.sum())
        if not n_outputs:
            return np.empty((0, 2), np.float32)
        pointer = llama_cpp.llama_get_logits(self._context)
        table = np.ctypeslib.as_array(pointer, shape=(n_outputs, self.tokenizer.n_vocab))
        return np.array(table[:, labels], dtype=np.float32)

    def close(self) -> None:
        """Free everything; a second call does nothing."""
        if self._context is not None:
            # Freed adapters must not stay attached: a new one at the same address would pass for them.
            llama_cpp.llama_set_adapters_lora(self._context, None, 0, None)
            for adapter, _ in self._adapters.values():
                llama_cpp.llama_adapter_lora_free(adapter)
            llama_cpp.llama_free(self._context)
            self._context = None
        if self._model:
            llama_cpp.llama_model_free(self._model)
            self._model = None

    def _check_open(self) -> None:
        if self._context is None:
            msg = "The model is closed; open a new engine."
            raise ClosedError(msg)

    def _check_sequence(self, sequence: int) -> None:
        self._check_open()
        if not 0 <= sequence < self.n_sequences:
            msg = f"Sequence {sequence} is outside 0..{self.n_sequences - 1}."
            raise DecodeError(msg)

    def _check_rows(self, rows: Rows, labels: tuple[int, int]) -> None:
        self._check_open()
        n = len(rows)
        if not 0 < n <= self.n_batch:
            msg = f"A decode of {n} tokens is outside 1..{self.n_batch}."
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
