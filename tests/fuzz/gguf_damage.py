"""Strategies that damage a GGUF file field by field."""

from __future__ import annotations

import copy
import struct
from typing import Any

import gguf
import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from tests.fuzz.damage import TEXTS
from tests.fuzz.gguf_document import ARRAY, STRING, Document, Tensor, Value

COUNTS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 64, 128, 255, 256, 257, 259, 260, 261, 511, 512, 513, 1024, 1025)
LARGE = (65_535, 2**20, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 32, 2**64 - 1)
FLOATS = (0.0, 1.0, -1.0, 0.5, 2.0, 1e-6, 1e6, 1e10, 1e38, -1e-6, 1e-40, float("inf"), float("-inf"), float("nan"))
KINDS = tuple(range(14))
TENSOR_TYPES = tuple(range(45))
RAW_TEXTS = (
    *(text.encode("utf-8", "surrogatepass") for text in TEXTS),
    *(b"\xff\xfe", b"\xc3", b"a\0b", b"\0", b"x" * 64, b"default", b"qwen2", b"llama-bpe", b"gpt-2", b"deepseek-llm"),
    *(b"llama", b"gpt2", b"t5", b"bert", b"plamo2", b"rwkv", b"none", b"gemma4", b"hybriddna", b"whitespace", b"test"),
    *(b"model", b"adapter", b"lora", b"none", b"linear", b"yarn", b"longrope", b"tekken", b"superbpe", b"chatglm-bpe"),
    *(name.encode() for name in gguf.MODEL_ARCH_NAMES.values()),
)
_READ = ("{arch}.", "tokenizer.", "general.", "split.", "adapter.")
_NEW_KEYS = (  # of llama.cpp, which the package gguf does not know yet
    *("xielu.alpha_n", "{arch}.rope.scale_linear", "{arch}.classifier.pooling_type", "{arch}.hidden_activation"),
    *("tokenizer.ggml.suppress_tokens", "tokenizer.ggml.normalizer.lowercase", "general.tensor_extra.name"),
)
_KEYS = sorted(
    {
        *_NEW_KEYS,
        *(
            value
            for room in vars(gguf.Keys).values()
            if isinstance(room, type)
            for value in vars(room).values()
            if isinstance(value, str) and value.startswith(_READ)
        ),
    }
)
"""Every key that llama.cpp may read; ``{arch}`` stands for the architecture."""


@st.composite
def damaged_document(draw: DrawFn, sound: Document, most: int = 3) -> Document:
    """A file with up to so many fields damaged."""
    document = copy.deepcopy(sound)
    for _ in range(draw(st.integers(0, most))):
        if draw(st.integers(0, 2)):
            _damage_metadata(draw, document)
        elif document.tensors:
            _damage_tensors(draw, document)
    if draw(st.integers(0, 9)) == 0:
        _damage_frame(draw, document)
    return document


def _pick(draw: DrawFn, choices: Any) -> Any:
    return choices[draw(st.integers(0, len(choices) - 1))]


def _item(draw: DrawFn, type_: int) -> Any:
    """An item for a type, odd or not."""
    if type_ == STRING:
        return _pick(draw, RAW_TEXTS)
    if type_ in {6, 12}:
        return _pick(draw, FLOATS)
    if type_ == 7:
        return draw(st.booleans())
    return _pick(draw, COUNTS) if draw(st.integers(0, 3)) else _pick(draw, LARGE)


def _damage_metadata(draw: DrawFn, document: Document) -> None:
    values = document.values
    if not values:
        return
    at = draw(st.integers(0, len(values) - 1))
    value = values[at]
    match draw(st.integers(0, 11)):
        case 0:
            del values[at]
        case 1:
            values.insert(draw(st.integers(0, len(values))), copy.deepcopy(value))
        case 2:
            value.type = _pick(draw, KINDS)
            value.items = [_item(draw, value.type) for _ in value.items]
        case 3:
            value.is_array = not value.is_array
        case 4 | 5 if value.items:
            _damage_items(draw, value)
        case 6 if value.is_array:
            value.count = _pick(draw, COUNTS + LARGE)
        case 7:
            value.key = _pick(draw, RAW_TEXTS)
        case _:
            _add_known(draw, document)


