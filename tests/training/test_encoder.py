"""Adapters on an encoder, trained whole against llama.cpp; what needs torch needs the extra ``train``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.recipe.tiny_encoder import tiny_weights, write_tiny
from cascade import Engine, read_config
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.loaded import ContextSize
from cascade.cli import main
from cascade.errors import CascadeError, ConfigError, InputError, ItemError
from cascade.evaluation.dataset import read_tasks
from cascade.models.gguf import read_gguf
from cascade.probability import p_yes
from cascade.training.adapter_file import read_lora
from cascade.training.compare import asked_of_engine, some_of
from cascade.training.examples import Ask, Example, Span, examples
from cascade.training.pairs import pairs, path
from cascade.training.prepare import Prepared, Wishes, prepare
from cascade.training.tensors import Geometry, projections, read_head
from cascade.training.train import Maker
from cascade.training.train import train as make
from tests.helpers.gguf_files import write_without
from tests.training.lessons import row

CONFIG = """
[models.reader]
path = "tiny.gguf"
n_threads = 1
limits = { task = 16, group = 16, item = 24 }

[adapters]
first = { path = "first.gguf", model = "reader" }

[cascade.one]
labels = ["out", "in"]

[[cascade.one.stages]]
name = "a"
question = "is it one?"
adapter = "first"
threshold = 0.5
yes = { label = "in" }
no = { label = "out" }
"""
SECOND = """yes = { stage = "b" }
no = { label = "out" }

[[cascade.one.stages]]
name = "b"
question = "is it near?"
adapter = "first"
threshold = 0.5
yes = { label = "in" }"""
READS = 'adapter = "first"\nreads = "text"\nmax_text_tokens = 40'


def write_config(folder: Path, config: str = CONFIG) -> Path:
    """The tiny encoder and a cascade that asks it."""
    folder.mkdir(exist_ok=True)
    write_tiny(folder / "tiny.gguf")
    (folder / "cascade.toml").write_text(config, encoding="utf-8")
    return folder / "cascade.toml"


def write_rows(folder: Path, words: int = 1) -> Path:
    """Fifty tasks whose items are in where their names begin with x; how many words task and names have."""
    rows: list[Any] = [row(number) for number in range(50)]
    for each in rows:
        each["task"] = " ".join([each["task"]] * words)
        for item in each["items"]:
            item["name"] = " ".join([item["name"]] * words)
            item["label"] = "in" if item["label"] == "in" else "out"
            item["text"] = f"def {item['name']}(self): return self.cache" if item["id"] != "2" else ""
    (folder / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return folder / "rows.jsonl"


def prepared(folder: Path, config: str = CONFIG, *, words: int = 1, is_activated: bool | None = None) -> Prepared:
    """A training of an adapter on the tiny encoder."""
    read = read_config(write_config(folder, config))
    wishes = Wishes(adapter="first", data=[write_rows(folder, words)], out=folder / "out", is_activated=is_activated)
    return prepare(read, wishes, lambda _: None)


def test_pairs_are_what_the_engine_reads(tmp_path: Path) -> None:
    """The encoder says of the tokens of a question's path what an engine answers to the question."""
    given = prepared(tmp_path, CONFIG.replace('adapter = "first"', READS))
    lesson, tasks = given.lesson, some_of(given.parts.train, given.train, 40)
    answered = asked_of_engine(lesson, "base", None, tasks)
    native = NativeEncoder(tmp_path / "tiny.gguf", ContextSize(n_ctx=256, n_seq_max=8, n_batch=192, n_threads=1))
    found = [(example, ask) for example in examples(lesson, tasks) for ask in example.asks]
    assert len(found) > 30
    for example, ask in found:
        (odds,) = native.encode([path(example, ask)])
        assert abs(p_yes(odds) - answered[example.task, ask.item, "a"][0]) < 1e-3
    native.close()
    assert len({path(example, ask) for example, ask in found}) > 30
    assert lesson.invocation == ()


def test_rows_hold_pairs_of_like_length() -> None:
    """Every pair is in one part, in a row of its own, at its place, and no part has more tokens than it may."""
    rng = np.random.default_rng(4)
    spans = (Span(-1, 0, (1, 2)), *(Span(0, 2, tuple(range(3, 3 + n))) for n in rng.integers(1, 30, 40).tolist()))
    asks = tuple(Ask(str(at), 0, at, (9,), 0, (), (at / 40, 1 - at / 40), 1.0) for at in range(1, 41))
    example = Example("t", spans, asks)
    parts = list(pairs([(example, [(ask, float(at)) for at, ask in enumerate(asks)])], 100))
    assert sorted(np.concatenate([part.places for part in parts])) == list(range(40))
    for part in parts:
        assert part.tokens.size <= 100
        for row_, at in enumerate(part.places.tolist()):
            assert tuple(part.tokens[row_][part.is_token[row_]]) == path(example, asks[at])
            assert not part.tokens[row_][~part.is_token[row_]].any()
            assert (part.targets[row_], part.weights[row_]) == (asks[at].target[0], at)
    (alone,) = pairs([(example, [(asks[0], 1.0)])], 1)
    assert len(alone.places) == 1


