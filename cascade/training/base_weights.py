"""The weights of a base model put into transformers' form of it.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel

from cascade.errors import ModelFileError
from cascade.models.gguf import GGUFFile
from cascade.training.tensors import Geometry, read_weights

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


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


def of_folder(
    load: Callable[[Path], PreTrainedModel], folder: Path, geometry: Geometry, sizes: Sequence[str] = ()
) -> PreTrainedModel:
    """A model as a folder of safetensors has it.

    Args:
        load: Loads it with transformers.
        folder: The folder.
        geometry: What the base model's GGUF file says.
        sizes: Sizes that must be the same in both, beside those that every model has.

    Raises:
        ModelFileError: It cannot be loaded, or is another model.
    """
    try:
        model = load(folder)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        msg = f"{folder}: transformers cannot load it ({first}). Give a folder with config.json and *.safetensors."
        raise ModelFileError(msg) from error
    config, due = model.config, geometry.settings
    differs = [name for name in (*_SIZES, *sizes) if getattr(config, name, None) != due[name]]
    if config.model_type != geometry.architecture or differs:
        what = f"{differs[0]} is {getattr(config, differs[0], None)}" if differs else f"it is {config.model_type}"
        msg = f"{folder}: is not the model that the config names: {what}. Give the weights of that base model."
        raise ModelFileError(msg)
    return model
