"""Encoders as the recipe writes and reads them, without torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adapters.recipe.encoder_file import export_vocabulary, names, read_encoder
from adapters.recipe.tiny_encoder import SHAPE, VOCABULARY, tiny_weights, write_tiny
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.models.gguf import read_gguf


@pytest.mark.parametrize(("kind", "error"), [("F32", 0.0), ("F16", 1e-3), ("Q8_0", 2e-2), ("Q8_0/Q4_1", 0.1)])
def test_a_file_reads_back(tmp_path: Path, kind: str, error: float) -> None:
    """Sizes and parameters are those that were written, as exactly as the format allows; the head is exact."""
    shape, weights = read_encoder(write_tiny(tmp_path / "tiny.gguf", kind))
    given = tiny_weights()
    assert (shape.n_layers, shape.width, shape.n_vocab) == (SHAPE.n_layers, SHAPE.width, SHAPE.n_vocab)
    assert weights.keys() == given.keys() == names(SHAPE).keys()
    assert max(np.abs(weights[name] - given[name]).max() for name in given) <= error
    assert np.array_equal(weights["head.weight"], given["head.weight"])


def test_tokens_may_be_stored_smaller_than_layers(tmp_path: Path) -> None:
    """Of two kinds the first is that of layers and of the dense layer before the head, the second that of tokens."""
    tensors = read_gguf(write_tiny(tmp_path / "tiny.gguf", "Q8_0/Q4_0")).tensors
    kinds = {name: tensor.type.name for name, tensor in tensors.items() if len(tensor.shape) > 1}
    assert kinds.pop("token_embd.weight") == "Q4_0"
    assert kinds.pop("position_embd.weight") == "F16"
    assert kinds.pop("token_types.weight") == kinds.pop("cls.output.weight") == "F32"
    assert set(kinds.values()) == {"Q8_0"}


@pytest.mark.parametrize("kind", ["", "Q4_K", "Q8_0/", "Q8_0/Q4_0/Q4_0", "q8_0"])
def test_an_unknown_kind_is_refused(tmp_path: Path, kind: str) -> None:
    """What is no kind is refused before a file is written, with the kinds that there are."""
    with pytest.raises(ValueError, match=r"LAYERS/TOKENS.*Q8_0.*Q4_1"):
        write_tiny(tmp_path / "tiny.gguf", kind)
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_alone_is_a_tokenizer(tmp_path: Path) -> None:
    """Pairs are tokenised by llama.cpp before there is a model: words, pieces that go on, closing tokens."""
    export_vocabulary(tmp_path / "vocabulary.gguf", VOCABULARY)
    tokenizer = load_vocabulary(tmp_path / "vocabulary.gguf")
    found = [VOCABULARY[token] for token in tokenizer.encode("Fix the ab", special=False)]
    assert found == ["fix", "the", "a", "##b"]
    assert [VOCABULARY[token] for token in tokenizer.encode("[CLS]", special=True)] == ["[CLS]"]
