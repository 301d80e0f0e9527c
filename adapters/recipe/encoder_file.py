"""Encoders as GGUF files that llama.cpp runs with pooling ``rank``. Weights are numpy arrays by torch's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from gguf.constants import TokenType
from numpy.typing import NDArray

Weights = Mapping[str, NDArray[np.float32]]
"""Name of a parameter, as ``adapters.recipe.encoder.Encoder`` has it -> its values."""

ARCHITECTURE = "bert"
LABEL = "yes"
_MATRICES = {
    "query": "attn_q", "key": "attn_k", "value": "attn_v", "output": "attn_output", "up": "ffn_up", "down": "ffn_down",
}  # fmt: skip
_NORMS = {"attention_norm": "attn_output_norm", "norm": "layer_output_norm"}

KINDS = ("F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")
"""How matrices may be stored: gguf quantises them, and llama.cpp looks up rows of them."""

DEFAULT_KIND = "Q8_0/Q4_1"
"""Layers and tokens: of what takes less than 20 MB for MiniLM-L6, what answers most like the trained weights."""


def kinds_of(kind: str) -> tuple[str, str]:
    """How layers and how the tokens' embeddings are stored.

    Args:
        kind: ``LAYERS/TOKENS``, each one of ``KINDS``; one alone is both.

    Raises:
        ValueError: It is something else.
    """
    layers, _, tokens = kind.partition("/")
    found = layers, tokens if "/" in kind else layers
    if set(found) - set(KINDS):
        msg = f"{kind!r} is no kind of weights. Give LAYERS/TOKENS or one for both, each of {', '.join(KINDS)}."
        raise ValueError(msg)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """Sizes of an encoder."""

    n_vocab: int
    n_layers: int = 6
    width: int = 384
    inner: int = 1536
    n_heads: int = 12
    n_positions: int = 512
    epsilon: float = 1e-12


def names(shape: EncoderShape) -> dict[str, str]:
    """Name of each parameter -> that of its tensor; matrices, vectors and norms alike."""
    modules = {"tokens": "token_embd", "positions": "position_embd", "kinds": "token_types"}
    found = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in modules.items()}
    others = {"norm": "token_embd_norm", "pooler": "cls", "head": "cls.output"}
    for number in range(shape.n_layers):
        parts = (_MATRICES | _NORMS).items()
        others |= {f"layers.{number}.{ours}": f"blk.{number}.{theirs}" for ours, theirs in parts}
    return found | {
        f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in others.items() for kind in ("weight", "bias")
    }


def write_encoder(path: Path, shape: EncoderShape, weights: Weights, vocabulary: Sequence[str], kind: str) -> None:
    """Write an encoder with its vocabulary.

    Args:
        path: Where it goes.
        shape: Its sizes.
        weights: Its parameters.
        vocabulary: Its tokens in order, as in BERT's vocab.txt.
        kind: How matrices are stored; see ``kinds_of``. Positions are looked up in F16 unless layers are F32; the head,
            norms and biases are F32.

    Raises:
        ValueError: The kind is unknown.
    """
    layers, tokens = kinds_of(kind)
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_name(path.stem)
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if layers == "F32" else f"MOSTLY_{layers}"])
    writer.add_context_length(shape.n_positions)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.n_heads)
    writer.add_layer_norm_eps(shape.epsilon)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK)
    writer.add_classifier_output_labels([LABEL])
    _add_vocabulary(writer, vocabulary)
    for ours, theirs in names(shape).items():
        values = np.asarray(weights[ours], np.float32)
        given = gguf.GGMLQuantizationType[_kind_of(theirs, values.ndim, layers, tokens)]
        writer.add_tensor(theirs, gguf.quants.quantize(values, given), raw_dtype=given)
    _close(writer)


def _kind_of(tensor: str, n_dims: int, layers: str, tokens: str) -> str:
    """How a tensor is stored."""
    if n_dims > 1 and (tensor.startswith("blk.") or tensor == "cls.weight"):
        return layers
    if tensor == "token_embd.weight":
        return tokens
    return "F16" if tensor == "position_embd.weight" and layers != "F32" else "F32"


def export_vocabulary(path: Path, vocabulary: Sequence[str]) -> None:
    """Write a file that has a vocabulary and no weights, which llama.cpp reads as a tokenizer."""
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    _add_vocabulary(writer, vocabulary)
    _close(writer)


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_encoder(path: Path) -> tuple[EncoderShape, Weights]:
    """The sizes and parameters of a file that ``write_encoder`` wrote, whatever its matrices are stored as."""
    reader = gguf.GGUFReader(path)
    value = {name: reader.fields[f"{ARCHITECTURE}.{key}"].contents() for name, key in _SIZES.items()}
    n_vocab = len(reader.fields["tokenizer.ggml.tokens"].contents())
    shape = EncoderShape(n_vocab=n_vocab, **value)
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    return shape, {
        ours: gguf.quants.dequantize(np.array(tensors[theirs].data), tensors[theirs].tensor_type)
        for ours, theirs in names(shape).items()
    }


_SIZES = {
    "n_layers": "block_count", "width": "embedding_length", "inner": "feed_forward_length",
    "n_heads": "attention.head_count", "n_positions": "context_length", "epsilon": "attention.layer_norm_epsilon",
}  # fmt: skip


def _add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Sequence[str]) -> None:
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("default")
    writer.add_token_type_count(2)
    writer.add_token_list([_as_llama_cpp(token) for token in vocabulary])
    writer.add_token_types([TokenType.CONTROL if _is_special(token) else TokenType.NORMAL for token in vocabulary])
    for token, add in (
        ("[CLS]", writer.add_bos_token_id), ("[SEP]", writer.add_sep_token_id), ("[UNK]", writer.add_unk_token_id),
        ("[PAD]", writer.add_pad_token_id),
    ):  # fmt: skip
        add(vocabulary.index(token))


def _is_special(token: str) -> bool:
    return token.startswith("[") and token.endswith("]") and len(token) > 2


def _as_llama_cpp(token: str) -> str:
    """Where BERT marks what goes on a word, llama.cpp marks what begins one."""
    if _is_special(token):
        return token
    return token[2:] if token.startswith("##") else "\u2581" + token
