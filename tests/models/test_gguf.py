"""GGUF files and what models say of themselves: whatever a file holds, it is read or refused, never anything else."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType
from hypothesis import given
from hypothesis import strategies as st

from cascade.errors import ModelFileError
from cascade.models.base_model import check_labels, check_model
from cascade.models.gguf import ENTRY_LIMIT, GGUFFile, MetaValue, read_gguf
from tests.helpers.gguf_files import (
    TOKENS,
    WIDTH,
    Lora,
    array,
    changed,
    count,
    single,
    text,
    write_adapter,
    write_model,
)

COUNTS_AT = 8
STRING = GGUFValueType.STRING


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model."""
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(model_path: Path) -> GGUFFile:
    """Its header."""
    return read_gguf(model_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A sound adapter of few bytes, for damage at every place."""
    path = tmp_path_factory.mktemp("small") / "small.gguf"
    return write_adapter(path, Lora(rank=1, targets=("attn_v",), invocation=(1, 2))).read_bytes()


def outcome(path: Path, data: bytes) -> str:
    """What reading says to these bytes; empty if it takes them."""
    path.write_bytes(data)
    try:
        read_gguf(path)
    except ModelFileError as error:
        return str(error)
    return ""


def raw_text(value: bytes) -> bytes:
    """A text as GGUF writes it."""
    return struct.pack("<Q", len(value)) + value


def raw_file(values: tuple[bytes, ...] = (), tensors: tuple[bytes, ...] = (), data: bytes = b"") -> bytes:
    """A file of raw metadata values and tensor entries."""
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values)) + b"".join(values) + b"".join(tensors)
    return header + b"\0" * (-len(header) % 32) + data


def raw_tensor(name: bytes, shape: tuple[int, ...] = (4,), type_: int = 0, offset: int = 0) -> bytes:
    """One entry of the tensor list."""
    return raw_text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, type_, offset)


def test_reads_what_the_gguf_package_reads(model_path: Path, model: GGUFFile) -> None:
    """Keys, types, tensors and places agree with those of gguf's own reader."""
    reader = GGUFReader(model_path)
    assert list(model.metadata) == [key for key in reader.fields if not key.startswith("GGUF.")]
    for key, value in model.metadata.items():
        theirs = reader.fields[key]
        assert theirs.types == ([GGUFValueType.ARRAY] if value.is_array else []) + [value.type]
        ours = value.value
        if isinstance(ours, tuple):
            assert [item.decode() for item in ours] == theirs.contents()
        else:
            assert np.array_equal(ours, theirs.contents())
    for tensor in reader.tensors:
        info = model.tensors[tensor.name]
        assert (info.shape, info.type) == (tuple(tensor.shape.tolist()), tensor.tensor_type)
        assert (info.offset, info.n_bytes) == (tensor.data_offset, tensor.n_bytes)


def test_model_facts(model: GGUFFile) -> None:
    """A sound model's facts are those it was written with."""
    info = check_model(model)
    assert (info.architecture, info.name, info.n_layers) == ("qwen3", "Tiny", 2)
    assert (info.n_ctx_train, info.n_embd, info.n_vocab) == (2048, WIDTH, len(TOKENS))
    assert info.shapes["blk.1.ffn_down.weight"] == (64, 32)


def test_every_cut_is_refused(tmp_path: Path, small: bytes) -> None:
    """A file that ends at any byte before its last is refused, in the header and in the tensors alike."""
    path = tmp_path / "cut.gguf"
    tensors = read_gguf_bytes(path, small).tensors.values()
    start, end = min(tensor.offset for tensor in tensors), max(tensor.offset + tensor.n_bytes for tensor in tensors)
    for length in (end - 1, *range(end - 7, start, -7), *range(start, -1, -1)):
        os.truncate(path, length)
        with pytest.raises(ModelFileError):
            read_gguf(path)
    assert not outcome(path, small[:end])


def read_gguf_bytes(path: Path, data: bytes) -> GGUFFile:
    """The header of a file with these bytes."""
    path.write_bytes(data)
    return read_gguf(path)


@pytest.mark.parametrize("at", [COUNTS_AT, COUNTS_AT + 8])
@pytest.mark.parametrize("number", [ENTRY_LIMIT, ENTRY_LIMIT + 1, 2**31, 2**63, 2**64 - 1])
def test_huge_counts_are_refused(tmp_path: Path, small: bytes, at: int, number: int) -> None:
    """Counts of tensors or values beyond what is there end in an error at once."""
    damaged = small[:at] + struct.pack("<Q", number) + small[at + 8 :]
    assert "damaged" in outcome(tmp_path / "counts.gguf", damaged)


def test_huge_lengths_are_refused(tmp_path: Path, small: bytes) -> None:
    """A length of any text or array that points behind the end ends in an error at once."""
    path = tmp_path / "lengths.gguf"
    header = read_gguf_bytes(path, small).tensors["blk.0.attn_v.weight.lora_a"].offset
    for at in range(COUNTS_AT, header - 8, 2):
        number = (2**32, 2**62, 2**64 - 1)[at // 2 % 3]
        message = outcome(path, small[:at] + struct.pack("<Q", number) + small[at + 8 :])
        assert not message or str(path) in message


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "no GGUF file"),
        (b"GGU", "no GGUF file"),
        (b"PK\x03\x04 a zip file, or anything else", "begins with b'PK"),
        (b"GGUF", "ends within its header"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version 50331648"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1;"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4;"),
        (raw_file((raw_text(b"key") + struct.pack("<IB", 0, 1),) * 2), "'key' stands there twice"),
        (raw_file((raw_text(b"") + struct.pack("<IB", 0, 1),)), "metadata key has the name b''"),
        (raw_file((raw_text(b"a\0b") + struct.pack("<IB", 0, 1),)), "metadata key has the name b'a\\x00b'"),
        (raw_file((raw_text(b"\xff\xfe") + struct.pack("<IB", 0, 1),)), "metadata key has the name"),
        (raw_file((raw_text(b"key") + struct.pack("<IB", 13, 1),)), "no type of value 13"),
        (raw_file((raw_text(b"key") + struct.pack("<IIQ", 9, 9, 1),)), "array of arrays"),
        (raw_file((raw_text(b"key") + struct.pack("<IIQ", 9, 99, 1),)), "no type of value 99"),
        (raw_file((raw_text(b"general.alignment") + struct.pack("<II", 4, 0),)), "general.alignment is 0"),
        (raw_file((raw_text(b"general.alignment") + struct.pack("<II", 4, 24),)), "general.alignment is 24"),
        (raw_file((raw_text(b"general.alignment") + struct.pack("<IQ", 10, 32),)), "general.alignment is 32"),
        (raw_file((), (raw_tensor(b"t"), raw_tensor(b"t")), b"\0" * 64), "'t' stands there twice"),
        (raw_file((), (raw_tensor(b"t" * 64),), b"\0" * 64), "more than 63 bytes"),
        (raw_file((), (raw_tensor(b"t", ()),), b"\0" * 64), "0 dimensions"),
        (raw_file((), (raw_tensor(b"t", (1, 1, 1, 1, 1)),), b"\0" * 64), "5 dimensions"),
        (raw_file((), (raw_tensor(b"t", (4, 0)),), b"\0" * 64), "shape (4, 0)"),
        (raw_file((), (raw_tensor(b"t", (2**63, 2**63)),), b"\0" * 64), "cut short"),
        (raw_file((), (raw_tensor(b"t", (4,), 4),), b"\0" * 64), "unknown type 4"),
        (raw_file((), (raw_tensor(b"t", (33,), 8),), b"\0" * 64), "blocks of 32"),
        (raw_file((), (raw_tensor(b"t", offset=32),), b"\0" * 64), "lies at 32, where 0 is due"),
        (raw_file((), (raw_tensor(b"t"),), b"\0" * 15), "cut short: tensor 't'"),
    ],
)
def test_damage_is_named(tmp_path: Path, data: bytes, part: str) -> None:
    """Each kind of damage is refused with the path, what is wrong, and what to do."""
    path = tmp_path / "damaged.gguf"
    message = outcome(path, data)
    assert message.startswith(f"{path}: ")
    assert part in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, os.mkfifo, lambda _: None, lambda path: path.symlink_to(path)],
    ids=["dir", "pipe", "", "loop"],
)
def test_what_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A folder, a pipe, a link to itself or nothing at all is refused without waiting."""
    path = tmp_path / "model.gguf"
    make(path)
    with pytest.raises(ModelFileError, match="Give the path of a GGUF file"):
        read_gguf(path)
    with pytest.raises(ModelFileError, match="null"):
        read_gguf(Path("a\0b"))


@given(
    edits=st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=6),
    end=st.integers(0, 1400),
)
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, small: bytes, edits: list[tuple[int, int]], end: int
) -> None:
    """Whatever bytes of the header are changed, the file is read or refused with a ModelFileError."""
    data = bytearray(small)
    for at, byte in edits:
        data[at % len(data)] = byte
    path = tmp_path_factory.getbasetemp() / "any.gguf"
    message = outcome(path, bytes(data[: end or None] if end < 200 else data))
    assert not message or message.startswith(f"{path}: ")


@given(st.binary(max_size=400))
def test_any_tail_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, tail: bytes) -> None:
    """Whatever follows a good magic and version is read or refused with a ModelFileError."""
    path = tmp_path_factory.getbasetemp() / "tail.gguf"
    message = outcome(path, b"GGUF" + struct.pack("<I", 3) + tail)
    assert not message or message.startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("general.type", text("adapter"), "general.type 'adapter', no model"),
        ("general.type", text("mmproj"), "no model"),
        ("general.type", count(1), "general.type has the type uint32"),
        ("general.architecture", None, "has no general.architecture"),
        ("general.architecture", single(GGUFValueType.INT32, 1), "takes only string"),
        ("general.architecture", text("clip"), "has the architecture 'clip', which does not run here. Give a model of"),
        ("general.architecture", text("mamba"), "which does not run here"),
        ("general.architecture", text("t5encoder"), "which does not run here"),
        ("general.architecture", text("llama"), "has no llama.block_count"),
        ("split.count", single(GGUFValueType.UINT16, 2), "llama-gguf-split --merge"),
        ("split.count", array(GGUFValueType.UINT16), "split.count has the type array of uint16"),
        ("qwen3.block_count", None, "has no qwen3.block_count"),
        ("qwen3.block_count", count(0), "block_count is 0; 1 to 512 are allowed"),
        ("qwen3.block_count", count(513), "block_count is 513"),
        ("qwen3.block_count", single(GGUFValueType.INT32, 2), "has the type int32. llama.cpp takes only uint32"),
        ("qwen3.nextn_predict_layers", count(2), "leaves none of the 2 layers of block_count"),
        ("qwen3.context_length", None, "has no qwen3.context_length"),
        ("qwen3.embedding_length", None, "has no qwen3.embedding_length"),
        (
            "qwen3.embedding_length",
            count(WIDTH * 2),
            "token_embd.weight has the shape (32, 260), where (64, 260) is due",
        ),
        ("qwen3.pooling_type", count(3), "embedding model"),
        ("qwen3.attention.causal", single(GGUFValueType.BOOL, value=False), "embedding model"),
        ("qwen3.rope.scaling.type", text("twisted"), "'twisted'; none, linear, yarn, longrope are known"),
        ("qwen3.rope.freq_base", single(GGUFValueType.FLOAT32, float("nan")), "is nan; it must be finite"),
        ("qwen3.attention.layer_norm_rms_epsilon", single(GGUFValueType.FLOAT32, -1e-6), "an epsilon not negative"),
        ("qwen3.attention.head_count_kv", count(3), "no multiple of head_count_kv [3]"),
        ("qwen3.attention.head_count_kv", array(GGUFValueType.INT32, 2, 3), "no multiple"),
        (
            "qwen3.attention.head_count_kv",
            array(GGUFValueType.INT32, 1, 1, 1),
            "one number or one for each of the 2 layers",
        ),
        (
            "qwen3.attention.head_count_kv",
            array(GGUFValueType.UINT32, 1, 2),
            "'blk.1.attn_k.weight' has the shape (32, 16)",
        ),
        ("qwen3.attention.head_count", count(0), "Each must be at least 1"),
        ("qwen3.attention.head_count", None, "one number or one for each"),
        ("qwen3.attention.key_length_swa", count(8), "they must be one number above 0"),
        ("qwen3.rope.dimension_count_swa", count(8), "it must be 16, and even"),
        ("qwen3.attention.value_length", count(8), "they must be one number above 0"),
        ("qwen3.rope.dimension_count", count(8), "qwen3.rope.dimension_count = 8"),
        ("qwen3.rope.dimension_count", count(0), "it must be 16, and even"),
        ("qwen3.expert_count", count(2), "uses 0 of 2 experts"),
        ("qwen3.expert_gating_func", count(255), "expert_gating_func is 255; 0 to 4 are known"),
        ("qwen3.interleave_moe_layer_step", count(0), "it must be at least 1"),
        ("qwen3.attention.sliding_window_pattern", count(1), "gives no layer a window"),
        ("qwen3.attention.sliding_window_pattern", array(GGUFValueType.BOOL, False, False), "gives no layer a window"),
        ("qwen3.expert_used_count", count(2), "uses 2 of 0 experts"),
        ("tokenizer.ggml.model", None, "has no tokenizer.ggml.model"),
        ("tokenizer.ggml.model", text("none"), "has the tokenizer 'none'"),
        ("tokenizer.ggml.model", text("bert"), "gpt2, gemma4, llama"),
        ("tokenizer.ggml.model", text("llama"), "has no token for the byte 0x00"),
        ("tokenizer.ggml.tokens", None, "has no tokenizer.ggml.tokens"),
        ("tokenizer.ggml.tokens", array(GGUFValueType.INT32, 1, 2), "has the type array of int32"),
        ("tokenizer.ggml.tokens", array(STRING), "empty vocabulary"),
        (
            "tokenizer.ggml.tokens",
            array(STRING, b"a", b"b"),
            "260 token types for 2 tokens",
        ),
        ("tokenizer.ggml.tokens", array(STRING, b"a", b"b", b"a"), "token 'a' 2 times"),
        ("tokenizer.ggml.tokens", array(STRING, b"a\0x", b"b", b"a\0y"), "token 'a' 2 times"),
        ("tokenizer.ggml.tokens", array(STRING, b"[EMPTY_1]", b""), "token '[EMPTY_1]' 2 times"),
        ("tokenizer.ggml.token_type", array(GGUFValueType.UINT32, 1), "takes only array of int32"),
        ("tokenizer.ggml.merges", None, "has no tokenizer.ggml.merges"),
    ],
)
def test_unfit_models_are_refused(model: GGUFFile, key: str, value: MetaValue | None, part: str) -> None:
    """What llama.cpp would refuse, abort on or misread in a model's metadata is refused by name."""
    with pytest.raises(ModelFileError) as refusal:
        check_model(changed(model, {key: value}))
    assert part in str(refusal.value)
    assert str(refusal.value).startswith(str(model.path))


