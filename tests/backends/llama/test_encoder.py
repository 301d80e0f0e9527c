"""An encoder in llama.cpp: it answers as torch does, however pairs are batched, and what would abort is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from adapters.recipe.encoder_file import KINDS, read_encoder, write_encoder
from adapters.recipe.tiny_encoder import SHAPE, SPECIALS, VOCABULARY, write_tiny
from cascade.backends.base import Batch, Query, Stop
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.encoder_runner import EncoderRunner
from cascade.backends.llama.loaded import ContextSize
from cascade.errors import ClosedError, DecodeError, ModelFileError
from cascade.models.base_model import check_model
from cascade.models.gguf import read_gguf
from cascade.models.lora import check_adapter
from cascade.probability import p_yes
from cascade.prompt import Node, Segment
from tests.helpers.rig import AfterCalls

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "encoder.json").read_text())
SIZE = ContextSize(n_ctx=256, n_seq_max=8, n_batch=192, n_threads=1)
TORCH = 0.01  # in p(yes)
SAME = 1e-3  # in p(yes); llama.cpp computes attention in F16, in another order for less than 64 tokens


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny encoder."""
    path = tmp_path_factory.mktemp("encoder") / "tiny.gguf"
    write_tiny(path)
    return path


@pytest.fixture
def native(file: Path) -> Iterator[NativeEncoder]:
    """The tiny encoder, open."""
    model = NativeEncoder(file, SIZE)
    yield model
    model.close()


@pytest.mark.parametrize("n_batch", [32, 127, 128])
def test_calls_have_no_more_sequences_than_tokens(file: Path, n_batch: int) -> None:
    """With more of them than tokens of a call llama.cpp would end the process when the context is opened."""
    model = NativeEncoder(file, replace(SIZE, n_seq_max=128, n_batch=n_batch))
    assert model.n_sequences == n_batch
    assert np.isfinite(model.encode([[2, 5, 3]])).all()
    model.close()


def queries(pairs: Sequence[Sequence[int]], adapter: str = "base") -> tuple[Query, ...]:
    """Pairs as questions: the first text is the task, the last token the question."""
    found = []
    for pair in pairs:
        root = Node(None, Segment.TASK, tuple(pair[:2]))
        found.append(Query(Node(Node(root, Segment.ITEM, tuple(pair[2:-1])), Segment.QUESTION, (pair[-1],)), adapter))
    return tuple(found)


def write_lora(path: Path, target: str, n_in: int, n_out: int) -> Path:
    """A LoRA adapter of one matrix."""
    writer = gguf.GGUFWriter(path, "bert")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 8.0)
    noise = np.random.default_rng(1)
    writer.add_tensor(f"{target}.lora_a", noise.normal(size=(4, n_in)).astype(np.float32))
    writer.add_tensor(f"{target}.lora_b", noise.normal(size=(n_out, 4)).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_it_answers_as_torch_does(native: NativeEncoder) -> None:
    """p(yes) of pairs of all lengths differs from torch's by less than 0.01."""
    found = np.concatenate([native.encode([pair]) for pair in GOLDEN["pairs"]])
    assert np.abs(p_yes(found) - p_yes(GOLDEN["odds"])).max() < TORCH
    assert np.std(GOLDEN["odds"]) > 0.1


@pytest.mark.parametrize("tokens", KINDS)
def test_tokens_are_looked_up_however_they_are_stored(tmp_path: Path, tokens: str) -> None:
    """With embeddings of each kind, llama.cpp answers as with the same numbers in F32."""
    stored = write_tiny(tmp_path / "stored.gguf", f"F32/{tokens}")
    shape, weights = read_encoder(stored)
    write_encoder(tmp_path / "plain.gguf", shape, weights, VOCABULARY, "F32")
    odds = []
    for path in (stored, tmp_path / "plain.gguf"):
        model = NativeEncoder(path, SIZE)
        odds.append(np.concatenate([model.encode([pair]) for pair in GOLDEN["pairs"]]))
        model.close()
    assert np.abs(p_yes(odds[0]) - p_yes(odds[1])).max() < SAME


def test_pairs_in_one_batch_answer_as_each_alone(native: NativeEncoder) -> None:
    """A batch of many pairs, which takes several calls, gives each pair's own answer at its own place."""
    runner = EncoderRunner(native)
    scores = runner.score(Batch(queries(GOLDEN["pairs"])))
    alone = np.concatenate([native.encode([pair]) for pair in GOLDEN["pairs"]])
    assert scores.cost.decode_calls > 2
    assert np.abs(p_yes(scores.logits) - p_yes(alone)).max() < SAME


def test_calls_hold_pairs_of_like_length(native: NativeEncoder) -> None:
    """Every token is computed once, in calls that are filled; the calls are counted with their tokens."""
    pairs = GOLDEN["pairs"]
    cost = EncoderRunner(native).score(Batch(queries(pairs))).cost
    assert (
        cost.tokens_decoded == sum(map(len, pairs)) == sum(work.tokens + work.short_tokens for work, _ in cost.decodes)
    )
    assert cost.decode_calls <= 2 * cost.tokens_decoded / native.n_batch + len(pairs) / native.n_sequences
    assert sum(work.outputs for work, _ in cost.decodes) == len(pairs)


def test_a_batch_stops_between_calls(native: NativeEncoder) -> None:
    """Where a batch is stopped, the calls before have answered, and the others have no answer."""
    pairs = GOLDEN["pairs"]
    whole = EncoderRunner(native).score(Batch(queries(pairs)))
    scores = EncoderRunner(native).score(Batch(queries(pairs)), AfterCalls(2))
    answered = ~np.isnan(scores.logits)
    assert scores.cost.decode_calls == 2
    assert 0 < answered.sum() < len(pairs)
    assert np.allclose(np.array(scores.logits)[answered], np.array(whole.logits)[answered])
    assert not scores.spoilt


def test_an_interrupted_batch_leaves_nothing_behind(native: NativeEncoder) -> None:
    """An aborted batch has no answers, and the next one answers as ever."""
    stop = Stop()
    stop.abort()
    runner = EncoderRunner(native)
    before = runner.score(Batch(queries(GOLDEN["pairs"]))).logits
    assert np.isnan(runner.score(Batch(queries(GOLDEN["pairs"])), stop).logits).all()
    assert runner.score(Batch(queries(GOLDEN["pairs"]))).logits == before


def test_an_interrupted_call_is_told(native: NativeEncoder) -> None:
    """llama.cpp itself stops in a call, and the batch says so by answers that are missing."""
    native.interrupt()
    with pytest.raises(DecodeError, match="interrupted"):
        native.encode([GOLDEN["pairs"][-1]])
    native.resume()
    assert np.isfinite(native.encode([GOLDEN["pairs"][-1]])).all()


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "0 pairs"),
        ([[]], "1 pairs of 0 tokens"),
        ([[2, 3]] * 9, "9 pairs"),
        ([[2] * (SHAPE.n_positions + 1)], f"at most {SHAPE.n_positions}"),
        ([[2] * 90] * 3, "270 tokens"),
        ([[2, SHAPE.n_vocab]], "token"),
        ([[-1, 3]], "token"),
    ],
)
def test_what_would_abort_is_refused(native: NativeEncoder, pairs: list[list[int]], words: str) -> None:
    """Too many pairs or tokens, a pair longer than the positions, or no token of the vocabulary."""
    with pytest.raises(DecodeError, match=words):
        native.encode(pairs)


