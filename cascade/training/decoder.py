"""A decoder that is trained: it reads tries, and what it says of the label tokens answers.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from cascade.models.gguf import GGUFFile
from cascade.probability import Array, Bools
from cascade.training.base_weights import Loaded
from cascade.training.draws import Draw
from cascade.training.examples import Example
from cascade.training.student import NAME, Shape, Student
from cascade.training.tensors import Geometry
from cascade.training.tries import Packed, packs

_NEVER = -1e4  # logit of a label that a question does not have


class Decoder(Student):
    """A model that predicts tokens, with an adapter; see ``Student``."""

    def __init__(self, file: GGUFFile, shape: Shape, weights: Path | None, device: str, dtype: str) -> None:
        super().__init__(file, shape, weights, device, dtype)
        self._layers = self._base.model
        self._head = self._base.get_output_embeddings().weight.detach()
        most = max(map(len, shape.labels))
        padded = [[*labels, *[labels[0]] * (most - len(labels))] for labels in shape.labels]
        self._labels = torch.tensor(padded, device=self.device)
        self._has = torch.tensor(
            [[at < len(labels) for at in range(most)] for labels in shape.labels], device=self.device
        )
        self._offsets = torch.tensor(
            [[*offsets, *[0.0] * (most - len(offsets))] for offsets in shape.offsets], device=self.device
        )
        self._active: torch.Tensor | None = None
        for linear in self._linears.values():
            linear.lora_B[NAME].register_forward_hook(self._only_where_active)

    def _only_where_active(self, _module: object, _given: object, update: torch.Tensor) -> torch.Tensor | None:
        return None if self._active is None else update * self._active.to(update.dtype)

    def logits(self, packed: Packed) -> torch.Tensor:
        """Logits of the label tokens behind each question; (q, most labels), in F32."""
        tokens, positions = (
            torch.from_numpy(array).to(self.device)[None] for array in (packed.tokens, packed.positions)
        )
        sees = self._mask(packed.sees)
        n = packed.n_shared if self.shape.is_activated else 0
        cache = None
        if n:  # what stands before the questions is the base model's own, and nothing is learned of it
            cache, self._active = DynamicCache(config=self._layers.config), None
            with torch.no_grad(), self._model.disable_adapter():
                self._layers(
                    input_ids=tokens[:, :n],
                    position_ids=positions[:, :n],
                    attention_mask=sees[:, :, :n, :n],
                    cache=cache,
                    use_cache=True,
                )
            self._active = torch.from_numpy(packed.active[n:]).to(self.device)[None, :, None]
        hidden = self._layers(
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

    def losses(self, draw: Draw) -> Iterator[torch.Tensor]:
        """See ``Student.losses``."""
        yield from map(self.loss, packs(draw, self.n_tokens))

    def loss(self, packed: Packed) -> torch.Tensor:
        """Cross-entropy with the targets, each question by its weight; the sum."""
        targets = torch.from_numpy(packed.targets).to(self.device, torch.float32)
        most = self._labels.shape[1]
        logits = self.logits(packed) + self._offsets[torch.from_numpy(packed.questions).to(self.device)]
        each = functional.cross_entropy(logits, functional.pad(targets, (0, most - targets.shape[1])), reduction="none")
        return (each * torch.from_numpy(packed.weights).to(self.device, torch.float32)).sum()

    def predict(self, examples: Sequence[Example]) -> Iterator[Array]:
        """See ``Student.predict``."""
        for example in examples:
            rows = [(ask, ask.weight) for ask in example.asks]
            with torch.no_grad():
                parts = [
                    self.logits(packed).softmax(dim=-1).cpu() for packed in packs([(example, rows)], self.n_tokens)
                ]
            yield np.concatenate([part.numpy() for part in parts]).astype(np.float64)

    @staticmethod
    def _untrained(geometry: Geometry) -> PreTrainedModel:
        """See ``Student._untrained``; transformers' own reader of GGUF leaves out Qwen3's size of heads."""
        config = AutoConfig.for_model(geometry.architecture, **geometry.settings)
        made: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        return made

    @staticmethod
    def _load(folder: Path) -> Loaded:
        """See ``Student._load``."""
        loaded: Loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        return loaded
