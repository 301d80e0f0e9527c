"""The folder of a training, and the adapters' files that come of it, without torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from adapters.recipe.tiny_encoder import write_tiny
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.errors import InputError, MachineError, ModelFileError
from cascade.evaluation.dataset import Labelled
from cascade.items import Item, Task
from cascade.models.base_model import check_model
from cascade.models.gguf import GGUFFile, read_gguf
from cascade.models.lora import check_adapter
from cascade.models.model_set import file_hash
from cascade.probability import p_yes
from cascade.training.adapter_file import AdapterFacts, read_lora, read_plan, write_adapter
from cascade.training.compare import some_of
from cascade.training.curve import Point, enough_from, nested, sizes
from cascade.training.examples import Ask, Example, offsets
from cascade.training.figures import Gain, Scores
from cascade.training.plan import Plan, default_look, default_rate, default_steps
from cascade.training.run import Run
from cascade.training.tensors import Floats, Geometry, projections, read_weights
from tests.helpers.gguf_files import KV_HEADS, LINEAR, TOKENS, changed, text, write_model, write_without

PLAN = Plan(adapter="first", cascade="two", base_sha256="ab", data_sha256="cd", questions="ef", invocation=(3, 4))


def facts(base: Path, plan: Plan = PLAN) -> AdapterFacts:
    """Facts of an adapter."""
    return AdapterFacts(
        name="first",
        base_name="Tiny",
        base_sha256=file_hash(base),
        alpha=8.0,
        invocation=(3, 4),
        markers=("a", "b"),
        data={"version": 1, "sources": ["näme"]},
        figures={"valid": {"log_loss": 0.5}},
        plan=plan.as_dict(),
    )


def is_done(run: Run) -> bool:
    """Whether a run is done, asked anew."""
    return run.is_done


def some_lora(geometry: Geometry, rank: int = 4) -> dict[str, tuple[Floats, Floats]]:
    """Matrices for every projection, which F16 holds exactly."""
    rng = np.random.default_rng(1)
    found = {}
    for module in projections(geometry):
        n_out, n_in = LINEAR[geometry.ggml_name(module).rpartition(".")[2]]
        down, up = (rng.integers(-8, 8, shape) / 8 for shape in ((rank, n_in), (n_out, rank)))
        found[module] = down.astype(np.float32), up.astype(np.float32)
    return found


def as_llama(file: GGUFFile) -> GGUFFile:
    """A header that says it is a llama."""
    renamed = {key.replace("qwen3.", "llama."): value for key, value in file.metadata.items()}
    return changed(replace(file, metadata=renamed), {"general.architecture": text("llama")})


@pytest.mark.parametrize("is_llama", [False, True])
def test_an_adapter_reads_back(tmp_path: Path, *, is_llama: bool) -> None:
    """The engine's checks accept the file; hash, invocation, markers, plan and matrices are those that were written."""
    base = write_model(tmp_path / "tiny.gguf")
    file = read_gguf(base)
    geometry = Geometry.of(as_llama(file) if is_llama else file)
    lora = some_lora(geometry)
    path = tmp_path / "first.gguf"
    write_adapter(path, facts(base), geometry, lora)
    model = replace(check_model(file), architecture=geometry.architecture)
    info = check_adapter(read_gguf(path), model, file_hash(base))
    assert (info.rank, info.alpha, info.invocation_tokens, info.base_sha256) == (4, 8.0, (3, 4), file_hash(base))
    assert info.markers == ("a", "b")
    assert read_plan(path) == json.loads(json.dumps(PLAN.as_dict()))
    read = read_lora(read_gguf(path), geometry, projections(geometry))
    assert read.keys() == lora.keys()
    for module, halves in lora.items():
        assert all(np.array_equal(one, other) for one, other in zip(halves, read[module], strict=True))


