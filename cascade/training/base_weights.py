"""The weights of a base model put into transformers' form of it.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from cascade.errors import ModelFileError, counted
from cascade.models.gguf import GGUFFile
from cascade.training.tensors import ENCODERS, Geometry, read_weights

Loaded = tuple[PreTrainedModel, Mapping[str, Any]]
"""A model, and what transformers says of its loading."""

_SAME = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("head_dim", "hidden_act", "layer_norm_eps", "rms_norm_eps"),
)
_POSITIONS = "max_position_embeddings"
_LOOKED_UP = ("vocab_size", _POSITIONS)
"""Numbers of rows; those beyond the GGUF file's are never looked up."""


def of_file(model: PreTrainedModel, file: GGUFFile, geometry: Geometry) -> PreTrainedModel:
    """A model with the weights that its GGUF file has, whatever format they are stored in.

    Args:
        model: The model, with any weights in F32.
        file: The file.
        geometry: What its header says.

    Raises:
        ModelFileError: A tensor is missing, or has another shape.
    """
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    with torch.no_grad():
        for name, values in read_weights(file, geometry, shapes):
            parameters[name].copy_(torch.tensor(values))
    return model


def of_folder(load: Callable[[Path], Loaded], folder: Path, geometry: Geometry) -> PreTrainedModel:
    """A model as a folder of safetensors has it.

    Args:
        load: Loads it with transformers.
        folder: The folder.
        geometry: What the base model's GGUF file says.

    Raises:
        ModelFileError: It cannot be loaded, lacks weights, or is another model.
    """
    try:
        model, told = load(folder)
    except Exception as error:  # a damaged folder raises errors of every kind, as of json, safetensors, torch
        first = str(error).strip().partition("\n")[0]
        msg = f"{folder}: transformers cannot load it ({first}). Give a folder with config.json and *.safetensors."
        raise ModelFileError(msg) from error
    differs = _differs(model.config, geometry)
    if differs:
        msg = f"{folder}: is not the model that the config names: {differs}. Give the weights of that base model."
        raise ModelFileError(msg)
    missing = sorted(told["missing_keys"])
    if missing:
        msg = (
            f"{folder}: lacks {counted(len(missing), 'tensor')}, such as {missing[0]}, which would have random values. "
            "Give all weights of the base model, under the names of transformers."
        )
        raise ModelFileError(msg)
    return model


def _differs(config: Any, geometry: Geometry) -> str:
    """What tells a folder's model from the one of a GGUF file, in words; empty where nothing does."""
    if config.model_type != geometry.architecture:
        return f"it is {config.model_type}"
    for name in (*_SAME, *_LOOKED_UP):
        due, given = geometry.settings.get(name), getattr(config, name, None)
        if due is None or given is None or (name == _POSITIONS and geometry.architecture not in ENCODERS):
            continue  # a decoder rotates by any position
        if name in _LOOKED_UP:
            fits = given >= due
        else:  # a GGUF file has its numbers in F32
            fits = math.isclose(given, due, rel_tol=1e-6) if isinstance(given, float) else given == due
        if not fits:
            return f"{name} is {given}, where the file has {due}"
    return ""
