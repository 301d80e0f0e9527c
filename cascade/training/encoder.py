"""An encoder that is trained: it reads pairs, and its classification head answers.

The head stays as it is, since no LoRA acts on it in llama.cpp, which computes it from the first token (dense, tanh,
output) and gives all tokens the type of the first sentence.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional
from transformers import BertConfig, BertModel, PreTrainedModel

from cascade.models.gguf import GGUFFile
from cascade.probability import Array
from cascade.training.base_weights import Loaded
from cascade.training.draws import Draw
from cascade.training.examples import Example
from cascade.training.pairs import Pairs, pairs
from cascade.training.student import Shape, Student
from cascade.training.tensors import Geometry, read_head


class Encoder(Student):
    """A model that reads a pair at once, with an adapter; see ``Student``. The head is computed in F32."""

    def __init__(self, file: GGUFFile, shape: Shape, weights: Path | None, device: str, dtype: str) -> None:
        super().__init__(file, shape, weights, device, dtype)
        head = {name: torch.tensor(values, device=self.device) for name, values in read_head(file).items()}
        self._dense = (head["weight"], head.get("bias")) if "weight" in head else None
        self._offsets = torch.tensor([yes - no for yes, no in shape.offsets], device=self.device)
        self._output = head["output.weight"].reshape(1, -1), head.get("output.bias")

    def odds(self, some: Pairs) -> torch.Tensor:
        """Log odds of yes of each pair; (q,), in F32."""
        tokens, is_token = (torch.from_numpy(array).to(self.device) for array in (some.tokens, some.is_token))
        hidden = self._base(input_ids=tokens, attention_mask=is_token.long()).last_hidden_state
        pooled = hidden[:, 0].float()
        if self._dense:
            pooled = torch.tanh(functional.linear(pooled, *self._dense))
        return functional.linear(pooled, *self._output)[:, 0]

    def losses(self, draw: Draw) -> Iterator[torch.Tensor]:
        """See ``Student.losses``."""
        for some in pairs(draw, self.n_tokens):
            targets, weights = (
                torch.from_numpy(array).to(self.device, torch.float32) for array in (some.targets, some.weights)
            )
            odds = self.odds(some) + self._offsets[torch.from_numpy(some.questions).to(self.device)]
            yield functional.binary_cross_entropy_with_logits(odds, targets, weights, reduction="sum")

    def predict(self, examples: Sequence[Example]) -> Iterator[Array]:
        """See ``Student.predict``."""
        for example in examples:
            found = np.zeros((len(example.asks), 2))
            with torch.no_grad():
                for some in pairs([(example, [(ask, ask.weight) for ask in example.asks])], self.n_tokens):
                    odds = self.odds(some).double()
                    found[some.places] = torch.stack((odds, -odds), dim=1).sigmoid().cpu().numpy()
            yield found

    @staticmethod
    def _untrained(geometry: Geometry) -> PreTrainedModel:
        """See ``Student._untrained``."""
        return BertModel(BertConfig(**geometry.settings), add_pooling_layer=False)

    @staticmethod
    def _load(folder: Path) -> Loaded:
        """See ``Student._load``."""
        loaded: Loaded = BertModel.from_pretrained(
            folder, add_pooling_layer=False, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
        return loaded