def test_rows_of_llama_stand_otherwise(tmp_path: Path) -> None:
    """Queries and keys of a llama are turned head by head, and turned back; other matrices and qwen3's stay."""
    file = read_gguf(write_model(tmp_path / "tiny.gguf"))
    rows = np.arange(KV_HEADS * 16, dtype=np.float32)[:, None]
    llama, qwen = Geometry.of(as_llama(file)), Geometry.of(file)
    turned = llama.to_ggml("model.layers.0.self_attn.k_proj", rows)
    assert turned[:6, 0].tolist() == [0, 8, 1, 9, 2, 10]
    assert np.array_equal(llama.to_torch("model.layers.0.self_attn.k_proj", turned), rows)
    assert np.array_equal(llama.to_ggml("model.layers.0.self_attn.v_proj", rows), rows)
    assert np.array_equal(qwen.to_ggml("model.layers.0.self_attn.k_proj", rows), rows)


def test_weights_are_read_in_transformers_names(tmp_path: Path) -> None:
    """Matrices come under the names of transformers; one that is missing or of another shape is refused."""
    file = read_gguf(write_model(tmp_path / "tiny.gguf"))
    geometry = Geometry.of(file)
    shapes = {"model.embed_tokens.weight": (len(TOKENS), 32), "model.layers.1.mlp.down_proj.weight": (32, 64)}
    found = dict(read_weights(file, geometry, shapes))
    assert {name: values.shape for name, values in found.items()} == shapes
    with pytest.raises(ModelFileError, match=r"has no tensor 'output\.weight'"):
        dict(read_weights(file, geometry, {"lm_head.weight": (1, 1)}))
    with pytest.raises(ModelFileError, match=r"'output_norm.weight' has the shape \(32,\), where \(9,\) is due"):
        dict(read_weights(file, geometry, {"model.norm.weight": (9,)}))
    with pytest.raises(ModelFileError, match="adapters are trained for llama, qwen2, qwen3"):
        Geometry.of(changed(file, {"general.architecture": text("gemma")}))
    with pytest.raises(ModelFileError, match=r"has scaled positions.*without rope scaling"):
        Geometry.of(changed(file, {"qwen3.rope.scaling.type": text("yarn")}))


def test_what_llama_cpp_does_without_is_zero(tmp_path: Path) -> None:
    """Absent biases, and types of sentences that an encoder does not have, add nothing."""
    whole = write_tiny(tmp_path / "whole.gguf")
    path = write_without(whole, tmp_path / "tiny.gguf", "token_types.weight", "blk.0.attn_q.bias")
    file = read_gguf(path)
    geometry = Geometry.of(file)
    assert geometry.settings["type_vocab_size"] == 1
    shapes = {
        "embeddings.token_type_embeddings.weight": (1, 32),
        "encoder.layer.0.attention.self.query.bias": (32,),
        "encoder.layer.1.attention.self.query.bias": (32,),
    }
    found = {name: bool(values.any()) for name, values in read_weights(file, geometry, shapes)}
    assert list(found.values()) == [False, False, True]
    lacking = read_gguf(write_without(whole, tmp_path / "lacking.gguf", "blk.0.attn_q.weight"))
    with pytest.raises(ModelFileError, match=r"has no tensor 'blk\.0\.attn_q\.weight'"):
        dict(read_weights(lacking, geometry, {"encoder.layer.0.attention.self.query.weight": (32, 32)}))


def test_one_matrix_for_queries_keys_and_values_is_refused(tmp_path: Path) -> None:
    """Where llama.cpp has no matrix of the queries alone, no LoRA changes it."""
    file = read_gguf(write_model(tmp_path / "tiny.gguf"))
    fused = dict(file.tensors) | {"blk.1.attn_qkv.weight": file.tensors["blk.1.attn_q.weight"]}
    with pytest.raises(
        ModelFileError, match=r"in one matrix \(blk\.1\.attn_qkv\.weight\).*Give a file that has attn_q"
    ):
        Geometry.of(replace(file, tensors=fused))


