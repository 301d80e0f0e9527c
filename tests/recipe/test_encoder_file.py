"""Encoders as the recipe writes and reads them, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapters.recipe.encoder_file import export_vocabulary, names, read_encoder
from adapters.recipe.tiny_encoder import SHAPE, VOCABULARY, tiny_weights, write_tiny
from cascade.backends.llama.tokenizer import load_vocabulary


@pytest.mark.parametrize(("kind", "error"), [("F32", 0.0), ("F16", 1e-3), ("Q8_0", 2e-2)])
def test_a_file_reads_back(tmp_path: Path, kind: str, error: float) -> None:
    """Sizes and parameters are those that were written, as exactly as the format allows; the head is exact."""
    shape, weights = read_encoder(write_tiny(tmp_path / "tiny.gguf", kind))
    given = tiny_weights()
    assert (shape.n_layers, shape.width, shape.n_vocab) == (SHAPE.n_layers, SHAPE.width, SHAPE.n_vocab)
    assert weights.keys() == given.keys() == names(SHAPE).keys()
    assert max(np.abs(weights[name] - given[name]).max() for name in given) <= error
    assert np.array_equal(weights["head.weight"], given["head.weight"])


def test_a_vocabulary_alone_is_a_tokenizer(tmp_path: Path) -> None:
    """Pairs are tokenised by llama.cpp before there is a model: words, pieces that go on, closing tokens."""
    export_vocabulary(tmp_path / "vocabulary.gguf", VOCABULARY)
    tokenizer = load_vocabulary(tmp_path / "vocabulary.gguf")
    found = [VOCABULARY[token] for token in tokenizer.encode("Fix the ab", special=False)]
    assert found == ["fix", "the", "a", "##b"]
    assert [VOCABULARY[token] for token in tokenizer.encode("[CLS]", special=True)] == ["[CLS]"]
