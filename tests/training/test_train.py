"""Trainings of tiny models whole, against llama.cpp; they need the extra ``train``."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from cascade.cli import main
from cascade.config.schema import read_config
from cascade.engine.engine import Engine
from cascade.errors import InputError, MachineError, ModelFileError
from cascade.evaluation.dataset import read_tasks
from cascade.models.gguf import read_gguf
from cascade.training.adapter_file import DATA_KEY, FIGURES_KEY, read_lora
from cascade.training.compare import by_key, check_file, some_of
from cascade.training.curve import learning_curve
from cascade.training.examples import examples
from cascade.training.prepare import Prepared, Wishes, prepare
from cascade.training.tensors import Geometry, projections
from cascade.training.train import Maker, libraries
from cascade.training.train import train as make
from cascade.training.tries import pack
from tests.helpers.gguf_files import TOKENS
from tests.training.lessons import row, tiny_config, write_dataset, write_rows

torch = pytest.importorskip("torch", reason="the extra `train` is not installed")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore"),  # torch, transformers and PEFT warn of much that is theirs
]
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "vocab_size": len(TOKENS),
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
}


def write_base(folder: Path, architecture: str) -> Path:
    """A tiny random model of transformers', as safetensors in ``folder/hf`` and as GGUF, which is returned."""
    more = {"head_dim": 16} if architecture != "qwen2" else {}
    torch.manual_seed(3)
    config = transformers.AutoConfig.for_model(architecture, **SIZES, **more)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(parameter.half().float() if parameter.ndim > 1 else parameter)
            if name.endswith("bias"):
                parameter.normal_()
    model.save_pretrained(folder / "hf")
    writer = gguf.GGUFWriter(folder / "tiny.gguf", architecture)
    _add_header(writer)
    names = gguf.get_tensor_name_map(
        {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], SIZES["num_hidden_layers"]
    )
    for name, parameter in model.named_parameters():
        values = parameter.detach().numpy()
        if architecture == "llama" and ("q_proj" in name or "k_proj" in name):
            values = _as_the_converter_does(values, 2 if "q_proj" in name else 1)
        values = values.astype(np.float16 if values.ndim > 1 else np.float32)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")) or "", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return folder / "tiny.gguf"