def test_an_adapter_of_several_ranks_is_no_start(tmp_path: Path) -> None:
    """Each rank has a factor of its own, alpha / rank, and what is trained has one."""
    base = write_model(tmp_path / "tiny.gguf")
    geometry = Geometry.of(read_gguf(base))
    lora = some_lora(geometry)
    first = next(iter(lora))
    write_adapter(tmp_path / "first.gguf", facts(base), geometry, lora | {first: some_lora(geometry, 2)[first]})
    with pytest.raises(ModelFileError, match="has matrices of the ranks 2, 4, and what is trained has one rank"):
        read_lora(read_gguf(tmp_path / "first.gguf"), geometry, projections(geometry))


def test_items_that_are_compared_are_asked_something() -> None:
    """Whatever their order, weights or tasks, the engine is asked about items of which something is known."""
    items = tuple(Item(id=str(at), name=f"n{at}") for at in range(16))
    tasks = [Labelled(task=Task(text=f"t{n}"), items=items, labels=("in",) * 16) for n in range(20)]
    known = [
        Example(tasks[n].task.id, (), tuple(Ask(str(at), 0, 0, (), 0, (), (1.0, 0.0), 1.0) for at in range(1, 16, 2)))
        for n in range(1, 20, 2)
    ]
    for n_items in (1, 16, 64):
        found = some_of(tasks, known, n_items)
        assert {labelled.task.id for labelled in found} <= {example.task for example in known}
        assert all(int(item.id) % 2 for labelled in found for item in labelled.items)
        assert n_items / 2 <= sum(len(labelled.items) for labelled in found) <= n_items * 1.25


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    """The same plan finds what was settled and its checkpoint; another plan is refused unless it is forced."""
    run = Run(tmp_path / "out", PLAN)
    assert run.begin(force=False) == {}
    run.settle({"dtype": "bf16"})
    run.checkpoint.write_bytes(b"some")
    assert Run(tmp_path / "out", PLAN).begin(force=False) == {"dtype": "bf16"}
    assert run.checkpoint.exists()
    other = Run(tmp_path / "out", replace(PLAN, seed=8))
    with pytest.raises(InputError, match="holds a training of something else that was not finished"):
        other.begin(force=False)
    assert run.checkpoint.exists()
    run.answers.write_text("{}", encoding="utf-8")
    assert other.begin(force=True) == {}
    assert not run.checkpoint.exists()
    assert not run.answers.exists()


@pytest.mark.parametrize("settled", [{"before": [[1.0]]}, {"points": {"0": [[1.0]]}}])
def test_what_was_measured_is_not_replaced_unasked(tmp_path: Path, settled: dict[str, object]) -> None:
    """Figures took time; a run that failed before there were any blocks nothing."""
    run, other = Run(tmp_path, PLAN), Run(tmp_path, replace(PLAN, teacher="another"))
    run.begin(force=False)
    run.settle({"dtype": "f32"})
    assert other.begin(force=False) == {}
    other.settle(settled)
    with pytest.raises(InputError, match="that was not finished"):
        run.begin(force=False)


def test_a_curve_and_a_training_go_on_side_by_side(tmp_path: Path) -> None:
    """Neither takes up, replaces nor removes what the other keeps."""
    run, curve = Run(tmp_path, PLAN), Run(tmp_path, PLAN, is_curve=True)
    run.begin(force=False)
    run.settle({"before": [[1.0]]})
    run.checkpoint.write_bytes(b"some")
    run.version.write_text(version_of("first", "ab"), encoding="utf-8")
    assert curve.begin(force=False) == {}
    assert not curve.checkpoint.exists()
    curve.settle({"points": {"0": [[1.0]]}})
    assert run.begin(force=True) == {"before": [[1.0]]}
    run.end()
    assert curve.begin(force=False) == {"points": {"0": [[1.0]]}}
    curve.end()
    assert [path.name for path in tmp_path.iterdir()] == ["version.json"]


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"plan": "a", "settled": []}', '{"plan": 1, "settled": {}}'])
def test_a_damaged_state_is_named(tmp_path: Path, text: str) -> None:
    """It is not gone on from; --force begins anew."""
    run = Run(tmp_path, PLAN)
    run.begin(force=False)
    (tmp_path / "training.json").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"training\.json: is damaged.*Remove it, or begin anew with --force"):
        run.begin(force=False)
    assert run.begin(force=True) == {}