def test_its_tensors_are_found_by_the_names_of_transformers(tmp_path: Path) -> None:
    """Each matrix that LoRA changes has its name in llama.cpp, and the head is read as it was written."""
    file = read_gguf(write_tiny(tmp_path / "tiny.gguf"))
    geometry = Geometry.of(file)
    names = [geometry.ggml_name(module) for module in projections(geometry)]
    kinds = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down")
    assert names == [f"blk.{layer}.{kind}" for layer in range(2) for kind in kinds]
    assert all(f"{name}.weight" in file.tensors for name in names)
    head, weights = read_head(file), tiny_weights()
    assert np.allclose(head["weight"], weights["pooler.weight"])
    assert np.allclose(head["output.weight"].ravel(), weights["head.weight"].ravel())


@pytest.mark.parametrize(
    ("before", "after", "wishes", "error", "said"),
    [
        ("", "", {"is_activated": True}, InputError, "no question switches an adapter on. Give --plain"),
        (
            "threshold = 0.5",
            'threshold = 0.5\nnegated = "is it none?"',
            {},
            ConfigError,
            "'a' has negated, and adapter",
        ),
        ("item = 24 }", "item = 90 }", {"words": 30}, ItemError, "the encoder reads 96. Lower models.reader.limits"),
        ("item = 24 }", "item = 90 }", {"words": 30}, ItemError, "rows.jsonl, line 3: Item '0' needs a prompt of"),
        ('yes = { label = "in" }', SECOND, {}, ConfigError, "the stages 'a' and 'b' ask it, and an encoder"),
        ('model = "reader"', 'model = "reader", scale = 0.5', {}, InputError, "adapters.first.scale: is 0.5"),
    ],
)
def test_what_an_encoder_cannot_learn_is_refused(
    tmp_path: Path, before: str, after: str, wishes: dict[str, Any], error: type[CascadeError], said: str
) -> None:
    """Activated adapters, questions that it would not read, and pairs that are too long, before anything is trained."""
    with pytest.raises(error, match=re.escape(said)):
        prepared(tmp_path, CONFIG.replace(before, after), **wishes)


def edit_config(folder: Path, **values: object) -> None:
    """Change a folder's config of transformers."""
    told = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(told | values), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_folder_of_other_weights_is_refused(tmp_path: Path) -> None:
    """Weights that are missing, damaged, or of a model of other sizes or another kind; never random ones instead."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    transformers = pytest.importorskip("transformers")
    tensors = pytest.importorskip("safetensors.numpy")
    given = prepared(tmp_path)
    settings = dict(Geometry.of(read_gguf(given.lesson.base.path)).settings)

    def saved(name: str, **other: Any) -> Path:
        config = transformers.BertConfig(**(settings | other))
        transformers.BertModel(config, add_pooling_layer=False).save_pretrained(tmp_path / name)
        return tmp_path / name

    def refused(folder: Path, said: str) -> None:
        wishes = replace(given.wishes, weights=folder, dtype="f32", device="cpu")
        with pytest.raises(CascadeError, match=said):
            make(replace(given, wishes=wishes), lambda _: None, lambda *_: None)

    for key, value in {"vocab_size": 40, "max_position_embeddings": 8, "layer_norm_eps": 0.1}.items():
        refused(saved(key, **{key: value}), f"is not the model that the config names: {key} is {value}, where")
    refused(saved("act", hidden_act="relu"), "hidden_act is relu, where the file has gelu")
    refused(saved("more", vocab_size=400, max_position_embeddings=500), "Perhaps .*more does not hold the weights of")
    part = saved("part") / "model.safetensors"
    kept = {name: each for name, each in tensors.load_file(part).items() if "layer.1" not in name}
    tensors.save_file(kept, part, {"format": "pt"})
    refused(part.parent, "part: lacks 16 tensors, such as encoder.layer.1.attention")
    part.write_bytes(b"x" * 100)
    refused(part.parent, "part: transformers cannot load it .*Give a folder with config.json")
    edit_config(saved("odd"), hidden_act="foo")
    refused(tmp_path / "odd", "odd: transformers cannot load it")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("absent", [("token_types.weight",), ("blk.0.attn_q.bias", "blk.1.ffn_up.bias", "cls.bias")])
def test_an_encoder_without_what_llama_cpp_does_without_is_trained(tmp_path: Path, absent: tuple[str, ...]) -> None:
    """Torch answers as the engine does where the file lacks types of sentences or biases."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    given = prepared(tmp_path)
    write_without(given.lesson.base.path, tmp_path / "less.gguf", *absent)
    (tmp_path / "cascade.toml").write_text(CONFIG.replace("tiny.gguf", "less.gguf"), encoding="utf-8")
    wishes = replace(given.wishes, out=tmp_path / "less", dtype="f32", device="cpu")
    Maker.of(prepare(read_config(tmp_path / "cascade.toml"), wishes, lambda _: None), lambda _: None).check()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("reads", ['adapter = "first"', READS])
