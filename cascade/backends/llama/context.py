"""How much memory a llama.cpp context takes, before there is one."""

from __future__ import annotations

import ctypes
from typing import Any

from cascade.backends.llama.library import llama_cpp

_F16, _F32 = 2, 4
_STREAMS = 6  # tensors of a token's width that are held at once, as far as measured


def context_bytes(model: Any, params: Any) -> int:
    """About how many bytes a context takes: its cache, its logits, and what lies between layers."""
    name = _text(model, "general.architecture")
    heads, width = llama_cpp.llama_model_n_head(model), llama_cpp.llama_model_n_embd(model)
    size = width // max(heads, 1)
    key, value = (_number(model, f"{name}.attention.{part}_length", size) for part in ("key", "value"))
    kv_heads, layers = llama_cpp.llama_model_n_head_kv(model), llama_cpp.llama_model_n_layer(model)
    cache = params.n_ctx * layers * kv_heads * (key + value) * _F16
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    logits = 2 * params.n_outputs_max * n_vocab * _F32  # where they are computed, and where they are read
    hidden = _number(model, f"{name}.feed_forward_length", 4 * width)
    scores = 0 if params.flash_attn_type else heads * params.n_ctx
    return int(cache + logits + params.n_ubatch * (_STREAMS * width + 2 * hidden + scores) * _F32)


def encoder_bytes(model: Any, params: Any) -> int:
    """The same for an encoder, which has no cache: llama.cpp has room for logits of every token all the same."""
    name, width = _text(model, "general.architecture"), llama_cpp.llama_model_n_embd(model)
    n_vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    hidden = _number(model, f"{name}.feed_forward_length", 4 * width)
    scores = 0 if params.flash_attn_type else llama_cpp.llama_model_n_head(model) * params.n_ubatch
    return int(params.n_ubatch * (n_vocab + params.n_ubatch + _STREAMS * width + 2 * hidden + scores) * _F32)


def _number(model: Any, key: str, default: int) -> int:
    """A number of the model's metadata; the default where it has none, or one for each layer."""
    text = _text(model, key)
    return int(text) if text.isdecimal() else default


def _text(model: Any, key: str) -> str:
    buffer = ctypes.create_string_buffer(64)
    n = llama_cpp.llama_model_meta_val_str(model, key.encode(), buffer, len(buffer))
    return buffer.value.decode("utf-8", "replace") if n > 0 else ""
