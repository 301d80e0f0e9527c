"""The model that is trained: transformers computes it, PEFT adds the adapter, and tries are what it reads.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache
from transformers.utils import logging

from cascade.errors import ModelFileError
from cascade.models.gguf import GGUFFile
from cascade.probability import Array, Bools
from cascade.training.adapter_file import Lora
from cascade.training.examples import Example
from cascade.training.tensors import PROJECTIONS, Geometry, projections, read_weights
from cascade.training.tries import Packed, packs

_NEVER = -1e4  # logit of a label that a question does not have
_NAME = "default"
_PASSES, _TOKENS = 4, 256
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
        seed: Of its first weights.
    """

    rank: int
    alpha: float
    is_activated: bool
    labels: Sequence[tuple[int, ...]]
    seed: int


class Student:
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
        self.geometry = Geometry.of(file)
        self.device, self._shape = torch.device(device), shape
        self.n_tokens = _AT_ONCE.get(device, _AT_ONCE["cpu"])
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        base = _of_file(file, self.geometry) if weights is None else _of_folder(weights, self.geometry)
        torch.manual_seed(shape.seed)
        config = LoraConfig(
            r=shape.rank, lora_alpha=shape.alpha, target_modules=list(PROJECTIONS), task_type="CAUSAL_LM"
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self._model = get_peft_model(base.to(self.device, DTYPES[dtype]), config).eval()
        self._is_eager = self.device.type == "cpu"
        if self._is_eager:  # torch's fused attention takes several times as long on a CPU where a mask is given
            self._model.get_base_model().set_attn_implementation("eager")
        self._decoder = self._model.get_base_model().model
        self._head = self._model.get_base_model().get_output_embeddings().weight.detach()
        most = max(map(len, shape.labels))
        padded = [[*labels, *[labels[0]] * (most - len(labels))] for labels in shape.labels]
        self._labels = torch.tensor(padded, device=self.device)
        self._has = torch.tensor(
            [[at < len(labels) for at in range(most)] for labels in shape.labels], device=self.device
        )
        self._active: torch.Tensor | None = None
        self._linears = {name: self._decoder.get_submodule(name.removeprefix("model.")) for name in self.modules}
        for linear in self._linears.values():
            linear.lora_B[_NAME].register_forward_hook(self._only_where_active)

    @property
    def modules(self) -> list[str]:
        """The modules that the adapter changes."""
        return projections(self.geometry)

    @property
    def trained(self) -> list[torch.nn.Parameter]:
        """What the optimiser changes."""
        return [parameter for parameter in self._model.parameters() if parameter.requires_grad]

    def _only_where_active(self, _module: object, _given: object, update: torch.Tensor) -> torch.Tensor | None:
        return None if self._active is None else update * self._active.to(update.dtype)

    def logits(self, packed: Packed) -> torch.Tensor:
        """Logits of the label tokens behind each question; (q, most labels), in F32."""
        tokens, positions = (
            torch.from_numpy(array).to(self.device)[None] for array in (packed.tokens, packed.positions)
        )
        sees = self._mask(packed.sees)
        n = packed.n_shared if self._shape.is_activated else 0
        cache = None
        if n:  # what stands before the questions is the base model's own, and nothing is learned of it
            cache, self._active = DynamicCache(config=self._decoder.config), None
            with torch.no_grad(), self._model.disable_adapter():
                self._decoder(
                    input_ids=tokens[:, :n],
                    position_ids=positions[:, :n],
                    attention_mask=sees[:, :, :n, :n],
                    cache=cache,
                    use_cache=True,
                )
            self._active = torch.from_numpy(packed.active[n:]).to(self.device)[None, :, None]
        hidden = self._decoder(
            input_ids=tokens[:, n:],
            position_ids=positions[:, n:],
            attention_mask=sees[:, :, n:],
            cache=cache,
            use_cache=cache is not None,
        ).last_hidden_state[0]
        last = hidden[torch.from_numpy(packed.ends - n).to(self.device)].float()
        questions = torch.from_numpy(packed.questions).to(self.device)
        logits = torch.einsum("qh,qlh->ql", last, self._head[self._labels[questions]].float())
        return logits.masked_fill(~self._has[questions], _NEVER)

    def _mask(self, sees: Bools) -> torch.Tensor:
        """What each token sees, as attention takes it: true or false, or in full what is added to its logits."""
        mask = torch.from_numpy(sees).to(self.device)[None, None]
        if not self._is_eager:
            return mask
        dtype = self._head.dtype
        return torch.zeros(mask.shape, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)

    def loss(self, packed: Packed) -> torch.Tensor:
        """Cross-entropy with the targets, each question by its weight; the sum."""
        targets = torch.from_numpy(packed.targets).to(self.device, torch.float32)
        most = self._labels.shape[1]
        each = functional.cross_entropy(
            self.logits(packed), functional.pad(targets, (0, most - targets.shape[1])), reduction="none"
        )
        return (each * torch.from_numpy(packed.weights).to(self.device, torch.float32)).sum()

    def predict(self, examples: Sequence[Example]) -> Iterator[Array]:
        """Of each task the probabilities of the label tokens of its questions; (asks, most labels)."""
        for example in examples:
            rows = [(ask, ask.weight) for ask in example.asks]
            with torch.no_grad():
                parts = [
                    self.logits(packed).softmax(dim=-1).cpu() for packed in packs([(example, rows)], self.n_tokens)
                ]
            yield np.concatenate([part.numpy() for part in parts]).astype(np.float64)

    def lora(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The adapter's matrices in F32."""
        return {
            name: tuple(half[_NAME].weight.detach().float().cpu().numpy().copy() for half in (each.lora_A, each.lora_B))
            for name, each in self._linears.items()
        }

    def put(self, lora: Lora) -> None:
        """Replace the adapter's matrices; modules that are not given change nothing from now on."""
        with torch.no_grad():
            for name, linear in self._linears.items():
                if name not in lora:
                    linear.lora_B[_NAME].weight.zero_()
                    continue
                for half, values in zip((linear.lora_A, linear.lora_B), lora[name], strict=True):
                    half[_NAME].weight.copy_(torch.tensor(np.asarray(values, np.float32)))


def _of_file(file: GGUFFile, geometry: Geometry) -> torch.nn.Module:
    """The base model as its GGUF file has it; transformers' own reader leaves out Qwen3's size of heads."""
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(geometry.architecture, **geometry.settings), dtype=torch.float32
    )
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    with torch.no_grad():
        for name, values in read_weights(file, geometry, shapes):
            parameters[name].copy_(torch.tensor(values))
    return model


def _of_folder(folder: Path, geometry: Geometry) -> torch.nn.Module:
    """The base model as a folder of safetensors has it."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().partition("\n")[0]
        msg = f"{folder}: transformers cannot load it ({first}). Give a folder with config.json and *.safetensors."
        raise ModelFileError(msg) from error
    config, due = model.config, geometry.settings
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    differs = [name for name in names if getattr(config, name, None) != due[name]]
    if config.model_type != geometry.architecture or differs:
        what = f"{differs[0]} is {getattr(config, differs[0], None)}" if differs else f"it is {config.model_type}"
        msg = f"{folder}: is not the model that the config names: {what}. Give the weights of that base model."
        raise ModelFileError(msg)
    return model


def best_device() -> str:
    """Where to compute: a GPU where there is one."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def best_dtype(device: str, width: int, n_hidden: int) -> tuple[str, str]:
    """How to compute, and why in words.

    On a GPU that is BF16 where it can. On a CPU both are timed on a layer's two matrices: without instructions for it,
    BF16 is several times slower than F32.

    Args:
        device: Where.
        width: Width of the model.
        n_hidden: Width of its feed-forward layers.
    """
    if device == "cuda":
        return ("bf16", "a GPU") if torch.cuda.is_bf16_supported() else ("f32", "a GPU without BF16")
    if device != "cpu":
        return "f32", device
    seconds = {name: _timed(dtype, width, n_hidden) for name, dtype in DTYPES.items()}
    best = min(seconds, key=lambda name: seconds[name])
    told = ", ".join(f"{name.upper()} {1000 * took:.0f} ms" for name, took in seconds.items())
    return best, f"this CPU, which takes for the same products: {told}"


def _timed(dtype: torch.dtype, width: int, n_hidden: int) -> float:
    """Seconds of the fastest of a few passes, forward and back, through two matrices."""
    up, down = torch.randn(n_hidden, width, dtype=dtype), torch.randn(width, n_hidden, dtype=dtype)
    best = float("inf")
    for _ in range(_PASSES):
        x = torch.randn(_TOKENS, width, dtype=dtype, requires_grad=True)
        began = time.perf_counter()
        functional.linear(functional.linear(x, up), down).sum().backward()
        best = min(best, time.perf_counter() - began)
    return best
