"""What an encoder's file must have beside what every model has. Pure: a header goes in.

An encoder reads a pair of texts at once, and its classification head says how likely the answer is yes. llama.cpp's
pooling ``rank`` computes the head from the first token (dense, tanh, output) and gives every token the type of the
first sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

from gguf import GGUFValueType

from cascade.models.gguf import GGUFFile

ENCODERS = frozenset({"bert"})
"""Architectures of encoders that run here, by llama.cpp's names: BERT with word pieces and learned positions."""

TYPES = "token_types.weight"
"""The tensor of sentence types; llama.cpp adds its first row to every token."""

HEAD = "cls."
"""How the names of a head's tensors begin; no LoRA acts on them."""

_CLOSING = (b"[CLS]", b"[SEP]")
_CONTROL = 3
_GET_ANOTHER = "Give a cross-encoder that was converted with its classification head"


def is_encoder(file: GGUFFile) -> bool:
    """Whether a file says that it holds an encoder."""
    return file.get("general.architecture", GGUFValueType.STRING) in ENCODERS


def check_encoder(file: GGUFFile, architecture: str, n_embd: int, tokens: Sequence[bytes]) -> None:
    """Refuse an encoder without a head for one answer, or whose vocabulary cannot write a pair.

    Args:
        file: The model.
        architecture: Its architecture.
        n_embd: Width of the hidden state.
        tokens: Its vocabulary.

    Raises:
        ModelFileError: Names what is missing.
    """
    head = file.tensors.get(HEAD + "output.weight")
    if head is None:
        file.refuse("is an encoder without a classification head (cls.output.weight), which only embeds", _GET_ANOTHER)
    labels = file.get(f"{architecture}.classifier.output_labels", GGUFValueType.STRING, is_array=True) or ("yes",)
    n_answers = head.shape[1] if len(head.shape) > 1 else 1
    if head.shape[0] != n_embd or n_answers != 1 or len(labels) != 1:
        problem = f"has a classification head of shape {head.shape} for {len(labels)} labels"
        file.refuse(f"{problem}; one output is due", "Give a cross-encoder that was trained with one output")
    for name, due in (("weight", (n_embd, n_embd)), ("bias", (n_embd,)), ("output.bias", (1,))):
        tensor = file.tensors.get(HEAD + name)
        if tensor is not None and tensor.shape != due:
            file.refuse(f"{HEAD}{name} has the shape {tensor.shape}, where {due} is due", _GET_ANOTHER)
    # A position without an embedding ends the process (ggml-cpu/ops.cpp:5363).
    n_positions = file.require(f"{architecture}.context_length", GGUFValueType.UINT32)
    positions = file.tensors.get("position_embd.weight")
    if positions is None or positions.shape != (n_embd, n_positions):
        given = "is missing" if positions is None else f"has the shape {positions.shape}"
        file.refuse(f"position_embd.weight {given}, where ({n_embd}, {n_positions}) is due", _GET_ANOTHER)
    _check_tokens(file, tokens)


def _check_tokens(file: GGUFFile, tokens: Sequence[bytes]) -> None:
    types = file.require("tokenizer.ggml.token_type", GGUFValueType.INT32, is_array=True)
    for token in _CLOSING:
        if token not in tokens or types[tokens.index(token)] != _CONTROL:
            file.refuse(f"has no control token {token.decode()}, which pairs are written with", "Convert it again")
    unknown = file.get("tokenizer.ggml.unknown_token_id", GGUFValueType.UINT32)
    if (100 if unknown is None else unknown) >= len(tokens):  # llama.cpp's default; without one words become token -1
        file.refuse("has no token for unknown words (tokenizer.ggml.unknown_token_id)", "Convert it again")