@pytest.mark.parametrize("name", ["first.gguf", "version.json", "checkpoint.pt", "training.json"])
def test_a_folder_is_no_file_of_a_training(tmp_path: Path, name: str) -> None:
    """It is refused before anything is computed."""
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=rf"{name}: is a folder"):
        Run(tmp_path, PLAN).begin(force=True)


def test_what_kills_left_is_removed(tmp_path: Path) -> None:
    """Halves of this run's own files go when it begins, goes on and ends; those of others stay."""
    run = Run(tmp_path, PLAN)
    halves = [tmp_path / f".{name}.ab_12.part" for name in ("checkpoint.pt", "first.gguf", "version.json")]
    others = [tmp_path / f".{name}.ab_12.part" for name in ("curve-checkpoint.pt", "second.gguf")]
    for step in (lambda: run.begin(force=False), lambda: run.begin(force=False), run.end):
        for path in (*halves, *others):
            path.touch()
        step()
        assert not any(path.exists() for path in halves)
        assert all(path.exists() for path in others)


def test_one_process_trains_in_a_folder(tmp_path: Path) -> None:
    """A second one is refused while the first one is at it."""
    run = Run(tmp_path, PLAN)
    with run.locked(), pytest.raises(MachineError, match="another process trains there"):
        Run(tmp_path, PLAN).begin(force=True)
    assert run.begin(force=False) == {}


def version_of(adapter: str, sha256: str) -> str:
    """What is known of an adapter, in a file's words."""
    figures = {"before": {}, "valid": {}, "gain": {}, "steps": 5, "engine_gap": 0.0}
    return json.dumps({"adapter": adapter, "sha256": sha256, "figures": figures})


def finished(folder: Path) -> Run:
    """A run whose adapter is there with what is known of it."""
    base = write_model(folder / "tiny.gguf")
    geometry = Geometry.of(read_gguf(base))
    run = Run(folder / "out", PLAN)
    run.begin(force=False)
    write_adapter(run.adapter, facts(base), geometry, some_lora(geometry))
    run.version.write_text(version_of("first", file_hash(run.adapter)), encoding="utf-8")
    run.end()
    return run


def test_a_finished_run_is_known(tmp_path: Path) -> None:
    """Only an adapter of this very plan with its figures beside it is done; another is not replaced unasked."""
    run = finished(tmp_path)
    assert is_done(run)
    assert sorted(path.name for path in run.folder.iterdir()) == ["first.gguf", "version.json"]
    other = Run(run.folder, replace(PLAN, rank=8))
    assert not is_done(other)
    with pytest.raises(InputError, match=r"first\.gguf: is there already, of another training"):
        other.begin(force=False)
    told = run.version.read_text(encoding="utf-8")
    run.version.unlink()
    assert not is_done(run)
    with pytest.raises(InputError, match=r"first\.gguf: is there already, .* or without what is known of it"):
        run.begin(force=False)
    run.version.write_text(told, encoding="utf-8")
    run.adapter.write_bytes(b"no gguf")
    assert not is_done(run)


def test_figures_of_another_file_are_not_believed(tmp_path: Path) -> None:
    """Those of the adapter that stood there before are none of this one, and go when a new run begins."""
    run = finished(tmp_path)
    run.version.write_text(version_of("first", "ab"), encoding="utf-8")
    assert not is_done(run)
    run.begin(force=True)
    assert not run.version.exists()


def test_a_folder_holds_one_adapter(tmp_path: Path) -> None:
    """What is known of one adapter is not replaced by what is known of another, not even by force."""
    run = finished(tmp_path)
    second = Run(run.folder, replace(PLAN, adapter="second"))
    for force in (False, True):
        with pytest.raises(InputError, match=r"version\.json: is about adapter 'first'.*--out"):
            second.begin(force=force)
    assert is_done(run)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"adapter": "first", "sha256": "ab", "figures": {}}'])
