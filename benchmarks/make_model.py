"""A model of Qwen3-0.6B's exact geometry with random weights, and LoRA adapters for it.

    python -m benchmarks.make_model FOLDER [--type BF16] [--layers 28]

Speed does not depend on the values of weights, so this measures what the real model would cost
without a download. FOLDER gets ``base-TYPE.gguf``, an activated and a plain adapter of rank 16 for
every question of the shipped cascades, and two configs, ``activated.toml`` and ``plain.toml``, which
name them. Its answers mean nothing: the harness takes the branches from the workload.

The vocabulary is the embedded model's with unused tokens up to Qwen3's 151,936, so that the same
text is as many tokens under both.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType
from gguf.constants import GGUFValueType, TokenType
from gguf.quants import quantize
from numpy.typing import NDArray

from benchmarks.script import run_script
from benchmarks.shipped import questions_alone_text
from cascade.config.schema import shipped_config

RANK = 16
ALPHA = 32.0
NAME = "random-weights"
TYPES = {
    "BF16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "F16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "Q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "Q4_0": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
_QUESTIONS = ("relevant", "primary", "supporting", "dependency", "co_change", "metadata")
_CASCADES = ("[cascade.precision]", "[cascade.scope]")  # those that ask these questions
_ROWS = 128  # rows that are drawn and quantised; a larger matrix repeats them


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Sizes of a Qwen3 model; the defaults are those of Qwen3-0.6B's config.json."""

    n_layers: int = 28
    n_embd: int = 1024
    n_heads: int = 16
    n_kv_heads: int = 8
    head_size: int = 128
    n_ffn: int = 3072
    n_vocab: int = 151_936

    def projections(self) -> dict[str, tuple[int, int]]:
        """(outputs, inputs) of the projections of a layer, under llama.cpp's names."""
        n_q, n_kv = self.n_heads * self.head_size, self.n_kv_heads * self.head_size
        return {
            "attn_q": (n_q, self.n_embd),
            "attn_k": (n_kv, self.n_embd),
            "attn_v": (n_kv, self.n_embd),
            "attn_output": (self.n_embd, n_q),
            "ffn_gate": (self.n_ffn, self.n_embd),
            "ffn_up": (self.n_ffn, self.n_embd),
            "ffn_down": (self.n_embd, self.n_ffn),
        }


def write_set(folder: Path, kind: str = "BF16", geometry: Geometry | None = None) -> Path:
    """Write base model, adapters and configs.

    Args:
        folder: Where to; made if absent.
        kind: Format of the base model's matrices, a key of ``TYPES``.
        geometry: Sizes; Qwen3-0.6B's if None.

    Returns:
        The base model's path.
    """
    geometry = geometry or Geometry()
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"base-{kind}.gguf"
    write_base(base, kind, geometry)
    for at, name in enumerate(_QUESTIONS):
        write_adapter(folder / f"{name}-activated.gguf", geometry, seed=at, invocation=(_ask_token(),))
        write_adapter(folder / f"{name}-plain.gguf", geometry, seed=at)
    text = questions_alone_text(profile=False, is_elsewhere=False)
    tables = re.split(r"^(?=\[cascade\.\w+\]$)", text, flags=re.MULTILINE)
    cascades = "".join(table for table in tables if table.startswith(_CASCADES))
    for form in ("activated", "plain"):
        adapters = "\n".join(f'{name} = "{name}-{form}.gguf"' for name in _QUESTIONS)
        head = f'[model]\npath = "{base.name}"\nformat = "embedded"\n\n[adapters]\n{adapters}\n\n'
        (folder / f"{form}.toml").write_text(head + cascades, encoding="utf-8")
    return base