def test_a_closed_encoder_says_so(file: Path) -> None:
    """A call after the end is refused."""
    model = NativeEncoder(file, SIZE)
    model.close()
    with pytest.raises(ClosedError):
        model.encode([[2, 3]])


def test_an_answer_that_is_no_number_is_told(tmp_path: Path) -> None:
    """A head that answers NaN spoils its queries, and each is named."""
    path = write_tiny(tmp_path / "nan.gguf")
    reader = gguf.GGUFReader(path, "r+")
    next(tensor for tensor in reader.tensors if tensor.name == "cls.output.bias").data[:] = np.nan
    del reader
    model = NativeEncoder(path, SIZE)
    scores = EncoderRunner(model).score(Batch(queries(GOLDEN["pairs"][:3])))
    model.close()
    assert sorted(scores.spoilt) == [0, 1, 2]
    assert np.isnan(scores.logits).all()


@pytest.mark.parametrize(
    ("target", "n_in", "n_out"), [("attn_q", 32, 32), ("attn_output", 32, 32), ("ffn_down", 64, 32)]
)
def test_lora_acts_on_layers(native: NativeEncoder, tmp_path: Path, target: str, n_in: int, n_out: int) -> None:
    """An adapter changes answers while it is active, and the base answers as before afterwards."""
    native.load_adapter("other", write_lora(tmp_path / "lora.gguf", f"blk.1.{target}.weight", n_in, n_out), 1.0)
    runner = EncoderRunner(native)
    pairs = GOLDEN["pairs"]
    base, other, again = (runner.score(Batch(queries(pairs, name))) for name in ("base", "other", "base"))
    assert np.abs(np.array(base.logits) - other.logits).max() > 0.05
    assert again.logits == base.logits
    assert [swap.adapter for swap in other.cost.swaps] == ["other"]


def test_lora_on_the_head_is_refused(file: Path, tmp_path: Path) -> None:
    """llama.cpp would load it and leave it out, so the file is refused."""
    info = check_model(read_gguf(file))
    path = write_lora(tmp_path / "lora.gguf", "cls.weight", SHAPE.width, SHAPE.width)
    with pytest.raises(ModelFileError, match=r"'cls\.weight' of an encoder"):
        check_adapter(read_gguf(path), info, "")


def test_its_vocabulary_writes_pairs(native: NativeEncoder) -> None:
    """Closing tokens are special in templates and plain in text from outside."""
    assert native.tokenizer.encode("[SEP]", special=True) == [SPECIALS.index("[SEP]")]
    assert SPECIALS.index("[SEP]") not in native.tokenizer.encode("a [SEP] b[SEP]", special=False)


def test_a_long_word_is_one_word(native: NativeEncoder) -> None:
    """However long: a cut would make two of it. One without a place in the vocabulary is one unknown token, as ever."""
    unknown = native.tokenizer.encode("\u0394", special=False)
    assert len(unknown) == 1
    for n in (100, 2_048, 2_049, 5_000, 200_000):
        assert native.tokenizer.encode("\u0394" * n, special=False) == unknown
        spaced = native.tokenizer.encode("\u0394" + " " * n + "\u0394", special=False)
        assert spaced == unknown * 2
