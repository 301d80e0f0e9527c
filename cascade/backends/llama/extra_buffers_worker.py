"""The process that tries llama.cpp's extra buffer types: it may die of it.

It writes the logits that a tiny quantised model gives without them, and then with them, as lines of JSON.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from numpy.typing import NDArray

from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import ContextSize, NativeModel

_WIDTH, _HEADS, _VOCABULARY = 256, 4, 64  # K-quants have blocks of 256
_N_TOKENS = 40
_HALVES: dict[Type, dict[int, float]] = {
    Type.Q4_0: {0: 0.02},
    Type.Q4_1: {0: 0.02, 2: -0.15},
    Type.Q8_0: {0: 0.001},
    Type.Q4_K: {0: 2e-4, 2: 1.5e-3},
    Type.Q5_K: {0: 1e-4, 2: 1.5e-3},
    Type.Q6_K: {208: 1e-4},
    Type.IQ4_XS: {0: 1e-4},
}  # types that have kernels for AMX -> offset of each half-precision scale in a block, and a value of fit size
_PROJECTIONS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def write_tiny_model(path: Path) -> Path:
    """A qwen3 model of one layer whose seven projections are in the seven types that have kernels for AMX."""
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_context_length(256)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(_WIDTH)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_key_length(_WIDTH // _HEADS)
    writer.add_value_length(_WIDTH // _HEADS)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"token {at}" for at in range(_VOCABULARY)])
    writer.add_token_merges(["t o"])
    writer.add_eos_token_id(0)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    noise = np.random.default_rng(0)
    writer.add_tensor("token_embd.weight", noise.normal(size=(_VOCABULARY, _WIDTH)).astype(np.float32))
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    for name, size in (("attn_norm", _WIDTH), ("ffn_norm", _WIDTH)):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(size, np.float32))
    for name in ("attn_q_norm", "attn_k_norm"):
        writer.add_tensor(f"blk.0.{name}.weight", np.ones(_WIDTH // _HEADS, np.float32))
    for name, kind in zip(_PROJECTIONS, _HALVES, strict=True):
        writer.add_tensor(f"blk.0.{name}.weight", _blocks(kind, _WIDTH, noise), raw_dtype=kind)
    writer.add_tensor("output.weight", _blocks(Type.Q8_0, _VOCABULARY, noise), raw_dtype=Type.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _blocks(kind: Type, n_rows: int, noise: np.random.Generator) -> NDArray[np.uint8]:
    """Rows of quantised weights: any bytes are, as long as the scales are numbers."""
    values, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = noise.integers(0, 256, (n_rows, _WIDTH // values, size), dtype=np.uint8)
    for offset, scale in _HALVES[kind].items():
        blocks[:, :, offset : offset + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    return blocks.reshape(n_rows, -1)


def logits(path: Path, *, use_extra_bufts: bool) -> list[float]:
    """Logits of two tokens after each of many one-token prompts decoded together, and after one alone."""
    size = ContextSize(n_ctx=256, n_seq_max=_N_TOKENS, n_batch=64, n_threads=2, use_extra_bufts=use_extra_bufts)
    native = NativeModel(path, size)
    try:
        runs = [Run(tokens=[at], start=0, sequences=[at], is_output=True) for at in range(_N_TOKENS)]
        together = native.decode(Rows.of(runs), (0, 1))
        native.clear()
        alone = native.decode(Rows.of(runs[:1]), (0, 1))
        return [float(value) for value in np.concatenate([together, alone]).flat]
    finally:
        native.close()


def main() -> int:
    """Try; see the module."""
    try:
        import resource  # noqa: PLC0415 - POSIX only

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a death is expected, and nobody wants its core
    except ImportError:
        pass
    with tempfile.TemporaryDirectory() as folder:
        path = write_tiny_model(Path(folder) / "tiny.gguf")
        for use_extra_bufts in (False, True):
            print(json.dumps(logits(path, use_extra_bufts=use_extra_bufts)), flush=True)  # noqa: T201 - the parent reads it
    return 0


if __name__ == "__main__":
    sys.exit(main())