def test_a_trained_adapter_answers_in_the_engine(
    tmp_path: Path, reads: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From labelled tasks to a file: the loss falls, llama.cpp answers as torch does, and the cascade runs with it."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    config = write_config(tmp_path, CONFIG.replace('adapter = "first"', reads))
    data, out = write_rows(tmp_path), tmp_path / "out"
    command = ["train", "first", "--data", str(data), "--out", str(out), "--config", str(config)]
    command += ["--steps", "60", "--rate", "0.02", "--dtype", "f32"]
    assert main([*command, "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["valid"]["log_loss"] < figures["before"]["log_loss"] - 0.1
    assert figures["valid"]["auc_over_rows"] > 0.9
    assert figures["engine_gap"] <= 0.01
    assert sorted(each.name for each in out.iterdir()) == ["first.gguf", "version.json"]
    (tmp_path / "first.gguf").write_bytes((out / "first.gguf").read_bytes())
    with Engine.open(config, log=None) as engine:
        (labelled, *_) = read_tasks([data], read_config(config).cascades()["one"])
        found = engine.classify(labelled.task, labelled.items, "one").decisions
        assert len(found) == len(labelled.items)
        assert sum(one.label == label for one, label in zip(found, labelled.labels, strict=True)) >= len(found) - 1
    command[command.index(str(out))] = str(tmp_path / "again")
    assert main([*command, "--start", "first", "--json"]) == 0
    started = json.loads(capsys.readouterr().out)["figures"]
    assert started["before"]["log_loss"] == pytest.approx(figures["valid"]["log_loss"], abs=1e-3)
    geometry = Geometry.of(read_gguf(tmp_path / "tiny.gguf"))
    assert set(read_lora(read_gguf(out / "first.gguf"), geometry, projections(geometry))) == set(projections(geometry))


def test_texts_that_are_missing_are_told_of(tmp_path: Path) -> None:
    """Where a stage reads texts and no item that is learned has one, the adapter would learn what it never meets."""
    config = read_config(write_config(tmp_path, CONFIG.replace('adapter = "first"', READS)))
    data = write_rows(tmp_path)
    told: list[str] = []
    prepare(config, Wishes(adapter="first", data=[data], out=tmp_path / "one"), told.append)
    assert not any("reads items' texts" in line for line in told)
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    for each in rows:
        each["items"] = [{key: value for key, value in item.items() if key != "text"} for item in each["items"]]
    data.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    prepare(config, Wishes(adapter="first", data=[data], out=tmp_path / "two"), told.append)
    assert any("first reads items' texts in use, and no item that is learned has one" in line for line in told)


def test_what_is_true_is_part_of_the_plan(tmp_path: Path) -> None:
    """With yes and no swapped the same labels teach the opposite, which is another training."""
    swapped = CONFIG.replace('yes = { label = "in" }', 'yes = { label = "out" }')
    swapped = swapped.replace('no = { label = "out" }', 'no = { label = "in" }')
    plans = [prepared(tmp_path / name, config).plan for name, config in (("one", CONFIG), ("two", swapped))]
    assert plans[0].questions != plans[1].questions
    assert plans[0].data_sha256 == plans[1].data_sha256


def test_a_teacher_is_told_by_its_file(tmp_path: Path) -> None:
    """A base model goes by the names that the config takes, and another file is another teacher."""
    config = write_config(tmp_path)
    wishes = Wishes(adapter="first", data=[write_rows(tmp_path)], out=tmp_path / "out", teacher="reader/base")
    one, same = (
        prepare(read_config(config), replace(wishes, teacher=name, out=tmp_path / name.replace("/", "-")), print).plan
        for name in ("reader/base", "base")
    )
    assert one.teacher == same.teacher
    write_tiny(tmp_path / "tiny.gguf", "F16")
    other = prepare(read_config(config), replace(wishes, out=tmp_path / "other"), print).plan
    assert other.teacher != one.teacher
    with pytest.raises(InputError, match="'no/base' is neither an adapter or base model of the config nor a file"):
        prepare(read_config(config), replace(wishes, teacher="no/base"), print)


@pytest.mark.parametrize("name", ["../up", "a b", ".hid", "a/b"])
def test_a_file_can_be_called_after_the_adapter(tmp_path: Path, name: str) -> None:
    """A name that leads out of the folder, or that the registry refuses, is refused before the training."""
    config = write_config(tmp_path, CONFIG.replace("first =", f'"{name}" =').replace('"first"', f'"{name}"'))
    with pytest.raises(InputError, match="a training names a file after it"):
        prepare(read_config(config), Wishes(adapter=name, data=[write_rows(tmp_path)], out=tmp_path / "out"), print)
