"""A tiny model of any architecture, grown from what llama.cpp says that it lacks."""

from __future__ import annotations

import math
import os
import re
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path

import llama_cpp
import numpy as np
from gguf import GGUFValueType

from cascade.backends.llama.log import native_log
from tests.fuzz.gguf_document import STRING, Document, Tensor, read_document
from tests.helpers.gguf_files import LAYERS, write_model

_MOST = 200  # turns
_WRONG_KEY = re.compile(r"(?P<array>array )?key not found in model: (?P<key>\S+)")
_WRONG_TYPE = re.compile(r"key (?P<key>\S+) has wrong type \S+ but expected type (?P<type>\S+)")
_MISSING = re.compile(r"tensor '(?P<name>[^']+)' not found|missing tensor '(?P<other>[^']+)'")
_WRONG_SHAPE = re.compile(r"tensor '(?P<name>[^']+)' has wrong shape; expected *(?P<shape>[\d, ]+), got")
_TYPES = {"f32": (GGUFValueType.FLOAT32, 1e-5), "bool": (GGUFValueType.BOOL, False), "str": (GGUFValueType.STRING, b"")}
_OPTIONAL = {f"blk.{layer}.attn_{part}.weight".encode() for layer in range(LAYERS) for part in "qkv"}
"""What some architectures do not ask for and cannot do without."""

_EXPERTS = {"expert_count": 4, "expert_used_count": 2, "expert_feed_forward_length": 16}


class StuntedError(Exception):
    """A model that does not grow; its message is llama.cpp's."""


@cache
def grown_model(architecture: str, *, width: int = 32, has_experts: bool = False) -> Document:
    """A model with two layers and a byte-level vocabulary, which llama.cpp loads.

    Args:
        architecture: llama.cpp's name of it.
        width: Of the hidden state; a multiple of 32.
        has_experts: Whether its layers have experts.

    Raises:
        StuntedError: llama.cpp wants what this does not know how to give.
    """
    model = _seed(architecture, width)
    if has_experts:
        for key, number in _EXPERTS.items():
            model.put(f"{architecture}.{key}", GGUFValueType.UINT32, number)
    _grow(model)
    for name in sorted(_OPTIONAL - {tensor.name for tensor in model.tensors}):
        larger = Document(list(model.values), [*model.tensors, Tensor(name, [1], 0, bytes(4))])
        with suppress(StuntedError):  # it has no use for this one
            _grow(larger)
            model = larger
    return model


def _grow(model: Document) -> None:
    """Give a model what it lacks until llama.cpp loads it."""
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.gguf")
        for _ in range(_MOST):
            path.write_bytes(model.packed())
            complaint = _complaint(path)
            if not complaint:
                return
            if not _answer(model, complaint, noise):
                break
    raise StuntedError(complaint)


def _seed(architecture: str, width: int) -> Document:
    """A tiny model's metadata under another architecture, without tensors."""
    with tempfile.TemporaryDirectory() as folder:
        model = read_document(write_model(Path(folder, "seed.gguf")))
    name = architecture.encode()
    for value in model.values:
        value.key = value.key.replace(b"qwen3.", name + b".")
    model.put("general.architecture", STRING, name)
    sizes = {"embedding_length": width, "attention.key_length": width // 2, "attention.value_length": width // 2}
    for key, size in sizes.items():
        model.put(f"{architecture}.{key}", GGUFValueType.UINT32, size)
    model.tensors = []
    return model


def _complaint(path: Path) -> str:
    """What llama.cpp has against a model; empty where it loads it."""
    log = native_log()
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), llama_cpp.llama_model_default_params())
    if model:
        llama_cpp.llama_model_free(model)
        return ""
    return log.last_error()


def _answer(model: Document, complaint: str, noise: np.random.Generator) -> bool:
    """Give what is asked for; False where nobody knows what it is."""
    if found := _WRONG_TYPE.search(complaint):
        type_, item = _TYPES[found["type"]]
        model.put(found["key"], type_, item)
    elif found := _WRONG_KEY.search(complaint):
        model.put(
            found["key"], GGUFValueType.UINT32, *([1, 0] if found["array"] else [16]), is_array=bool(found["array"])
        )
    elif found := _MISSING.search(complaint):
        model.tensors.append(Tensor((found["name"] or found["other"]).encode(), [1], 0, bytes(4)))
    elif found := _WRONG_SHAPE.search(complaint):
        tensor = next(tensor for tensor in model.tensors if tensor.name == found["name"].encode())
        _shape(tensor, [int(length) for length in found["shape"].split(",")], noise)
    else:
        return False
    return True


def _shape(tensor: Tensor, shape: list[int], noise: np.random.Generator) -> None:
    """Give a tensor its shape, and weights: ones in vectors, small noise in matrices."""
    while len(shape) > 1 and shape[-1] == 1:
        shape.pop()
    size = math.prod(shape)
    tensor.shape = shape
    is_plain = len(shape) == 1 or b"norm" in tensor.name or tensor.name.endswith(b".bias")
    tensor.type = 0 if is_plain else 1
    weights = np.ones(size, np.float32) if is_plain else (0.2 * noise.normal(size=size)).astype(np.float16)
    tensor.data = weights.tobytes()