@pytest.mark.parametrize(
    "values",
    [
        {"general.type": None},
        {"qwen3.pooling_type": count(4)},
        {"qwen3.attention.head_count_kv": array(GGUFValueType.UINT32, 1, 1)},
        {"qwen3.expert_count": count(8), "qwen3.expert_used_count": count(2)},
        {"split.count": single(GGUFValueType.UINT16, 1)},
        {"tokenizer.ggml.token_type": None},
        {"anyone.else": single(GGUFValueType.INT64, -1)},
    ],
)
def test_fit_models_pass(model: GGUFFile, values: dict[str, MetaValue | None]) -> None:
    """Optional keys and the forms that llama.cpp takes are no fault."""
    assert check_model(changed(model, values)).n_layers == 2


@pytest.mark.parametrize(
    ("n_layers", "n_shared", "pattern", "is_fit"),
    [
        (4, 0, (0, 1, 0, 1), True),
        (4, 1, (0, 1, 0, 0), True),
        (4, 1, (0, 1, 0, 1), True),
        (4, 1, (0, 0, 0, 1), False),
        (4, 2, (1, 0, 0, 1), True),
        (4, 2, (1, 1, 0, 0), False),
        (4, 2, (0, 1, 1, 1), False),
        (3, 2, (1, 1, 1), False),
    ],
)
def test_layers_that_share_keys_find_them(
    model: GGUFFile, n_layers: int, n_shared: int, pattern: tuple[int, ...], *, is_fit: bool
) -> None:
    """One with a window uses the last but one layer that has keys of its own, another the last; it must be alike."""
    metadata = {key.replace("qwen3.", "gemma4."): value for key, value in model.metadata.items()}
    metadata |= {
        "general.architecture": text("gemma4"),
        "gemma4.block_count": count(n_layers),
        "gemma4.attention.shared_kv_layers": count(n_shared),
        "gemma4.attention.sliding_window_pattern": array(GGUFValueType.INT32, *pattern),
    }
    gemma = replace(model, metadata=metadata)
    if is_fit:
        assert check_model(gemma).n_layers == n_layers
    else:
        with pytest.raises(ModelFileError, match=f"is {n_shared} of {n_layers} layers, which find no keys to share"):
            check_model(gemma)


