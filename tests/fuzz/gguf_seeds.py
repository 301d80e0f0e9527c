"""Sound GGUF files, which fuzzing damages: models of several widths, vocabularies and architectures, and adapters."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from gguf import GGUFValueType

from cascade.models.base_model import ARCHITECTURES
from tests.fuzz.gguf_document import STRING, Document, Tensor, read_document
from tests.fuzz.grown_models import grown_model
from tests.helpers.gguf_files import BYTES, TOKENS, Lora, write_adapter, write_model

_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6  # types of tokens
_WITH_EXPERTS = frozenset(
    "dbrx deepseek ernie4_5-moe glm4moe gpt-oss grok hunyuan-moe phimoe qwen2moe qwen3moe".split()
)
KINDS = ("tiny", "tiny", "tiny", "wide", "untied", "sentencepiece", "gemma4")
"""What ``model`` knows."""


INVOCATION = (TOKENS.index("o"), TOKENS.index("k"))
"""What switches the activated adapter on."""


@cache
def model(kind: str) -> Document:
    """A model.

    ``tiny``: as tests have it, 32 wide.
    ``wide``: 256 wide, so that matrices can have every type that has blocks.
    ``untied``: with an output matrix of its own, and experts.
    ``sentencepiece``, ``gemma4``: with another kind of vocabulary.
    """
    match kind:
        case "tiny":
            with tempfile.TemporaryDirectory() as folder:
                return read_document(write_model(Path(folder, "tiny.gguf")))
        case "wide":
            return grown_model("qwen3", width=256)
        case "untied":
            return grown_model("qwen2moe", has_experts=True)
        case "sentencepiece":
            return _sentencepiece(grown_model("llama"))
    found = grown_model("qwen2")
    copy = Document(list(found.values), list(found.tensors))
    copy.put("tokenizer.ggml.model", STRING, kind.encode())
    return copy


@cache
def of_architecture(name: str) -> Document:
    """A model of an architecture that runs here."""
    return grown_model(name, has_experts=name in _WITH_EXPERTS)


ARCHITECTURE_NAMES = tuple(sorted(ARCHITECTURES))


@cache
def adapter(kind: str) -> Document:
    """An adapter for the tiny model: ``plain``, or ``activated``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "lora.gguf")
        return read_document(write_adapter(path, Lora(invocation=INVOCATION if kind == "activated" else ())))


def _sentencepiece(found: Document) -> Document:
    """A model with a vocabulary of pieces, scores and bytes."""
    pieces = [char.encode() for char in BYTES[:94]]
    pieces += ["\u2581".encode(), "\u2581yes".encode(), "\u2581no".encode(), b"yes", b"no", b"ye", b"es"]
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256)), *pieces]
    types = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * 256, *[_NORMAL] * len(pieces)]
    copy = Document(list(found.values), [])
    copy.put("tokenizer.ggml.model", STRING, b"llama")
    copy.put("tokenizer.ggml.tokens", STRING, *tokens, is_array=True)
    copy.put("tokenizer.ggml.token_type", GGUFValueType.INT32, *types, is_array=True)
    copy.put("tokenizer.ggml.scores", GGUFValueType.FLOAT32, *(-float(at) for at in range(len(tokens))), is_array=True)
    for tensor in found.tensors:
        width, rows = (*tensor.shape, 1)[:2]
        is_vocabulary = tensor.name in {b"token_embd.weight", b"output.weight"}
        data = (tensor.data * (len(tokens) // rows + 1))[: 2 * width * len(tokens)] if is_vocabulary else tensor.data
        shape = [width, len(tokens)] if is_vocabulary else list(tensor.shape)
        copy.tensors.append(Tensor(tensor.name, shape, tensor.type, data))
    return copy
