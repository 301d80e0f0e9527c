"""The other weight formats of a model that lie beside it, found by what the files say and not by their names."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cascade.errors import ModelFileError
from cascade.gguf_file import GGUFFile, read_gguf
from cascade.model_facts import ModelFacts, check_model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFormat:
    """One file of a model.

    Attributes:
        path: The file.
        type: The format that most bytes of its matrices are in, such as BF16, Q8_0 or Q4_K.
        n_bytes: Size of the file.
    """

    path: Path
    type: str
    n_bytes: int


def matrix_type(file: GGUFFile) -> str:
    """The format that most bytes of a file's matrices are in; empty if it has none."""
    sizes: Counter[str] = Counter()
    for tensor in file.tensors.values():
        if len(tensor.shape) > 1:
            sizes[tensor.type.name] += tensor.n_bytes
    return sizes.most_common(1)[0][0] if sizes else ""


def find_formats(path: Path, model: ModelFacts) -> list[ModelFormat]:
    """A model's own file first, then the files in its folder that have its architecture, shapes and vocabulary.

    Args:
        path: The model's file.
        model: What it says.
    """
    others = sorted(other for other in path.parent.glob("*.gguf") if other != path)
    found = [_format(read_gguf(path))]
    for other in others:
        try:
            file = read_gguf(other)
            facts = check_model(file)
        except ModelFileError:  # an adapter, or no model that could take the place of this one
            continue
        if (facts.architecture, facts.n_vocab, facts.shapes) == (model.architecture, model.n_vocab, model.shapes):
            found.append(_format(file))
    return found


def _format(file: GGUFFile) -> ModelFormat:
    return ModelFormat(path=file.path, type=matrix_type(file), n_bytes=file.size)
