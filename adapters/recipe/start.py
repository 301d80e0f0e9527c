"""Where training starts: a base model as it was exported, with its tokenizer, and words of evidence that it lacks."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

from adapters.recipe.export import NORMS, PROJECTIONS
from adapters.recipe.model import Judge
from adapters.recipe.vocabulary import EVIDENCE, extend, of_model
from cascade.evidence.facts import FACTS, SIZED

SEED = 11


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of an exported base model, the words of evidence behind its own tokens."""
    return extend(of_model(path))


def read_weights(path: Path, model: Judge) -> None:
    """Put the weights of an exported base model into a model; tokens that it lacks get new rows.

    Raises:
        ValueError: The file holds a model of another shape.
    """
    found = {tensor.name: np.asarray(tensor.data, np.float32) for tensor in gguf.GGUFReader(path).tensors}
    state = {"model.norm.weight": found["output_norm.weight"]}
    for number in range(model.shape.num_hidden_layers):
        for source, target in (PROJECTIONS | NORMS).items():
            state[f"model.layers.{number}.{source}.weight"] = found[f"blk.{number}.{target}.weight"]
    state["model.embed_tokens.weight"] = _with_evidence(found["token_embd.weight"], model.shape.vocab_size)
    try:
        model.load_state_dict({name: torch.tensor(values) for name, values in state.items()})
    except RuntimeError as error:
        msg = f"{path} holds a model of another shape: {error}"
        raise ValueError(msg) from error


def _with_evidence(rows: np.ndarray, n_tokens: int) -> np.ndarray:
    """The embedding with rows for the words of evidence behind it.

    The sizes of a fact stand in order on a line of their own, so that neighbours are alike from the start.
    """
    n_new = n_tokens - len(rows)
    if not n_new:
        return rows
    if n_new != len(EVIDENCE):
        msg = (
            f"The vocabulary has {len(rows)} tokens; {n_tokens} were expected, or those without the words of evidence."
        )
        raise ValueError(msg)
    rng, scale = np.random.default_rng(SEED), float(rows.std())
    new = rng.normal(0, scale, (n_new, rows.shape[1]))
    first = {f"{word}0": most for word, most in SIZED.items()}
    for at, fact in enumerate(FACTS):
        if fact in first:
            most = first[fact]
            place = np.linspace(-1.5, 1.5, most + 1)[:, None]
            word, along = rng.normal(0, scale, (2, 1, rows.shape[1]))
            noise = 0.1 * new[at : at + most + 1]
            new[at : at + most + 1] = word + place * along + noise
    return np.concatenate((rows, new.astype(np.float32)))