def _add_header(writer: gguf.GGUFWriter) -> None:
    writer.add_type("model")
    writer.add_context_length(SIZES["max_position_embeddings"])
    writer.add_embedding_length(SIZES["hidden_size"])
    writer.add_block_count(SIZES["num_hidden_layers"])
    writer.add_feed_forward_length(SIZES["intermediate_size"])
    writer.add_head_count(SIZES["num_attention_heads"])
    writer.add_head_count_kv(SIZES["num_key_value_heads"])
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(SIZES["rms_norm_eps"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(TOKENS))
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges(["y e", "ye s", "n o"])
    writer.add_eos_token_id(len(TOKENS) - 1)
    writer.add_add_bos_token(False)


def _as_the_converter_does(weights: np.ndarray[Any, Any], n_head: int) -> np.ndarray[Any, Any]:
    """Source: LlamaModel.permute of llama.cpp's convert_hf_to_gguf.py."""
    parts = weights.reshape(n_head, 2, weights.shape[0] // n_head // 2, *weights.shape[1:])
    return parts.swapaxes(1, 2).reshape(weights.shape)


def silent(*_: object) -> None:
    """Tells nobody."""


def prepared(folder: Path, architecture: str = "qwen3", *, is_curve: bool = False, **wishes: Any) -> Prepared:
    """A training of a tiny model."""
    base = folder / "tiny.gguf"
    if not base.exists():
        write_base(folder, architecture)
    config = tiny_config(folder, model=base)
    data = write_rows(folder / "rows.jsonl", 50)
    given: dict[str, Any] = {
        "adapter": "first",
        "data": [data],
        "out": folder / "out",
        "steps": 12,
        "rate": 0.02,
        "dtype": "f32",
    }
    return prepare(config, Wishes(**(given | wishes)), silent, is_curve=is_curve)


@pytest.mark.parametrize("is_activated", [True, False])
def test_tries_are_answered_as_prompts_are(tmp_path: Path, *, is_activated: bool) -> None:
    """A pack of tries gives the logits that PEFT gives for each prompt alone, whether activated or plain."""
    given = prepared(tmp_path, is_activated=is_activated)
    needed = libraries()
    plan, lesson = given.plan, given.lesson
    shape = needed.student.Shape(
        rank=4,
        alpha=8.0,
        is_activated=is_activated,
        labels=[asked.labels for asked in lesson.asked],
        offsets=[(0.0, 0.0)],
        seed=1,
    )
    own = needed.decoder.Decoder(read_gguf(lesson.base.path), shape, None, "cpu", "f32")
    rng = np.random.default_rng(2)
    lora = {
        name: tuple(rng.normal(size=half.shape).astype(np.float32) * 0.2 for half in halves)
        for name, halves in own.lora().items()
    }
    own.put(lora)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8.0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        task_type="CAUSAL_LM",
        alora_invocation_tokens=list(lesson.invocation) or None,
    )
    base = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    other = peft.get_peft_model(base, config).eval()
    state = dict(other.named_parameters())
    with torch.no_grad():
        for name, halves in lora.items():
            for part, values in zip(("lora_A", "lora_B"), halves, strict=True):
                state[f"base_model.model.{name}.{part}.default.weight"].copy_(torch.tensor(values))
    draw = [(example, [(ask, 1.0) for ask in example.asks]) for example in given.train[:3]]
    with torch.no_grad():
        together = own.logits(pack(draw))
    (labels,) = {asked.labels for asked in lesson.asked}
    row_ = 0
    for example, asks in draw:
        for ask, _ in asks:
            prompt, place = list(ask.tokens), ask.span
            while place >= 0:
                prompt = [*example.spans[place].tokens, *prompt]
                place = example.spans[place].above
            ids = torch.tensor([prompt])
            with torch.no_grad():
                alone = other(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, -1, list(labels)]
            assert torch.allclose(together[row_], alone, atol=2e-4), (row_, together[row_], alone)
            row_ += 1
    assert plan.invocation == lesson.invocation


@pytest.mark.parametrize(
    ("architecture", "options"),
    [("qwen3", []), ("llama", ["--plain"]), ("qwen2", ["--weights", "hf", "--dtype", "f32"])],
)
def test_a_trained_adapter_answers_in_the_engine(
    tmp_path: Path, architecture: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """From labelled tasks to a file: the loss falls, llama.cpp answers as torch does, and the cascade runs with it."""
    tiny_config(tmp_path, model=write_base(tmp_path, architecture))
    data, out = write_rows(tmp_path / "rows.jsonl", 50), tmp_path / "out"
    options = [str(tmp_path / "hf") if option == "hf" else option for option in options]
    command = ["train", "first", "--data", str(data), "--out", str(out), "--config", str(tmp_path / "cascade.toml")]
    assert main([*command, "--steps", "40", "--rate", "0.01", "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)
    figures = told["figures"]
    assert figures["valid"]["log_loss"] < figures["before"]["log_loss"]
    assert figures["engine_gap"] <= 0.01
    assert sorted(path.name for path in out.iterdir()) == ["first.gguf", "version.json"]
    assert json.loads((out / "version.json").read_text(encoding="utf-8")) == told
    kept = read_gguf(out / "first.gguf").metadata
    assert json.loads(str(kept[FIGURES_KEY].value))["engine_gap"] == figures["engine_gap"]
    assert json.loads(str(kept[DATA_KEY].value))["parts"]["train"]["tasks"] == 40
    assert main([*command, "--steps", "40", "--rate", "0.01", *options]) == 0
    shown = capsys.readouterr()
    assert "is there already, of these very data and options" in shown.err
    assert "the engine's p is within" in shown.out
    (tmp_path / "first.gguf").write_bytes((out / "first.gguf").read_bytes())
    config = read_config(tmp_path / "cascade.toml")
    alone = config.model_copy(update={"adapters": {"first": config.adapters["first"]}})
    tree = config.cascades()["two"]
    stage = replace(tree.first, yes=replace(tree.first.no, name="in"))
    one = replace(tree, stages=(stage,), labels=("out", "in"))
    with Engine.open(alone, cascades={"one": one}, log=None) as engine:
        (labelled, *_) = read_tasks([data], tree)
        assert len(engine.classify(labelled.task, labelled.items, "one").decisions) == len(labelled.items)


def test_a_killed_training_ends_the_same(tmp_path: Path) -> None:
    """A training that stops at some step and is called again has the weights of one that ran through."""

    class Killed(Exception):  # noqa: N818 - no fault, but the end of a process
        """Stands for a kill."""

    def kill(done: int, _total: int, _look: object) -> None:
        if done == 7:
            raise Killed

    whole = prepared(tmp_path, out=tmp_path / "whole")
    make(whole, silent, silent)
    assert prepared(tmp_path, out=tmp_path / "whole").is_done
    assert not prepared(tmp_path, out=tmp_path / "whole", force=True).is_done
    part = prepared(tmp_path, out=tmp_path / "part")
    with pytest.raises(Killed):
        make(part, silent, kill)
    assert part.run.checkpoint.exists()
    make(prepared(tmp_path, out=tmp_path / "part"), silent, silent)
    geometry = Geometry.of(read_gguf(tmp_path / "tiny.gguf"))
    one, other = (
        read_lora(read_gguf(tmp_path / name / "first.gguf"), geometry, projections(geometry))
        for name in ("whole", "part")
    )
    for module, halves in one.items():
        for half, same in zip(halves, other[module], strict=True):
            assert np.array_equal(half, same)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    """Neither another plan's, nor another part's, nor what is no checkpoint at all is gone on from."""
    given = prepared(tmp_path, steps=2)
    maker, path = Maker.of(given, silent), given.run.checkpoint
    maker.taught(given.plan, given.train, path, silent)
    whole = torch.load(path, weights_only=True)
    others = [
        (replace(given.plan, seed=8), given.train),
        (given.plan, given.train[:-1]),
        (given.plan, given.train[::-1]),
    ]
    for plan, tasks in others:
        with pytest.raises(InputError, match=r"checkpoint\.pt: is a checkpoint of another training.*Remove it"):
            maker.taught(plan, tasks, path, silent)
    damaged = [{key: value for key, value in whole.items() if key != missing} for missing in whole]
    for state in (*damaged, [1], torch.ones(3), whole | {"lora": 5}, whole | {"looks": [1]}, whole | {"optimiser": {}}):
        torch.save(state, path)
        with pytest.raises(InputError, match=r"checkpoint\.pt: is no checkpoint of a training, or damaged\. Remove it"):
            maker.taught(given.plan, given.train, path, silent)
    torch.save(whole, path)
    assert maker.taught(given.plan, given.train, path, silent).step == 2


def test_a_killed_curve_is_not_taken_for_a_training(tmp_path: Path) -> None:
    """A training in the folder of a curve that was killed has the figures of one in a folder of its own."""

    class Killed(Exception):  # noqa: N818 - no fault, but the end of a process
        """Stands for a kill."""

    def kill(done: int, _total: int, _look: object) -> None:
        if done == 3:
            raise Killed

    curve = prepared(tmp_path, steps=5, is_curve=True)
    with pytest.raises(Killed):
        learning_curve(curve, silent, kill)
    assert curve.run.checkpoint.exists()
    found = make(prepared(tmp_path, steps=5), silent, silent)
    alone = make(prepared(tmp_path, steps=5, out=tmp_path / "alone"), silent, silent)
    assert found["figures"] == alone["figures"]
    again = prepared(tmp_path, steps=5, is_curve=True)
    assert set(again.settled["points"]) == {"0"}
    assert again.run.checkpoint.exists()


def test_both_ways_to_compute_are_timed_on_a_task(tmp_path: Path) -> None:
    """Without a choice a CPU computes as it did a task of the data faster, and a run that goes on does so too."""
    told: list[str] = []
    first = Maker.of(prepared(tmp_path, dtype=None, device="cpu"), told.append)
    assert re.search(
        r"in (F32|BF16) on this CPU, which takes for the same task: F32 [\d,]+ ms, BF16 [\d,]+ ms", told[-1]
    )
    assert all(parameter.grad is None for parameter in first.student.trained)
    again = Maker.of(prepared(tmp_path, dtype=None, device="cpu"), told.append)
    assert again.dtype == first.dtype
    assert told[-1] == f"training computes in {first.dtype.upper()} on cpu"


def test_balanced_classes_do_not_move_p(tmp_path: Path) -> None:
    """Of items that nothing tells apart p(yes) becomes the share of yes, however much more a yes counts in training.

    That share is one that the head of the tiny model can say.
    """
    rows = [row(number, 10) for number in range(40)]
    lines = []
    for each in rows:
        items = [{"id": str(at), "name": "x", "label": "in", "weight": 1.0} for at in range(4)]
        items += [{"id": str(at), "name": "x", "label": "out", "weight": 4 / 6} for at in range(4, 10)]
        lines.append(json.dumps({"task": each["task"], "items": items}) + "\n")
    found = []
    for balance in ({"in": 1.0, "out": 4 / 6}, {}):
        folder = write_dataset(tmp_path / f"data-{len(balance)}", lines, {"balance": balance})
        given = prepared(tmp_path, data=[folder], out=tmp_path / f"out-{len(balance)}", steps=30)
        found.append(make(given, silent, silent)["figures"]["valid"])
    assert [each["base_rate"] for each in found] == pytest.approx([0.4, 0.4])
    assert found[0]["ece"] < 0.02
    assert found[1]["ece"] == pytest.approx(0.1, abs=0.02)


def test_a_training_without_a_gain_stops_in_its_second_half(tmp_path: Path) -> None:
    """Three looks without a gain end it, but not while the rate is near its peak."""
    steps: list[int] = []
    make(prepared(tmp_path, steps=40, rate=0.0), silent, lambda done, _total, _look: steps.append(done))
    assert steps[-1] == 20


def test_a_training_that_gains_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no look is better than the start, what is written answers as the start does."""
    tiny_config(tmp_path, model=write_base(tmp_path, "qwen3"))
    command = ["train", "first", "--data", str(write_rows(tmp_path / "rows.jsonl", 50)), "--dtype", "f32"]
    command += ["--out", str(tmp_path / "out"), "--config", str(tmp_path / "cascade.toml"), "--steps", "5"]
    assert main([*command, "--rate", "1e-9"]) == 0
    shown = capsys.readouterr()
    assert "No step was better than the start" in shown.out
    assert "wrote" in shown.err
    assert main([*command, "--rate", "1e-9"]) == 0
    assert "wrote" not in capsys.readouterr().err


def test_the_tasks_of_a_step_are_chosen(tmp_path: Path) -> None:
    """``batch`` says how many tasks a step takes, and so how many steps four rounds are."""
    plans = [prepared(tmp_path, out=tmp_path / str(batch), batch=batch, steps=None).plan for batch in (None, 1)]
    assert [(plan.n_tasks, plan.steps) for plan in plans] == [(8, 60), (1, 160)]
    assert plans[0].fingerprint != plans[1].fingerprint


def test_a_file_that_answers_otherwise_is_not_written(tmp_path: Path) -> None:
    """Where the engine's p is too far from the trained model's, nothing is left but what a further run goes on from."""

    def kill(done: int, _total: int, _look: object) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(prepared(tmp_path), silent, kill)
    given = prepared(tmp_path, within=0.0)  # a run that goes on is not checked before it begins
    with pytest.raises(MachineError, match=r"the engine answers otherwise than the trained model.*no file is written"):
        make(given, silent, silent)
    assert not given.run.adapter.exists()
    assert not list(given.run.folder.glob("*.part"))
    assert given.run.checkpoint.exists()
    assert make(prepared(tmp_path), silent, silent)["figures"]["engine_gap"] <= 0.01


def test_what_would_fail_at_the_end_fails_before_the_first_step(tmp_path: Path) -> None:
    """Where engine and torch differ without any training there is none, and the folder takes one on another base."""
    steps: list[int] = []
    given = prepared(tmp_path, within=0.0)
    with pytest.raises(
        MachineError, match=r"Before any training the engine answers otherwise.*cascade quantize IN OUT"
    ):
        make(given, silent, lambda done, _total, _look: steps.append(done))
    assert not steps
    assert not list(given.run.folder.iterdir())
    first = make(prepared(tmp_path), silent, silent)
    start = str(given.run.adapter)
    further = prepared(tmp_path, out=tmp_path / "further", start=start, seed=8)
    Maker.of(further, silent).check()
    zero = Maker.of(further, silent)
    zero.student.put({})
    with pytest.raises(MachineError, match="Before any training the engine answers otherwise"):
        zero.check()  # the engine was asked with the file that the training starts from
    assert first["figures"]["engine_gap"] <= 0.01


def test_a_loss_that_is_no_number_ends_a_training(tmp_path: Path) -> None:
    """Weights that overflowed, or were NaN from the first, are found at the next step or look."""
    with pytest.raises(MachineError, match=r"After [1-9] steps? the loss is (nan|inf).*lower --rate"):
        make(prepared(tmp_path, rate=1e30), silent, silent)
    given = prepared(tmp_path, out=tmp_path / "other")
    maker = Maker.of(given, silent)
    broken = {name: (np.full_like(down, np.nan), up) for name, (down, up) in maker.student.lora().items()}
    maker.student.put(broken)
    with pytest.raises(MachineError, match=r"p is .*, and in torch nan"):
        maker.check()
    with pytest.raises(MachineError, match="After 0 steps the loss is nan"):
        maker.taught(given.plan, given.train, given.run.checkpoint, silent)
    assert not given.run.checkpoint.exists()


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="mps is there")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Nothing is loaded for a GPU that torch does not find."""
    told: list[str] = []
    with pytest.raises(MachineError, match=r"torch finds no mps here; it can compute on .*cpu"):
        Maker.of(prepared(tmp_path, device="mps"), told.append)
    assert not told


def test_another_adapter_is_found_out(tmp_path: Path) -> None:
    """The check sees that a file is not the model that was trained: here its matrices are another training's."""
    given = prepared(tmp_path)
    make(given, silent, silent)
    tasks = some_of(given.parts.valid, given.valid)
    tries = examples(given.lesson, tasks)
    flat = by_key(given.lesson, tries, [np.tile([0.5, 0.5], (len(example.asks), 1)) for example in tries])
    with pytest.raises(MachineError, match="the engine answers otherwise"):
        check_file(given.lesson, given.run.adapter, tasks, flat)


def test_teachers_and_starts(tmp_path: Path) -> None:
    """A training may start from an adapter, and learn from one of the map, whose answers are asked once."""
    first = make(prepared(tmp_path, out=tmp_path / "one"), silent, silent)
    (tmp_path / "first.gguf").write_bytes((tmp_path / "one" / "first.gguf").read_bytes())
    given = prepared(tmp_path, out=tmp_path / "two", start="first", teacher="first", trust=0.5)
    assert given.run.answers.exists()
    rows = [row(number) for number in range(48, 60)]  # two of them are labelled ones
    (tmp_path / "more.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    more = prepared(tmp_path, out=tmp_path / "three", teacher="first", unlabelled=[tmp_path / "more.jsonl"])
    assert len(more.train) == len(given.train) + 10
    assert not any(ask.true for example in more.train[-10:] for ask in example.asks)
    shares = {target for example in given.train for ask in example.asks for target in ask.target}
    assert len(shares) > 2
    second = make(given, silent, silent)
    assert not given.run.answers.exists()
    assert second["parents"] == [first["sha256"]]
    assert second["figures"]["before"]["log_loss"] == pytest.approx(first["figures"]["valid"]["log_loss"], abs=1e-3)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    """A folder of safetensors must be that of the base model in the config."""
    given = prepared(tmp_path)
    config = json.loads((tmp_path / "hf" / "config.json").read_text(encoding="utf-8"))
    other = transformers.AutoConfig.for_model("qwen3", **(SIZES | {"head_dim": 16, "intermediate_size": 48}))
    transformers.AutoModelForCausalLM.from_config(other).save_pretrained(tmp_path / "other")
    assert config["intermediate_size"] == 64
    wrong = replace(given, wishes=replace(given.wishes, weights=tmp_path / "other"))
    with pytest.raises(ModelFileError, match="is not the model that the config names: intermediate_size is 48"):
        make(wrong, silent, silent)


def test_a_curve_is_measured_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A curve has a point for each part, a picture, and is not measured again; a table says how many are enough."""
    write_base(tmp_path, "qwen3")
    tiny_config(tmp_path, model=tmp_path / "tiny.gguf")
    data, out = write_rows(tmp_path / "rows.jsonl", 50), tmp_path / "curve"
    command = ["train", "first", "--data", str(data), "--out", str(out), "--config", str(tmp_path / "cascade.toml")]
    command += ["--steps", "5", "--curve"]
    assert main([*command, "--json"]) == 0
    curve = json.loads(capsys.readouterr().out)
    assert [point["tasks"] for point in curve["points"]] == [0, 5, 10, 20, 40]
    assert curve["points"][0]["gain"] is None
    assert sorted(path.name for path in out.iterdir()) == ["curve.json", "first-curve.png"]
    assert main(command) == 0
    shown = capsys.readouterr()
    assert "is there already" in shown.err
    assert "half width" in shown.out


def test_too_few_tasks_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command says how many labelled items it takes before it loads a model into torch."""
    write_base(tmp_path, "qwen3")
    tiny_config(tmp_path, model=tmp_path / "tiny.gguf")
    write_rows(tmp_path / "few.jsonl", 10, 3)
    command = ["train", "first", "--data", str(tmp_path / "few.jsonl"), "--out", str(tmp_path / "out")]
    assert main([*command, "--config", str(tmp_path / "cascade.toml")]) == 2
    assert "It takes about" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