def write_base(path: Path, kind: str, geometry: Geometry) -> None:
    """Write a base model with random matrices."""
    rng = np.random.default_rng(0)
    form, file_type = TYPES[kind]
    writer = GGUFWriter(path, "qwen3")
    writer.add_name(NAME)
    writer.add_file_type(file_type)
    writer.add_context_length(32_768)
    writer.add_embedding_length(geometry.n_embd)
    writer.add_block_count(geometry.n_layers)
    writer.add_feed_forward_length(geometry.n_ffn)
    writer.add_head_count(geometry.n_heads)
    writer.add_head_count_kv(geometry.n_kv_heads)
    writer.add_key_length(geometry.head_size)
    writer.add_value_length(geometry.head_size)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    _add_vocabulary(writer, geometry.n_vocab)
    matrices = {"token_embd.weight": (geometry.n_vocab, geometry.n_embd)}
    vectors = {"output_norm.weight": geometry.n_embd}
    for layer in range(geometry.n_layers):
        matrices |= {f"blk.{layer}.{name}.weight": shape for name, shape in geometry.projections().items()}
        vectors |= {f"blk.{layer}.{name}.weight": geometry.n_embd for name in ("attn_norm", "ffn_norm")}
        vectors |= {f"blk.{layer}.{name}.weight": geometry.head_size for name in ("attn_q_norm", "attn_k_norm")}
    for name, size in vectors.items():
        writer.add_tensor(name, np.ones(size, np.float32))
    for name, shape in matrices.items():
        writer.add_tensor(name, _random(rng, shape, form), raw_dtype=form)
    _close(writer)


def write_adapter(path: Path, geometry: Geometry, seed: int, invocation: Sequence[int] = ()) -> None:
    """Write a random LoRA adapter on every projection; with ``invocation`` an activated one."""
    rng = np.random.default_rng(seed)
    writer = GGUFWriter(path, "qwen3")
    writer.add_type("adapter")
    writer.add_name(path.stem)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", ALPHA)
    writer.add_string("general.base_model.0.name", NAME)
    if invocation:
        key = "adapter.alora.invocation_tokens"
        writer.add_key_value(key, list(invocation), GGUFValueType.ARRAY, GGUFValueType.UINT32)
    for layer in range(geometry.n_layers):
        for name, (n_out, n_in) in geometry.projections().items():
            tensor = f"blk.{layer}.{name}.weight"
            writer.add_tensor(f"{tensor}.lora_a", (rng.standard_normal((RANK, n_in)) * 0.02).astype(np.float16))
            writer.add_tensor(f"{tensor}.lora_b", (rng.standard_normal((n_out, RANK)) * 0.02).astype(np.float16))
    _close(writer)


def _random(rng: np.random.Generator, shape: tuple[int, int], form: GGMLQuantizationType) -> NDArray[np.generic]:
    drawn = (rng.standard_normal((min(_ROWS, shape[0]), shape[1])) * 0.02).astype(np.float32)
    rows = quantize(drawn, form)
    return np.resize(rows, (shape[0], rows.shape[1]))


def _add_vocabulary(writer: GGUFWriter, n_vocab: int) -> None:
    """The embedded model's tokens, then unused ones up to ``n_vocab``."""
    fields = _embedded().fields
    tokens = list(fields["tokenizer.ggml.tokens"].contents())
    types = list(fields["tokenizer.ggml.token_type"].contents())
    n_unused = n_vocab - len(tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens + [f"[unused {at}]" for at in range(n_unused)])
    writer.add_token_types(types + [int(TokenType.UNUSED)] * n_unused)
    writer.add_token_merges(list(fields["tokenizer.ggml.merges"].contents()))
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def _ask_token() -> int:
    tokens: list[str] = list(_embedded().fields["tokenizer.ggml.tokens"].contents())
    return tokens.index("<|ask|>")


def _embedded() -> GGUFReader:
    return GGUFReader(shipped_config().parent / "embedded.gguf")


def _close(writer: GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Write a set into a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--type", choices=TYPES, default="BF16", help="format of the base model's matrices")
    parser.add_argument("--layers", type=int, default=28, help="fewer layers make a smaller model")
    options = parser.parse_args()
    write_set(options.folder, options.type, Geometry(n_layers=options.layers))


if __name__ == "__main__":
    run_script(main)