def test_damaged_figures_are_named(tmp_path: Path, text: str) -> None:
    """They are not shown; --force begins anew."""
    run = finished(tmp_path)
    run.version.write_text(text, encoding="utf-8")
    for ask in (run.made, lambda: run.begin(force=False)):
        with pytest.raises(InputError, match=r"version\.json: is damaged.*Remove it, or begin anew with --force"):
            ask()
    assert run.begin(force=True) == {}


def test_a_curve_has_a_result_of_its_own(tmp_path: Path) -> None:
    """A curve's folder is done by its figures, which say by which plan they were made; damaged ones are named."""
    run = Run(tmp_path, PLAN, is_curve=True)
    run.begin(force=False)
    assert not is_done(run)
    curve: dict[str, object] = {
        "adapter": "first",
        "valid": {},
        "points": [{}],
        "enough_from": None,
        "plan": PLAN.as_dict(),
    }
    run.result.write_text(json.dumps(curve), encoding="utf-8")
    assert run.made() == curve
    assert not is_done(Run(tmp_path, replace(PLAN, seed=1), is_curve=True))
    for content in ("[]", json.dumps({"plan": PLAN.as_dict()})):
        run.result.write_text(content, encoding="utf-8")
        with pytest.raises(InputError, match=r"curve\.json: is damaged"):
            run.made()


def test_plans_say_what_decides_a_training() -> None:
    """Any other number makes another fingerprint; the rate rises, then falls, and is lower for wider models."""
    assert PLAN.fingerprint == replace(PLAN).fingerprint
    others = (replace(PLAN, seed=3), replace(PLAN, rank=3), replace(PLAN, steps=3), replace(PLAN, data_sha256="3"))
    assert len({plan.fingerprint for plan in (PLAN, *others)}) == 5
    plan = replace(PLAN, steps=100)
    rates = [plan.rate_at(step) for step in range(100)]
    assert rates[0] < rates[plan.warmup - 1] == plan.rate == max(rates)
    assert rates[-1] < 0.06 * plan.rate
    assert default_rate(256) == 1e-3 > default_rate(1024) == 5e-4
    assert (default_steps(10, 8), default_steps(400, 8), default_steps(10**6, 8)) == (60, 200, 3000)
    assert (default_look(60), default_look(240)) == (5, 20)


def scores(losses: Sequence[float], rights: Sequence[float] | None = None) -> Scores:
    """Scores of one question for each of some tasks."""
    n = len(losses)
    zeros = np.zeros(n)
    return Scores(
        tasks=np.arange(n, dtype=np.float64),
        losses=np.array(losses),
        weights=np.ones(n),
        rights=np.array(rights) if rights is not None else zeros,
        p_yes=zeros,
        is_yes=zeros,
    )


def test_a_gain_is_judged_by_task() -> None:
    """The gain is the mean over tasks of the fall in loss; it is sure where its interval leaves out zero."""
    before = scores([1.0, 1.2, 0.8, 1.1], [0, 0, 1, 0])
    sure = Gain.between(before, scores([0.5, 0.6, 0.3, 0.7], [1, 0, 1, 1]))
    assert sure.log_loss == pytest.approx(0.5)
    assert sure.discordant == 0.5
    assert sure.is_sure
    assert not Gain.between(before, scores([1.9, 0.3, 0.6, 1.2])).is_sure
    assert not Gain.between(scores([1.0]), scores([0.1])).is_sure
    one_task = {"tasks": np.zeros(4), "weights": np.array([1.0, 0.0, 0.0, 1.0])}
    assert Gain.between(replace(before, **one_task), replace(before, losses=np.zeros(4), **one_task)).log_loss == 1.05
    assert Gain.between(scores([1.0]), scores([0.1])).as_dict()["half_width"] is None


