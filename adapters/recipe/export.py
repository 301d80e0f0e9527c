"""From torch weights to GGUF files: the base model, and one LoRA file an adapter."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf.constants import TokenType
from tokenizers import Tokenizer

from adapters.recipe.model import Judge, Linear
from adapters.recipe.vocabulary import SPECIALS
from cascade.files import sha256_of
from cascade.training.adapter_file import AdapterHead, add_head

ARCHITECTURE = "qwen3"
# Hugging Face's name of a projection -> llama.cpp's.
PROJECTIONS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
NORMS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
}
NAME = "cascade-embedded"


def export_base(model: Judge, tokenizer: Tokenizer, path: Path) -> None:
    """Write the base model, matrices in F16, norms in F32.

    The weights are rounded to BF16 before, which F16 holds as well. In BF16 llama.cpp rounds
    activations to 8 bits of mantissa, and the same prompt in another batch then moved p(yes) by up
    to 9e-4; in F16 by 5e-5, at 0.8 of the speed.
    """
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    shape = model.shape
    writer.add_name(NAME)
    writer.add_license("MIT")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(shape.max_position_embeddings)
    writer.add_embedding_length(shape.hidden_size)
    writer.add_block_count(shape.num_hidden_layers)
    writer.add_feed_forward_length(shape.intermediate_size)
    writer.add_head_count(shape.num_attention_heads)
    writer.add_head_count_kv(shape.num_key_value_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)
    _add_vocabulary(writer, tokenizer)
    _add_matrix(writer, "token_embd.weight", model.model.embed_tokens.weight)
    _add_vector(writer, "output_norm.weight", model.model.norm.weight)
    for number, layer in enumerate(model.model.layers):
        for source, target in PROJECTIONS.items():
            _add_matrix(writer, f"blk.{number}.{target}.weight", layer.get_submodule(source).weight)
        for source, target in NORMS.items():
            _add_vector(writer, f"blk.{number}.{target}.weight", layer.get_submodule(source).weight)
    _close(writer)


def export_adapter(
    model: Judge, path: Path, base: Path, rank: int, markers: Sequence[str], invocation: tuple[int, ...] = ()
) -> None:
    """Write an adapter.

    Args:
        model: The base model with the adapter.
        path: The file to write.
        base: The base model's file.
        rank: The adapter's rank.
        markers: Of the questions that it was trained on.
        invocation: The tokens that switch an activated adapter on; none for a plain one.
    """
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    scale = {module.scale for module in model.modules() if isinstance(module, Linear)}.pop()
    head = AdapterHead(
        name=path.stem,
        base_name=NAME,
        base_sha256=sha256_of(base),
        alpha=scale * rank,
        invocation=invocation,
        markers=tuple(markers),
    )
    add_head(writer, head)
    writer.add_license("MIT")
    for number, layer in enumerate(model.model.layers):
        for source, target in PROJECTIONS.items():
            linear = layer.get_submodule(source)
            name = f"blk.{number}.{target}.weight"
            writer.add_tensor(f"{name}.lora_a", linear.lora_A.detach().numpy().astype(np.float16))
            writer.add_tensor(f"{name}.lora_b", linear.lora_B.detach().numpy().astype(np.float16))
    _close(writer)


def _add_vocabulary(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size())]
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([TokenType.CONTROL if token in SPECIALS else TokenType.NORMAL for token in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokens.index("<|endoftext|>"))
    writer.add_pad_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)


def _add_matrix(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    writer.add_tensor(name, weight.detach().numpy().astype(np.float16))


def _add_vector(writer: gguf.GGUFWriter, name: str, weight: torch.Tensor) -> None:
    writer.add_tensor(name, weight.detach().float().numpy())


def _close(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