def _damage_items(draw: DrawFn, value: Value) -> None:
    """Another item in a place; of an array also one less, one twice, or an end."""
    items = value.items
    place = draw(st.integers(0, len(items) - 1))
    match draw(st.integers(0, 7)) if value.is_array else 7:
        case 0:
            del items[place]
        case 1:
            items.insert(place, items[-1])
        case 2:
            del items[place:]
        case 3:
            items.append(_item(draw, value.type))
        case _:
            items[place] = _item(draw, value.type)


def _add_known(draw: DrawFn, document: Document) -> None:
    """A key that llama.cpp reads, with a value of any type, most often of a likely one."""
    given = next((value.items for value in document.values if value.key == b"general.architecture"), [])
    architecture = given[0].decode("utf-8", "replace") if given and isinstance(given[0], bytes) else "qwen3"
    key = _pick(draw, _KEYS).replace("{arch}", architecture)
    type_ = _pick(draw, (4, 4, 4, 6, 6, 5, 7, 8, *KINDS))
    if type_ == ARRAY:
        type_ = 4
    is_array = draw(st.integers(0, 3)) == 0
    document.put(
        key, type_, *(_item(draw, type_) for _ in range(draw(st.integers(0, 3)) if is_array else 1)), is_array=is_array
    )


def _damage_tensors(draw: DrawFn, document: Document) -> None:
    tensors = document.tensors
    at = draw(st.integers(0, len(tensors) - 1))
    tensor = tensors[at]
    match draw(st.integers(0, 8)):
        case 0:
            del tensors[at]
        case 1:
            tensors.insert(draw(st.integers(0, len(tensors))), copy.deepcopy(tensor))
        case 2:
            tensor.name = _pick(
                draw, (*RAW_TEXTS, *(other.name for other in tensors), tensor.name.replace(b"0", b"7"), tensor.name * 4)
            )
        case 3:
            tensor.offset = _pick(draw, COUNTS + LARGE)
        case 4:
            tensor.type = _pick(draw, TENSOR_TYPES)
            if draw(st.booleans()):
                tensor.fitted()
        case 5:
            tensor.data = tensor.data[: draw(st.integers(0, len(tensor.data)))]
        case 6:
            _fill(draw, tensor)
        case _:
            _reshape(draw, tensor)
            if draw(st.integers(0, 3)):
                tensor.fitted()


def _reshape(draw: DrawFn, tensor: Tensor) -> None:
    shape = tensor.shape
    match draw(st.integers(0, 4)):
        case 0:
            shape.reverse()
        case 1:
            shape.append(1)
        case 2 if shape:
            del shape[-1]
        case _ if shape:
            place = draw(st.integers(0, len(shape) - 1))
            shape[place] = _pick(draw, COUNTS if draw(st.integers(0, 3)) else LARGE)


def _fill(draw: DrawFn, tensor: Tensor) -> None:
    """Weights that are no numbers, too large, all zero, or any bytes."""
    match draw(st.integers(0, 3)):
        case 0:
            tensor.data = bytes(len(tensor.data))
        case 1:
            seed = draw(st.integers(0, 2**16))
            tensor.data = np.random.default_rng(seed).bytes(len(tensor.data))
        case _:
            code = {0: "<f", 1: "<e"}.get(tensor.type, "<H")
            number = _pick(
                draw, [number for number in FLOATS if code != "<e" or not 65_504 < abs(number) < float("inf")]
            )
            one = b"\xc0\x7f" if code == "<H" else struct.pack(code, number)
            tensor.data = (one * (len(tensor.data) // len(one) + 1))[: len(tensor.data)]


def _damage_frame(draw: DrawFn, document: Document) -> None:
    """What stands around the fields: magic, version, counts, and where the file ends."""
    match draw(st.integers(0, 5)):
        case 0:
            document.magic = _pick(draw, (b"GGUF", b"FUGG", b"", b"PK\3\4", b"GGU"))
        case 1:
            document.version = _pick(draw, (0, 1, 2, 4, 50_331_648, 2**32 - 1))
        case 2:
            document.n_values = _pick(draw, COUNTS + LARGE)
        case 3:
            document.n_tensors = _pick(draw, COUNTS + LARGE)
        case 4:
            document.tail = bytes(_pick(draw, COUNTS))
        case _:
            document.cut = draw(st.integers(0, len(document.packed())))