def test_scores_are_of_questions_with_a_known_answer() -> None:
    """Loss and accuracy are of the true answer; of a part of a scale that is the sum of its levels."""
    base = Ask("1", 0, 0, (1,), 0, (1.0, 0.0), (1.0, 0.0), 1.0)
    asks = (base, replace(base, true=()), replace(base, question=1, true=(0.0, 0.5, 0.5), target=(0.0, 0.5, 0.5)))
    p = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.5, 0.3, 0.2]])
    found = Scores.of([Example("t", (), asks)], [p], [True, False])
    assert found.losses.tolist() == pytest.approx([-np.log(0.9), -np.log(0.5)])
    assert found.rights.tolist() == [1.0, 0.0]
    assert np.isnan(found.p_yes[1])
    assert found.as_dict()["auc_over_rows"] is None
    assert (found.as_dict()["n"], found.as_dict()["tasks"]) == (2, 1)


def test_balanced_classes_are_taken_out_of_the_odds() -> None:
    """Where yes counts four times as much as it would, log 4 is taken out; weights that balance nothing stay.

    The likeliest p under the balanced weights, less the offset, is the share of yes as the items came.
    """
    base = Ask("1", 0, 0, (1,), 0, (1.0, 0.0), (1.0, 0.0), 0.8, balance=0.8)
    no = replace(base, true=(0.0, 1.0), target=(0.0, 1.0), weight=0.2, balance=0.2)
    asks = (base, *[no] * 9, replace(base, question=1, target=(0.5, 0.5, 0.0), weight=0.3, balance=1.0))
    found = offsets([Example("t", (), asks)], [2, 3, 2])
    assert found[0][0] - found[0][1] == pytest.approx(np.log(4))
    assert found[1:] == [(0.0, 0.0, 0.0), (0.0, 0.0)]
    balanced = 0.8 / (0.8 + 9 * 0.2)
    assert p_yes(np.log(balanced / (1 - balanced)) - found[0][0] + found[0][1]) == pytest.approx(0.1)
    p = [np.tile([0.1, 0.9, 0.0], (11, 1))]
    assert Scores.of([Example("t", (), asks)], p, [True, False, True]).weights.tolist() == pytest.approx(
        [1.0] * 10 + [0.3]
    )


def test_a_curve_says_how_many_are_enough() -> None:
    """Parts double and hold each other; enough is where no later doubling brings more than chance."""
    assert sizes(160) == [10, 20, 40, 80, 160]
    assert sizes(10) == [5, 10]
    examples = [Example(str(at), (), ()) for at in range(16)]
    assert nested(examples, 4, 7) == nested(examples, 8, 7)[:4]
    assert nested(examples, 8, 7) != nested(examples, 8, 6)
    steps = [scores([1.0, 1.1, 0.9]), scores([0.5, 0.6, 0.5]), scores([0.2, 0.3, 0.1]), scores([0.3, 0.2, 0.1])]
    gains = [None, *(Gain.between(one, other) for one, other in pairwise(steps))]
    points = [
        Point(tasks=10 * at, items=0, scores=each, gain=gain)
        for at, (each, gain) in enumerate(zip(steps, gains, strict=True))
    ]
    assert enough_from(points) == 20
    assert enough_from(points[:3]) is None
    assert enough_from(points[:2]) is None


def test_a_vocabulary_of_the_tiny_model_has_its_labels(tmp_path: Path) -> None:
    """The label tokens that a training reads are those of llama.cpp's own tokenizer."""
    tokenizer = load_vocabulary(write_model(tmp_path / "tiny.gguf"))
    assert [TOKENS[tokenizer.encode(word, special=False)[0]] for word in ("yes", "no")] == ["yes", "no"]


def test_without_torch_one_line_says_what_to_install() -> None:
    """Where torch is absent the command ends with the shell command that installs it."""
    from cascade.training.train import libraries  # noqa: PLC0415 - named beside what it is about

    try:
        import torch  # noqa: F401, PLC0415 - the extra `train` may be absent
    except ModuleNotFoundError:
        with pytest.raises(MachineError, match=r"is not installed\. Run `.*train"):
            libraries()
    else:
        assert libraries().student.find_device("cpu") == "cpu"
