"""The encoder that the recipe trains: BERT with the classification head that llama.cpp computes.

llama.cpp's pooling ``rank`` reads the first token alone (dense, tanh, output) and gives every token the type of the
first sentence. So does this model, in training as in use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from adapters.recipe.encoder_file import EncoderShape, Weights, read_encoder, write_encoder


class Layer(nn.Module):
    """Attention and a feed-forward network, each followed by a norm of its sum with what went in."""

    def __init__(self, shape: EncoderShape, drop: float) -> None:
        super().__init__()
        self.n_heads, self.drop = shape.n_heads, drop
        self.query, self.key, self.value, self.output = (nn.Linear(shape.width, shape.width) for _ in range(4))
        self.attention_norm = nn.LayerNorm(shape.width, shape.epsilon)
        self.up, self.down = nn.Linear(shape.width, shape.inner), nn.Linear(shape.inner, shape.width)
        self.norm = nn.LayerNorm(shape.width, shape.epsilon)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(n, length, width) -> the same; the mask (n, 1, 1, length) is true where a token stands."""
        query, key, value = (
            part(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        # in full: on a CPU the backward pass of torch's flash kernel takes half of a step at 200 tokens
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        found = ((scores + _bias(mask, scores.dtype)).softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = self.attention_norm(x + F.dropout(self.output(found), self.drop, self.training))
        return self.norm(x + F.dropout(self.down(F.gelu(self.up(x))), self.drop, self.training))


def _bias(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: nothing where a token stands, and so little elsewhere that it gets no weight."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


class Encoder(nn.Module):
    """Token ids of pairs -> log odds of yes, one for each pair."""

    def __init__(self, shape: EncoderShape, drop: float = 0.1) -> None:
        super().__init__()
        self.shape, self.drop = shape, drop
        self.tokens = nn.Embedding(shape.n_vocab, shape.width)
        self.positions = nn.Embedding(shape.n_positions, shape.width)
        self.kinds = nn.Embedding(2, shape.width)
        self.norm = nn.LayerNorm(shape.width, shape.epsilon)
        self.layers = nn.ModuleList(Layer(shape, drop) for _ in range(shape.n_layers))
        self.pooler = nn.Linear(shape.width, shape.width)
        self.head = nn.Linear(shape.width, 1)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(n, length) token ids with padding, and true where a token stands -> (n,)."""
        places = torch.arange(tokens.shape[1])
        x = self.norm(self.tokens(tokens) + self.positions(places) + self.kinds.weight[0])
        x = F.dropout(x, self.drop, self.training)
        for layer in self.layers:
            x = layer(x, mask[:, None, None, :])
        pooled = torch.tanh(self.pooler(x[:, 0]))
        found: Tensor = self.head(F.dropout(pooled, self.drop, self.training))[:, 0]
        return found


def read_start(folder: Path) -> Encoder:
    """An encoder with the weights of a BERT model in Hugging Face's form, and a head that is new.

    Args:
        folder: Has config.json and model.safetensors.
    """
    config = json.loads((folder / "config.json").read_text())
    model = Encoder(
        EncoderShape(
            n_vocab=config["vocab_size"],
            n_layers=config["num_hidden_layers"],
            width=config["hidden_size"],
            inner=config["intermediate_size"],
            n_heads=config["num_attention_heads"],
            n_positions=config["max_position_embeddings"],
            epsilon=config["layer_norm_eps"],
        )
    )
    given = load_file(folder / "model.safetensors")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("head."):
                parameter.copy_(given[_their_name(name)])
        model.head.weight.normal_(0, 0.02)
        model.head.bias.zero_()
    return model


def of_file(path: Path) -> Encoder:
    """An encoder as it was exported."""
    shape, weights = read_encoder(path)
    model = Encoder(shape)
    model.load_state_dict({name: torch.tensor(values) for name, values in weights.items()})
    return model.eval()


def export(model: Encoder, vocabulary: Sequence[str], path: Path, kind: str) -> None:
    """Write an encoder; see ``write_encoder``."""
    weights: Weights = {name: values.detach().float().numpy() for name, values in model.named_parameters()}
    write_encoder(path, model.shape, weights, vocabulary, kind)


_PARTS = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "output": "attention.output.dense", "attention_norm": "attention.output.LayerNorm", "up": "intermediate.dense",
    "down": "output.dense", "norm": "output.LayerNorm",
}  # fmt: skip
_OTHERS = {
    "tokens": "embeddings.word_embeddings", "positions": "embeddings.position_embeddings",
    "kinds": "embeddings.token_type_embeddings", "norm": "embeddings.LayerNorm", "pooler": "pooler.dense",
}  # fmt: skip


def _their_name(name: str) -> str:
    """What Hugging Face's model calls a parameter."""
    part, _, kind = name.rpartition(".")
    if not part.startswith("layers."):
        return f"{_OTHERS[part]}.{kind}"
    _, number, own = part.split(".")
    return f"encoder.layer.{number}.{_PARTS[own]}.{kind}"
