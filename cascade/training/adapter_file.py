"""Adapters as GGUF files: written with all that says where they come from, and read to be trained further."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

from cascade.models.gguf import GGUFFile, read_gguf
from cascade.models.lora import BASE_HASH_KEY, INVOCATION_KEY, MARKERS_KEY
from cascade.training.tensors import Floats, Geometry

DATA_KEY = "cascade.training.data"
"""Metadata key: the manifest of the data, in JSON."""

FIGURES_KEY = "cascade.training.figures"
"""Metadata key: how good it is on the validation part, in JSON."""

PLAN_KEY = "cascade.training.plan"
"""Metadata key: how it was trained, in JSON."""

Lora = Mapping[str, tuple[Floats, Floats]]
"""Module of transformers -> lora_A (rank, in) and lora_B (out, rank)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterHead:
    """What every adapter's file says of itself.

    Attributes:
        name: The adapter's name.
        base_name: The base model's own name.
        base_sha256: SHA-256 of the base model's file, or of the file that it is another format of.
        alpha: LoRA's alpha.
        invocation: The tokens that switch it on; empty for a plain LoRA.
        markers: The markers of its questions.
    """

    name: str
    base_name: str
    base_sha256: str
    alpha: float
    invocation: tuple[int, ...]
    markers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts(AdapterHead):
    """What the file of an adapter that was trained here says besides.

    Attributes:
        data: The manifest of the data.
        figures: How good it is.
        plan: How it was trained.
    """

    data: Mapping[str, Any]
    figures: Mapping[str, Any]
    plan: Mapping[str, Any]


def write_adapter(path: Path, facts: AdapterFacts, geometry: Geometry, lora: Lora) -> None:
    """Write an adapter, its matrices in F16."""
    writer = GGUFWriter(path, geometry.architecture)
    add_head(writer, facts)
    for key, value in ((DATA_KEY, facts.data), (FIGURES_KEY, facts.figures), (PLAN_KEY, facts.plan)):
        writer.add_string(key, json.dumps(value, sort_keys=True))
    for module, (down, up) in lora.items():
        name = f"{geometry.ggml_name(module)}.weight"
        writer.add_tensor(f"{name}.lora_a", np.ascontiguousarray(down, np.float16))
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(geometry.to_ggml(module, up), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def add_head(writer: GGUFWriter, facts: AdapterHead) -> None:
    """Say what llama.cpp and the engine must know of an adapter."""
    writer.add_type("adapter")
    writer.add_name(facts.name)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", facts.alpha)
    writer.add_string("general.base_model.0.name", facts.base_name or "base")
    writer.add_string(BASE_HASH_KEY, facts.base_sha256)
    if facts.invocation:  # llama.cpp refuses the INT32 array that add_array would write
        writer.add_key_value(INVOCATION_KEY, list(facts.invocation), GGUFValueType.ARRAY, GGUFValueType.UINT32)
    writer.add_array(MARKERS_KEY, list(facts.markers))


def read_plan(path: Path) -> Mapping[str, Any] | None:
    """How an adapter's file says that it was trained; None if it does not say.

    Raises:
        ModelFileError: It is no GGUF file, or damaged.
    """
    told = read_gguf(path).get(PLAN_KEY, GGUFValueType.STRING)
    return None if told is None else dict(json.loads(told))


def read_lora(file: GGUFFile, geometry: Geometry, modules: list[str]) -> dict[str, tuple[Floats, Floats]]:
    """The matrices of an adapter that was checked against its base model; modules that it does not change are absent.

    Their product is that of the file; the factor alpha / rank is left out.

    Raises:
        ModelFileError: Its matrices differ in rank, and so in that factor.
    """
    stored = {
        tensor.name: np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        for tensor in GGUFReader(file.path).tensors
    }
    found = {}
    for module in modules:
        name = f"{geometry.ggml_name(module)}.weight"
        if f"{name}.lora_a" in stored:
            found[module] = stored[f"{name}.lora_a"], geometry.to_torch(module, stored[f"{name}.lora_b"])
    ranks = sorted({len(down) for down, _ in found.values()})
    if len(ranks) > 1:
        file.refuse(
            f"has matrices of the ranks {', '.join(map(str, ranks))}, and what is trained has one rank",
            "Start from another adapter, or from a fresh one without --start",
        )
    return found
