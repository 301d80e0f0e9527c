"""What a LoRA adapter says of itself, checked against its base model. Pure: headers and bytes go in, facts come out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFValueType

from cascade.errors import ConfigError
from cascade.models.base_model import ModelInfo
from cascade.models.gguf import GGUFFile
from cascade.prompt import last_place

BASE_HASH_KEY = "cascade.base_model.sha256"
"""Metadata key of our adapters: SHA-256, in hex, of the base model's file that they were trained for."""

INVOCATION_KEY = "adapter.alora.invocation_tokens"
"""Metadata key of activated adapters: the tokens that switch them on."""

MARKERS_KEY = "cascade.markers"
"""Metadata key of our adapters: the markers of the questions that they were trained to answer."""

_LORA_TYPES = (
    GGMLQuantizationType.F32,
    GGMLQuantizationType.F16,
    GGMLQuantizationType.BF16,
    GGMLQuantizationType.Q8_0,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterInfo:
    """What a LoRA adapter says of itself.

    Attributes:
        rank: Rank of its matrices; the largest where they differ.
        alpha: LoRA's alpha; llama.cpp scales by alpha / rank.
        invocation_tokens: Tokens that switch an activated adapter (aLoRA) on; empty for a plain LoRA.
        n_bytes: Size of its tensors.
        base_sha256: SHA-256 of the base model's file that it was trained for: the model in use, or the
            file that this is another format of; None if the adapter does not say.
        markers: Markers of the questions that it was trained to answer; empty if the adapter does not say.
    """

    rank: int
    alpha: float
    invocation_tokens: tuple[int, ...]
    n_bytes: int
    base_sha256: str | None
    markers: tuple[str, ...] = ()

    @property
    def is_activated(self) -> bool:
        """Whether it acts only from its invocation tokens on."""
        return bool(self.invocation_tokens)

    @property
    def is_base_verified(self) -> bool:
        """Whether it is certain that it was trained for the model in use."""
        return self.base_sha256 is not None

    def is_trained_for(self, marker: str) -> bool:
        """Whether it was trained to answer questions with this marker, as far as it says."""
        return not self.markers or marker in self.markers

    def activation_start(self, tokens: Sequence[int]) -> int | None:
        """Index of the first of a question's tokens on which this adapter acts.

        That is where the invocation tokens stand for the last time, as in PEFT's training; tokens
        before it are the base model's.

        Returns:
            None for a plain LoRA, which acts on the whole prompt.

        Raises:
            ConfigError: The invocation does not occur, so that the adapter would stay off unnoticed.
        """
        sought = self.invocation_tokens
        if not sought:
            return None
        start = last_place(sought, tokens)
        if start is not None:
            return start
        msg = (
            f"The question's tokens {list(tokens)} do not hold the adapter's invocation tokens {list(sought)}, "
            "so it would never switch on. Use the prompt format and the marker that it was trained with."
        )
        raise ConfigError(msg)


def check_adapter(file: GGUFFile, model: ModelInfo, model_sha256: str) -> AdapterInfo:
    """The facts of a LoRA adapter, checked against the model that it is to change.

    Args:
        file: The adapter.
        model: Facts of the base model.
        model_sha256: Hash of the base model's file.

    Raises:
        ModelFileError: llama.cpp would refuse it or abort, or it was trained for another model.
    """
    for key, due in (
        ("general.type", "adapter"),
        ("adapter.type", "lora"),
        ("general.architecture", model.architecture),
    ):
        given = file.require(key, GGUFValueType.STRING)
        if given != due:
            file.refuse(f"{key} is {given!r}, where {due!r} is due", "Give a LoRA adapter made for this base model")
    alpha = file.require("adapter.lora.alpha", GGUFValueType.FLOAT32)  # Another type: abort in gguf.cpp:196.
    if not (math.isfinite(alpha) and alpha > 0):  # llama.cpp takes 0 for "alpha / rank is 1".
        file.refuse(f"adapter.lora.alpha is {alpha}; it must be above 0", "Export the adapter again with its alpha")
    base = file.get(BASE_HASH_KEY, GGUFValueType.STRING)
    if base not in (None, model_sha256, model.source_sha256):
        file.refuse(
            f"was trained for the base model with SHA-256 {base}; the given base model has {model_sha256}",
            "Give that base model, or adapters trained for this one",
        )
    return AdapterInfo(
        rank=max(_check_pairs(file, model)),
        alpha=alpha,
        invocation_tokens=_check_invocation(file, model),
        n_bytes=sum(tensor.n_bytes for tensor in file.tensors.values()),
        base_sha256=base,
        markers=_read_markers(file),
    )


def check_weights(file: GGUFFile, tensors: Iterable[tuple[str, bytes]]) -> None:
    """Refuse an adapter whose weights are not all finite, since it would answer nothing but NaN.

    Args:
        file: The adapter; it was checked.
        tensors: Its tensors, each with its bytes.

    Raises:
        ModelFileError: Names the tensor.
    """
    for name, data in tensors:
        if not _is_finite(data, file.tensors[name].type):
            file.refuse(
                f"tensor {name!r} holds NaN or infinity, so every answer would be NaN",
                "The training diverged, or the export overflowed: give an earlier checkpoint, or export it again",
            )


def _is_finite(data: bytes, kind: GGMLQuantizationType) -> bool:
    """Whether all weights of a tensor are finite; of quantised ones the factors of their blocks tell."""
    match kind:
        case GGMLQuantizationType.F32:
            return bool(np.isfinite(np.frombuffer(data, "<f4")).all())
        case GGMLQuantizationType.F16:
            return bool(np.isfinite(np.frombuffer(data, "<f2")).all())
        case GGMLQuantizationType.BF16:  # the upper half of an F32
            return bool(np.isfinite((np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4")).all())
        case GGMLQuantizationType.Q8_0:
            blocks = np.frombuffer(data, np.uint8).reshape(-1, GGML_QUANT_SIZES[kind][1])
            return bool(np.isfinite(np.ascontiguousarray(blocks[:, :2]).view("<f2")).all())
        case _:  # a tensor that llama.cpp passes by
            return True


def _check_pairs(file: GGUFFile, model: ModelInfo) -> list[int]:
    """The rank of every pair of matrices, each checked against the tensor that it changes."""
    ranks = []
    for name, tensor in file.tensors.items():
        target, dot, side = name.rpartition(".lora_")
        if not dot or side not in ("a", "b"):
            if name.endswith("_norm.weight"):  # llama.cpp passes these by.
                continue
            file.refuse(f"tensor {name!r} is no LoRA matrix", "Names must end in .lora_a or .lora_b; export it again")
        if tensor.type not in _LORA_TYPES:
            allowed = ", ".join(type_.name for type_ in _LORA_TYPES)
            file.refuse(f"tensor {name!r} has the type {tensor.type.name}; {allowed} are allowed", "Export it as F16")
        other = f"{target}.lora_{'b' if side == 'a' else 'a'}"
        if other not in file.tensors:
            file.refuse(f"tensor {name!r} lacks its other half {other!r}", "Export the adapter again")
        if side == "a":
            ranks.append(_check_pair(file, target, model))
    if not ranks:
        file.refuse("has no LoRA matrices", "Export the adapter again")
    return ranks


def _check_pair(file: GGUFFile, target: str, model: ModelInfo) -> int:
    """The rank of one pair: a is (in, rank) and b (rank, out), for a base tensor (in, out), all in ggml's order."""
    if model.is_encoder and not target.startswith("blk."):  # llama.cpp would load it and leave it out.
        file.refuse(f"changes {target!r} of an encoder, where LoRA acts on layers alone", "Train it on blk.* alone")
    if target not in model.shapes:
        file.refuse(f"changes the tensor {target!r}, which the base model lacks", "Give the adapter's own base model")
    base = model.shapes[target]
    a, b = (file.tensors[f"{target}.lora_{side}"].shape for side in "ab")
    if min(len(a), len(b), len(base)) == 1:
        file.refuse(f"changes {target!r} with shapes {a}, {b} and {base}", "Only matrices take LoRA; export it again")
    rank = b[0]
    if target == "token_embd.weight" and "output.weight" not in model.shapes:  # The shared matrix would abort as head.
        file.refuse(f"changes {target!r}, which the base model also uses as its output", "Train it without embeddings")
    if target.endswith("token_embd.weight"):  # Its rows are looked up, not multiplied, so both stand the other way.
        fits = a == (rank, base[1]) and b == (rank, base[0])
    else:
        fits = a == (base[0], rank, *base[2:]) and b == (rank, base[1], *base[2:])
    if not fits:
        file.refuse(
            f"has {target!r} as lora_a {a} and lora_b {b}, which do not fit the base's {base}",
            "Give the adapter's own base model",
        )
    return rank


def _read_markers(file: GGUFFile) -> tuple[str, ...]:
    found = file.get(MARKERS_KEY, GGUFValueType.STRING, is_array=True) or ()
    try:
        return tuple(text.decode() for text in found)
    except UnicodeDecodeError:
        file.refuse(f"{MARKERS_KEY} holds bytes that are no UTF-8", "Export the adapter again")


def _check_invocation(file: GGUFFile, model: ModelInfo) -> tuple[int, ...]:
    found = file.get(INVOCATION_KEY, GGUFValueType.UINT32, is_array=True)
    if found is None:
        return ()
    if model.is_encoder:
        file.refuse("is an activated adapter, and an encoder has no question to switch it on", "Give a plain LoRA")
    tokens = tuple(found.tolist())
    if not tokens or max(tokens) >= model.n_vocab:
        file.refuse(
            f"{INVOCATION_KEY} is {list(tokens)}; it needs at least one token id, each below {model.n_vocab}",
            "Export the adapter again with the base model's tokenizer",
        )
    return tokens