def test_embedding_is_needed(model: GGUFFile) -> None:
    """A model without its embedding matrix is refused."""
    with pytest.raises(ModelFileError, match=r"token_embd.weight is missing, where \(32, 260\) is due"):
        check_model(replace(model, tensors={}))


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("output_norm.weight", GGMLQuantizationType.F16),
        ("blk.0.attn_q_norm.weight", GGMLQuantizationType.Q8_0),
        ("blk.0.attn_q.weight", GGMLQuantizationType.I16),
        ("token_embd.weight", GGMLQuantizationType.F64),
    ],
)
def test_types_that_llama_cpp_cannot_compute_are_refused(
    model: GGUFFile, name: str, type_: GGMLQuantizationType
) -> None:
    """Tensor types that load but end the process in the first decode are refused."""
    tensors = {**model.tensors, name: replace(model.tensors[name], type=type_)}
    with pytest.raises(ModelFileError, match=f"{name}' of shape .* has the type {type_.name}"):
        check_model(replace(model, tensors=tensors))


def test_labels_are_single_tokens(model: GGUFFile) -> None:
    """Labels in the vocabulary pass, also after a space; others are refused."""
    check_labels(model, ("yes", "no"))
    spaced = changed(
        model, {"tokenizer.ggml.tokens": array(STRING, "Ġyes".encode(), b"no"), "tokenizer.ggml.token_type": None}
    )
    check_labels(spaced, (" yes", "no"))
    with pytest.raises(ModelFileError, match="has no token for the label 'maybe'"):
        check_labels(model, ("yes", "maybe"))
