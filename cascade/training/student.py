"""The model that is trained: transformers computes it, and PEFT adds the adapter.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import PreTrainedModel
from transformers.utils import logging

from cascade.errors import MachineError
from cascade.models.gguf import GGUFFile
from cascade.probability import Array
from cascade.training.adapter_file import Lora
from cascade.training.base_weights import Loaded, of_file, of_folder
from cascade.training.draws import Draw
from cascade.training.examples import Example
from cascade.training.tensors import Geometry, projections

NAME = "default"
"""What PEFT calls the adapter."""

_PASSES, _LONG = 4, 10.0  # of a timing, and seconds after which no further one begins
_AT_ONCE = {"cpu": 1_024, "cuda": 8_192}
"""About how many tokens are computed at once: on CPUs fewer, as each is held against all."""

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The adapter that is added.

    Attributes:
        rank: LoRA's rank.
        alpha: LoRA's alpha.
        is_activated: Whether it acts on the questions' tokens alone.
        labels: Of each question of the lesson, its label tokens.
        offsets: Of each question what a training adds to the logits of its label tokens; see ``examples.offsets``.
        seed: Of its first weights.
    """

    rank: int
    alpha: float
    is_activated: bool
    labels: Sequence[tuple[int, ...]]
    offsets: Sequence[tuple[float, ...]]
    seed: int


class Student(ABC):
    """A base model with an adapter.

    Attributes:
        geometry: What the base model is.
        device: Where it computes.
        n_tokens: About how many tokens it computes at once.

    Args:
        file: The base model as llama.cpp runs it.
        shape: The adapter.
        weights: A folder with the base's safetensors; None to read the file's own.
        device: Where it computes: cpu, cuda, mps.
        dtype: How it computes: bf16 or f32. The adapter itself is kept in F32.

    Raises:
        ModelFileError: The file or the folder cannot be read as this base model.
    """

    def __init__(self, file: GGUFFile, shape: Shape, weights: Path | None, device: str, dtype: str) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.geometry, self.shape = Geometry.of(file), shape
        base = (
            of_file(self._untrained(self.geometry), file, self.geometry)
            if weights is None
            else of_folder(self._load, weights, self.geometry)
        )
        self.device = torch.device(device)
        self.n_tokens = _AT_ONCE.get(device, _AT_ONCE["cpu"])
        torch.manual_seed(shape.seed)
        config = LoraConfig(r=shape.rank, lora_alpha=shape.alpha, target_modules=self.modules)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = get_peft_model(base.to(self.device, DTYPES[dtype]), config).eval()
        self._base = self._model.get_base_model()
        self._linears = {name: self._base.get_submodule(name) for name in self.modules}
        self._is_eager = self.device.type == "cpu"
        if self._is_eager:  # torch's fused attention takes several times as long on a CPU where a mask is given
            self._base.set_attn_implementation("eager")

    @property
    def modules(self) -> list[str]:
        """The modules that the adapter changes."""
        return projections(self.geometry)

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """What the optimiser changes."""
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]

    @staticmethod
    @abstractmethod
    def _untrained(geometry: Geometry) -> PreTrainedModel:
        """A model of transformers' for the base, in F32, whose weights do not matter."""

    @staticmethod
    @abstractmethod
    def _load(folder: Path) -> Loaded:
        """The base model as transformers loads it from a folder of safetensors, in F32."""

    @abstractmethod
    def losses(self, draw: Draw) -> Iterator[torch.Tensor]:
        """Cross-entropy with the targets, each question by its weight: the sum over each part that is computed at once.

        A part is computed when it is asked for, so that one alone is in memory.
        """

    @abstractmethod
    def predict(self, examples: Sequence[Example]) -> Iterator[Array]:
        """Of each task the probabilities of the label tokens of its questions; (asks, most labels)."""

    def lora(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The adapter's matrices in F32."""
        return {
            name: tuple(half[NAME].weight.detach().float().cpu().numpy().copy() for half in (each.lora_A, each.lora_B))
            for name, each in self._linears.items()
        }

    def put(self, lora: Lora) -> None:
        """Replace the adapter's matrices; modules that are not given change nothing from now on."""
        with torch.no_grad():
            for name, linear in self._linears.items():
                if name not in lora:
                    linear.lora_B[NAME].weight.zero_()
                    continue
                for half, values in zip((linear.lora_A, linear.lora_B), lora[name], strict=True):
                    half[NAME].weight.copy_(torch.tensor(np.asarray(values, np.float32)))


def find_device(wished: str | None) -> str:
    """Where to compute: as it is wished, or else on a GPU where there is one.

    Raises:
        MachineError: torch has no such device here.
    """
    found = [
        *(["cuda"] if torch.cuda.is_available() else []),
        *(["mps"] if torch.backends.mps.is_available() else []),
        "cpu",
    ]
    if wished is None:
        return found[0]
    if wished not in found:
        msg = (
            f"torch finds no {wished} here; it can compute on {', '.join(found)}. Give one with --device, or install "
            "the torch that is built for this GPU."
        )
        raise MachineError(msg)
    return wished


def gpu_dtype() -> tuple[str, str]:
    """How a GPU computes, and why in words."""
    return ("bf16", "a GPU") if torch.cuda.is_bf16_supported() else ("f32", "a GPU without BF16")


def seconds_of(student: Student, draw: Draw) -> float:
    """Seconds of the processor that a student takes for a draw, forward and back: the fastest of a few passes.

    Nothing is learned of it. Where one pass is long, fewer are made. What else runs beside it counts little in such
    seconds.
    """
    best, began = float("inf"), time.process_time()
    for _ in range(_PASSES):
        at = time.process_time()
        for part in student.losses(draw):
            part.backward()
        best = min(best, time.process_time() - at)
        if time.process_time() - began > _LONG:
            break
    for parameter in student.trained:
        parameter.grad = None
    return best
