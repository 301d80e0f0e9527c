"""Tiny GGUF files for tests, written by the gguf package, and parsed headers with single values changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGUFValueType
from numpy.typing import NDArray

from cascade.models.gguf import GGUFFile, MetaValue, Value, read_gguf

BYTES = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256), *range(256, 324))]
TOKENS = (*BYTES, "ye", "yes", "no", "<|endoftext|>")
WIDTH, HEADS, KV_HEADS, HEAD, HIDDEN, LAYERS = 32, 2, 1, 16, 64, 2
LINEAR = {
    "attn_q": (HEADS * HEAD, WIDTH),
    "attn_k": (KV_HEADS * HEAD, WIDTH),
    "attn_v": (KV_HEADS * HEAD, WIDTH),
    "attn_output": (WIDTH, HEADS * HEAD),
    "ffn_gate": (HIDDEN, WIDTH),
    "ffn_up": (HIDDEN, WIDTH),
    "ffn_down": (WIDTH, HIDDEN),
}


def write_model(
    path: Path, tokens: tuple[str, ...] = TOKENS, types: Mapping[str, int] | None = None, pre: str = "qwen2"
) -> Path:
    """A qwen3 model with two layers and a byte-level vocabulary, which llama.cpp loads.

    Args:
        path: The file.
        tokens: Its vocabulary.
        types: Token -> number of its type, where it is no plain one; the last token is a control token anyway.
        pre: How its tokenizer splits words.
    """
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_type("model")
    writer.add_name("Tiny")
    writer.add_context_length(2048)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(list(tokens))
    writer.add_token_types([(types or {}).get(token, 1) for token in tokens[:-1]] + [3])
    writer.add_token_merges(["y e", "ye s", "n o"])
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_pad_token_id(len(tokens) - 1)
    writer.add_add_bos_token(False)
    noise = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", noise.normal(size=(len(tokens), WIDTH)).astype(np.float16))
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        for name, size in (("attn_norm", WIDTH), ("ffn_norm", WIDTH), ("attn_q_norm", HEAD), ("attn_k_norm", HEAD)):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(size, np.float32))
        for name, shape in LINEAR.items():
            writer.add_tensor(f"blk.{layer}.{name}.weight", noise.normal(size=shape).astype(np.float16))
    return _finish(writer, path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """What a tiny adapter is made of; numpy shapes."""

    rank: int = 4
    alpha: float = 8.0
    architecture: str = "qwen3"
    targets: tuple[str, ...] = ("attn_q", "attn_v")
    invocation: tuple[int, ...] = ()
    base_sha256: str | None = None
    markers: tuple[str, ...] = ()
    extra: tuple[tuple[str, NDArray[Any]], ...] = ()


def write_adapter(path: Path, lora: Lora | None = None) -> Path:
    """An adapter for the tiny model."""
    lora = lora or Lora()
    writer = gguf.GGUFWriter(path, lora.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", lora.alpha)
    if lora.invocation:
        writer.add_key_value(
            "adapter.alora.invocation_tokens", list(lora.invocation), GGUFValueType.ARRAY, GGUFValueType.UINT32
        )
    if lora.base_sha256:
        writer.add_string("cascade.base_model.sha256", lora.base_sha256)
    if lora.markers:
        writer.add_array("cascade.markers", list(lora.markers))
    for layer in range(LAYERS):
        for name in lora.targets:
            n_out, n_in = LINEAR[name]
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_a", np.ones((lora.rank, n_in), np.float16))
            writer.add_tensor(f"blk.{layer}.{name}.weight.lora_b", np.ones((n_out, lora.rank), np.float16))
    for name, tensor in lora.extra:
        writer.add_tensor(name, tensor)
    return _finish(writer, path)


def write_plain(source: Path, path: Path) -> Path:
    """A copy of an activated adapter that acts on the whole prompt, as servers without activation apply it."""
    read = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(read.fields["adapter.lora.alpha"].contents()))
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    return _finish(writer, path)


def write_filled(source: Path, path: Path, value: float) -> Path:
    """A copy of an F16 adapter whose weights all have one value: NaN, or finite and so large that it overflows."""
    path.write_bytes(source.read_bytes())
    with path.open("r+b") as handle:
        for tensor in read_gguf(source).tensors.values():
            handle.seek(tensor.offset)
            handle.write(np.full(tensor.n_bytes // 2, value, "<f2").tobytes())
    return path


def write_without(source: Path, path: Path, *names: str) -> Path:
    """A copy of a model without some of its tensors."""
    read = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(path, str(read.fields["general.architecture"].contents()))
    for key, field in read.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind, *element = field.types
            writer.add_key_value(key, field.contents(), kind, element[-1] if element else None)
    for tensor in read.tensors:
        if tensor.name not in names:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
    return _finish(writer, path)


def changed(file: GGUFFile, values: Mapping[str, MetaValue | None]) -> GGUFFile:
    """The same header with other metadata; None takes a key away."""
    metadata = {key: value for key, value in {**file.metadata, **values}.items() if value is not None}
    return replace(file, metadata=metadata)


def text(value: str) -> MetaValue:
    """A text, as metadata."""
    return MetaValue(type=GGUFValueType.STRING, value=value)


def count(value: int) -> MetaValue:
    """An unsigned 32-bit number, as metadata."""
    return MetaValue(type=GGUFValueType.UINT32, value=value)


def single(type_: GGUFValueType, value: Value) -> MetaValue:
    """A value of any type, as metadata."""
    return MetaValue(type=type_, value=value)


def array(type_: GGUFValueType, *values: Any) -> MetaValue:
    """An array, as metadata."""
    items: Value = tuple(values) if type_ is GGUFValueType.STRING else np.array(values)
    return MetaValue(type=type_, value=items, is_array=True)


def _finish(writer: gguf.GGUFWriter, path: Path) -> Path:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
