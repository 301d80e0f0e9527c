"""A tiny encoder with random weights and a vocabulary of its own: the same in every run, and without torch.

Tests run it, and ``adapters.recipe.encoder_golden`` says what torch makes of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from adapters.recipe.encoder_file import EncoderShape, Weights, names, write_encoder

SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_WORDS = (
    "fix",
    "the",
    "parser",
    "cache",
    "url",
    "error",
    "function",
    "method",
    "class",
    "file",
    "return",
    "def",
    "self",
)
VOCABULARY = (*SPECIALS, *_LETTERS, *(f"##{letter}" for letter in _LETTERS), *_WORDS, *"|#:._-()[],'\"=/")
SHAPE = EncoderShape(n_vocab=len(VOCABULARY), n_layers=2, width=32, inner=64, n_heads=2, n_positions=96)
_SEED = 3
_SPREAD = 0.25


def tiny_weights() -> Weights:
    """Its parameters."""
    drawn = np.random.default_rng(_SEED)
    sizes = {"query": SHAPE.width, "up": SHAPE.inner}
    found = {}
    for name in names(SHAPE):
        part, _, kind = name.rpartition(".")
        own = part.rpartition(".")[2]
        n_out = 1 if own == "head" else sizes.get(own, SHAPE.width)
        if own == "norm" or own.endswith("_norm"):
            values = drawn.normal(kind == "weight", _SPREAD / 4, SHAPE.width)
        elif kind == "bias":
            values = drawn.normal(0, _SPREAD, n_out)
        else:
            rows = {"tokens": SHAPE.n_vocab, "positions": SHAPE.n_positions, "kinds": 2}.get(part, n_out)
            values = drawn.normal(
                0, _SPREAD * (1.5 if own == "head" else 1), (rows, SHAPE.inner if own == "down" else SHAPE.width)
            )
        found[name] = values.astype(np.float32)
    return found


def write_tiny(path: Path, kind: str = "F32") -> Path:
    """Write it as a GGUF file."""
    write_encoder(path, SHAPE, tiny_weights(), VOCABULARY, kind)
    return path
