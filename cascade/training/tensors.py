"""A model's tensors under the names and in the form of transformers, and those of llama.cpp. Pure numpy.

For the architecture ``llama`` the two have the rows of queries and keys in another order: llama.cpp rotates
neighbouring pairs, transformers the two halves of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, dequantize, get_tensor_name_map
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES
from numpy.typing import NDArray

from cascade.models.encoder import HEAD, TYPES
from cascade.models.gguf import GGUFFile

Floats = NDArray[np.float32]

DECODERS = ("llama", "qwen2", "qwen3")
ENCODERS = ("bert",)
ARCHITECTURES = (*DECODERS, *ENCODERS)
"""Architectures whose weights are read from GGUF here, and whose adapters are written."""

_OF_DECODER = (
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)
_OF_ENCODER = (
    *(f"attention.self.{name}" for name in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
_NUMBERS = {archicture: number for number, archicture in MODEL_ARCH_NAMES.items()}
_PERMUTED = ("llama",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What of a base model's header a training needs.

    Attributes:
        architecture: llama.cpp's name.
        settings: The config of transformers, but for its type.
    """

    architecture: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, file: GGUFFile) -> Geometry:
        """That of a model that was checked.

        Raises:
            ModelFileError: It is of an architecture that cannot be trained, has one matrix for queries, keys and
                values, or scaled positions.
        """
        architecture = file.require("general.architecture", GGUFValueType.STRING)
        if architecture not in ARCHITECTURES:
            known = ", ".join(ARCHITECTURES)
            file.refuse(f"has the architecture {architecture!r}; adapters are trained for {known}", "Give such a model")
        fused = next((name for name in file.tensors if name.endswith(".attn_qkv.weight")), None)
        if fused is not None:
            file.refuse(
                f"has queries, keys and values in one matrix ({fused}), and adapters are trained on each of the three",
                "Give a file that has attn_q, attn_k and attn_v apart",
            )
        if architecture in ENCODERS:
            return cls(architecture=architecture, settings=_encoder_settings(file, architecture))
        if "rope_freqs.weight" in file.tensors or f"{architecture}.rope.scaling.type" in file.metadata:
            file.refuse(
                "has scaled positions, which no adapter is trained with here", "Give a base model without rope scaling"
            )

        def number(key: str, *types: GGUFValueType) -> Any:
            return file.get(f"{architecture}.{key}", *(types or (GGUFValueType.UINT32,)))

        heads = number("attention.head_count")
        width = number("embedding_length")
        return cls(
            architecture=architecture,
            settings={
                "hidden_size": width,
                "intermediate_size": number("feed_forward_length"),
                "num_hidden_layers": number("block_count"),
                "num_attention_heads": heads,
                "num_key_value_heads": number("attention.head_count_kv") or heads,
                "head_dim": number("attention.key_length") or width // heads,
                "hidden_act": "silu",
                "rms_norm_eps": number("attention.layer_norm_rms_epsilon", GGUFValueType.FLOAT32),
                "max_position_embeddings": number("context_length"),
                "vocab_size": file.tensors["token_embd.weight"].shape[1],
                "rope_parameters": {
                    "rope_type": "default",
                    "rope_theta": number("rope.freq_base", GGUFValueType.FLOAT32) or 10_000.0,
                },
                "tie_word_embeddings": "output.weight" not in file.tensors,
            },
        )

    def ggml_name(self, name: str) -> str:
        """The name of a module of transformers, such as ``model.layers.0.mlp.up_proj``, in llama.cpp."""
        names = get_tensor_name_map(MODEL_ARCH(_NUMBERS[self.architecture]), self.settings["num_hidden_layers"])
        found = names.get_name(name)
        if found is None:
            msg = f"no tensor of {self.architecture} is called {name}"
            raise KeyError(msg)
        return str(found)

    def to_ggml(self, name: str, rows: Floats) -> Floats:
        """The rows of a matrix, or of a LoRA's second half, as llama.cpp has them."""
        heads = self._heads_turned(name)
        if not heads:
            return rows
        halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
        return halves.swapaxes(1, 2).reshape(rows.shape)

    def to_torch(self, name: str, rows: Floats) -> Floats:
        """The reverse of ``to_ggml``."""
        heads = self._heads_turned(name)
        if not heads:
            return rows
        pairs = rows.reshape(heads, rows.shape[0] // heads // 2, 2, *rows.shape[1:])
        return pairs.swapaxes(1, 2).reshape(rows.shape)

    def _heads_turned(self, name: str) -> int:
        """Heads of a matrix whose rows stand in another order; 0 for all other matrices."""
        if self.architecture not in _PERMUTED:
            return 0
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.rpartition(".")[2])
        return int(self.settings[heads]) if heads else 0


def _encoder_settings(file: GGUFFile, architecture: str) -> dict[str, Any]:
    def number(key: str) -> Any:
        return file.require(f"{architecture}.{key}", GGUFValueType.UINT32)

    types = file.tensors.get(TYPES)
    return {
        "hidden_size": number("embedding_length"),
        "intermediate_size": number("feed_forward_length"),
        "num_hidden_layers": number("block_count"),
        "num_attention_heads": number("attention.head_count"),
        "hidden_act": "gelu",
        "layer_norm_eps": file.require(f"{architecture}.attention.layer_norm_epsilon", GGUFValueType.FLOAT32),
        "max_position_embeddings": number("context_length"),
        "vocab_size": file.tensors["token_embd.weight"].shape[1],
        "type_vocab_size": types.shape[1] if types is not None and len(types.shape) > 1 else 1,
    }


def projections(geometry: Geometry) -> list[str]:
    """The modules that LoRA changes, by the names of transformers, from the first layer on."""
    layers = range(geometry.settings["num_hidden_layers"])
    if geometry.architecture in ENCODERS:
        return [f"encoder.layer.{layer}.{name}" for layer in layers for name in _OF_ENCODER]
    return [f"model.layers.{layer}.{name}" for layer in layers for name in _OF_DECODER]


def read_weights(
    file: GGUFFile, geometry: Geometry, names: Mapping[str, tuple[int, ...]]
) -> Iterator[tuple[str, Floats]]:
    """The weights of a model in F32, whatever format they are stored in.

    Biases and types of sentences may be absent, as they may in llama.cpp, which then adds nothing: they are zeros.

    Args:
        file: The model.
        geometry: What its header says.
        names: Name of each parameter in transformers, with its shape.

    Raises:
        ModelFileError: One is missing, or has another shape.
    """
    stored = {tensor.name: tensor for tensor in GGUFReader(file.path).tensors}
    for name, shape in names.items():
        module, _, kind = name.rpartition(".")
        due = f"{geometry.ggml_name(module)}.{kind}"
        if due not in stored and (kind == "bias" or due == TYPES):
            yield name, np.zeros(shape, np.float32)
            continue
        if due not in stored:
            file.refuse(f"has no tensor {due!r}", "Convert the model again")
        tensor = stored[due]
        values = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        if due == TYPES:  # one type alone may be a vector
            values = values.reshape(-1, values.shape[-1])
        if values.shape != shape:
            file.refuse(f"tensor {due!r} has the shape {values.shape}, where {shape} is due", "Convert the model again")
        yield name, geometry.to_torch(module, values)


def read_head(file: GGUFFile) -> dict[str, Floats]:
    """The tensors of an encoder's classification head in F32, by their names without ``cls.``: those that it has."""
    return {
        tensor.name.removeprefix(HEAD): np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        for tensor in GGUFReader(file.path).tensors
        if tensor.name.startswith(HEAD)
    }
