"""A GGUF file's vocabulary without its weights: for prompts whose answers come from elsewhere."""

from __future__ import annotations

import os
import weakref
from pathlib import Path

from cascade.backends.llama_library import llama_cpp
from cascade.backends.native_log import native_log
from cascade.backends.native_tokenizer import LlamaTokenizer
from cascade.errors import ModelFileError


def load_vocabulary(path: Path) -> LlamaTokenizer:
    """The tokenizer of a model file; what it holds of llama.cpp's is freed with it.

    Raises:
        ModelFileError: llama.cpp refused the file.
    """
    log = native_log()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        msg = f"llama.cpp cannot load {path}: {log.last_error() or 'no reason given'}. Get or export it again."
        raise ModelFileError(msg)
    tokenizer = LlamaTokenizer(llama_cpp.llama_model_get_vocab(model))
    weakref.finalize(tokenizer, llama_cpp.llama_model_free, model)
    return tokenizer
