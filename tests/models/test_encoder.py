"""What an encoder's file must have is checked before llama.cpp sees it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFValueType

from adapters.recipe.tiny_encoder import SHAPE, write_tiny
from cascade.errors import ModelFileError
from cascade.models.base_model import check_model
from cascade.models.gguf import GGUFFile, MetaValue, TensorInfo, read_gguf

ONE_TYPE = GGUFValueType.STRING


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> GGUFFile:
    """The tiny encoder."""
    return read_gguf(write_tiny(tmp_path_factory.mktemp("encoder") / "tiny.gguf"))


def with_value(file: GGUFFile, key: str, value: MetaValue | None) -> GGUFFile:
    """A header with another metadata value, or without it."""
    metadata = {name: entry for name, entry in file.metadata.items() if name != key}
    return replace(file, metadata=metadata | ({key: value} if value is not None else {}))


def with_tensor(file: GGUFFile, name: str, tensor: TensorInfo | None) -> GGUFFile:
    """A header with another tensor, or without it."""
    tensors = {other: entry for other, entry in file.tensors.items() if other != name}
    return replace(file, tensors=tensors | ({name: tensor} if tensor is not None else {}))


def test_an_encoder_is_known_by_its_file(file: GGUFFile) -> None:
    """The architecture says that a file reads pairs."""
    info = check_model(file)
    assert (info.is_encoder, info.architecture, info.n_ctx_train) == (True, "bert", SHAPE.n_positions)


@pytest.mark.parametrize(
    "name", ["cls.output.weight", "position_embd.weight", "token_embd.weight", "blk.1.attn_k.weight"]
)
def test_a_missing_tensor_is_refused(file: GGUFFile, name: str) -> None:
    """A model that only embeds, or that lacks what llama.cpp reads, is refused by the tensor's name."""
    with pytest.raises(ModelFileError, match=name):
        check_model(with_tensor(file, name, None))


def test_a_head_of_several_outputs_is_refused(file: GGUFFile) -> None:
    """One output says yes or no; a classifier of three classes cannot."""
    tensor = replace(file.tensors["cls.output.weight"], shape=(SHAPE.width, 3))
    with pytest.raises(ModelFileError, match="one output is due"):
        check_model(with_tensor(file, "cls.output.weight", tensor))
    labels = MetaValue(type=ONE_TYPE, value=(b"a", b"b"), is_array=True)
    with pytest.raises(ModelFileError, match="2 labels"):
        check_model(with_value(file, "bert.classifier.output_labels", labels))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cls.weight", (SHAPE.width, SHAPE.width - 1)),
        ("cls.bias", (SHAPE.width, SHAPE.width)),
        ("cls.output.bias", (2,)),
    ],
)
def test_a_head_of_an_odd_shape_is_refused(file: GGUFFile, name: str, shape: tuple[int, ...]) -> None:
    """The tensors of the head fit one another; those that are absent are not missed."""
    with pytest.raises(ModelFileError, match=rf"{name} has the shape .* is due"):
        check_model(with_tensor(file, name, replace(file.tensors[name], shape=shape)))
    assert check_model(with_tensor(file, name, None)).is_encoder


def test_fewer_positions_than_the_context_are_refused(file: GGUFFile) -> None:
    """llama.cpp would end the process at the first position without an embedding."""
    longer = MetaValue(type=GGUFValueType.UINT32, value=SHAPE.n_positions + 1)
    with pytest.raises(ModelFileError, match="position_embd"):
        check_model(with_value(file, "bert.context_length", longer))


def test_types_of_sentences_must_be_plain_numbers(file: GGUFFile) -> None:
    """llama.cpp cannot add a row of another format."""
    tensor = replace(file.tensors["token_types.weight"], type=GGMLQuantizationType.F16)
    with pytest.raises(ModelFileError, match="token_types"):
        check_model(with_tensor(file, "token_types.weight", tensor))


def test_a_vocabulary_that_cannot_write_pairs_is_refused(file: GGUFFile) -> None:
    """Without a closing token, or one for unknown words, no pair can be written."""
    tokens = file.metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens.value, tuple)
    others = tuple(b"[END]" if token == b"[SEP]" else token for token in tokens.value)
    with pytest.raises(ModelFileError, match=r"\[SEP\]"):
        check_model(with_value(file, "tokenizer.ggml.tokens", replace(tokens, value=others)))
    far = MetaValue(type=GGUFValueType.UINT32, value=SHAPE.n_vocab)
    with pytest.raises(ModelFileError, match="unknown words"):
        check_model(with_value(file, "tokenizer.ggml.unknown_token_id", far))


def test_another_tokenizer_is_refused(file: GGUFFile) -> None:
    """The pairs of other families are written otherwise."""
    with pytest.raises(ModelFileError, match="tokenizer 't5'"):
        check_model(with_value(file, "tokenizer.ggml.model", MetaValue(type=ONE_TYPE, value="t5")))


def test_a_file_of_word_pieces_is_small(tmp_path: Path) -> None:
    """The tiny encoder takes little room in each format."""
    sizes = [write_tiny(tmp_path / f"{kind}.gguf", kind).stat().st_size for kind in ("F32", "F16", "Q8_0")]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] < 200_000
