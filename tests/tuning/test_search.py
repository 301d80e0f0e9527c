"""Thresholds with a guarantee: p-values, the search, calibration, the file, and the command with the shipped model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import combinations
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guarantee import question, simulated, two_stages
from cascade import Engine, Item, ScriptedBackend, Task
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import CascadeConfig
from cascade.config.thresholds import ThresholdsFile, read_thresholds, write_thresholds
from cascade.errors import ConfigError, InputError
from cascade.evaluation.calibration import calibrate, pool_adjacent_violators
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.distributions import binomial_p
from cascade.evaluation.replay import Replay, deciding
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import data_fingerprint, load_scores, save_scores, score_tasks
from cascade.report import Origin
from cascade.stages import ANY_TIER, Combine, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.objective import Cost
from cascade.tuning.risk import (
    betting_p,
    betting_ps,
    fixed_sequence,
    holm,
    tasks_needed,
)
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from tests.helpers.shipped import CASCADES, questions_alone, write_shipped

ORIGIN = Origin(model="m", adapters={"a": "b"}, data="d", questions="q")


@given(st.integers(1, 40), st.data(), st.floats(0.01, 0.6))
def test_the_binomial_tail_is_exact(n: int, data: st.DataObject, risk: float) -> None:
    """Against the sum written out."""
    lost = data.draw(st.integers(0, n))
    written_out = sum(comb(n, k) * risk**k * (1 - risk) ** (n - k) for k in range(lost + 1))
    assert binomial_p(lost, n, risk) == pytest.approx(min(1.0, written_out), rel=1e-9)


@pytest.mark.parametrize("kind", ["full", "partial"])
def test_p_values_are_not_too_small_under_the_null(kind: str) -> None:
    """2,000 samples whose mean loss is exactly what is allowed: a share of at most u is below u, but for chance."""
    rng = np.random.default_rng(1)
    draws = rng.random((2_000, 120)) < 0.1 if kind == "full" else rng.beta(0.2, 1.8, (2_000, 120))
    losses = draws.astype(float)
    found = {
        "betting": betting_ps(losses, 0.1),
        "betting with a variance": betting_ps(losses, 0.1, variance=0.01),
    }
    if kind == "full":
        found["binomial"] = np.array([binomial_p(int(row.sum()), row.size, 0.1) for row in losses])
    for name, p_values in found.items():
        for level in (0.01, 0.05, 0.1, 0.3):
            slack = 3 * np.sqrt(level * (1 - level) / p_values.size)
            assert (p_values <= level).mean() <= level + slack, (name, level)


def test_tests_of_many() -> None:
    """Worked out by hand; a fixed sequence stops at the first that does not pass."""
    assert fixed_sequence([0.01, 0.05, 0.06, 0.001], 0.05) == 2
    assert fixed_sequence([], 0.05) == 0
    assert holm([0.03, 0.01, 0.02], 0.05).all()
    assert holm([0.04, 0.01, 0.03], 0.05).tolist() == [False, True, False]


def test_the_tasks_needed_are_the_least() -> None:
    """So many spotless tasks pass and one fewer do not; no test could do with fewer than the binomial one."""
    n = tasks_needed(0.9, 0.05)
    assert betting_p(np.zeros(n), 0.1, 0.05) <= 0.05 < betting_p(np.zeros(n - 1), 0.1, 0.05)
    assert np.log(0.05) / np.log(0.9) <= n <= 60


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6))
def test_pooling_is_the_nearest_rising_sequence(values: list[int]) -> None:
    """Against every way to cut a short sequence into blocks of their means."""
    raw = np.array(values, float)
    inner = range(1, len(values))
    cuts = [cut for size in range(len(values)) for cut in combinations(inner, size)]
    fits = [np.concatenate([np.full(len(part), part.mean()) for part in np.split(raw, cut)]) for cut in cuts]
    rising = [fit for fit in fits if (np.diff(fit) >= -1e-12).all()]
    best = min(((fit - raw) ** 2).sum() for fit in rising)
    found = pool_adjacent_violators(raw, np.ones(raw.size))
    assert (np.diff(found) >= -1e-12).all()
    assert ((found - raw) ** 2).sum() == pytest.approx(best, abs=1e-9)


@given(st.sampled_from(Combine), st.integers(0, 1_000))
def test_replays_answer_as_stages_do(combine: Combine, seed: int) -> None:
    """Item by item, with tiers that were not asked."""
    rng = np.random.default_rng(seed)
    tiers = ("x", "y", "z")
    stage = Stage(
        name="s",
        questions={tier: question(tier, float(rng.uniform(0.2, 0.8))) for tier in tiers},
        yes=Target("keep", is_label=True),
        no=Target("drop", is_label=True),
        combine=combine,
    )
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    p = rng.random((20, 3))
    asked = rng.random((20, 3)) < 0.6
    asked[np.arange(20), rng.integers(0, 3, 20)] = True
    scored = ScoredTasks(
        tasks=np.zeros(20, np.int64),
        labels=np.ones(20, np.int64),
        p={("s", tier): np.where(asked[:, at], p[:, at], np.nan) for at, tier in enumerate(tiers)},
        n_tasks=1,
    )
    thresholds = {("s", tier): stage.questions[tier].threshold for tier in tiers}
    by_hand = [
        stage.answer({tier: float(p[row, at]) for at, tier in enumerate(tiers) if asked[row, at]}) for row in range(20)
    ]
    replay = Replay(cascade, scored)
    assert replay.answers(stage, thresholds).of(True).tolist() == by_hand
    outcome = replay.outcome(thresholds)
    assert outcome.calls == asked.sum() / 20
    assert outcome.recall_per_task == pytest.approx(by_hand.count(True) / 20)


@pytest.mark.slow
def test_the_guarantee_holds_and_is_not_lazy() -> None:
    """80 draws of 300 tasks, truth from 3,000: missed at most delta and chance, and by no more than 3 points above."""
    cascade, tuning_target = two_stages(), TuningTarget(level=0.9, delta=0.1)
    truth = Replay(cascade, simulated(0, 3_000))
    recalls = []
    for seed in range(80):
        tuned = tune(cascade, simulated(seed + 1, 300), tuning_target, seed)
        recalls.append(truth.outcome(tuned.thresholds).recall_per_task)
    missed = np.mean(np.array(recalls) < tuning_target.level)
    assert missed <= tuning_target.delta + 2 * np.sqrt(tuning_target.delta * (1 - tuning_target.delta) / len(recalls))
    assert np.mean(recalls) - tuning_target.level <= 0.03


@pytest.mark.slow
def test_all_at_once_is_cheaper_than_one_by_one() -> None:
    """Calls at the same measured recall; the cost that is asked for is the one that falls."""
    cascade, scored = two_stages(), simulated(7, 2_000)
    tuned = tune(cascade, scored, TuningTarget(level=0.9))
    assert tuned.per_stage
    assert tuned.held_out.calls < tuned.per_stage.calls
    other = tune(cascade, scored, TuningTarget(level=0.9, cost=Cost.FALSE_POSITIVES))
    assert other.held_out.false_positives <= tuned.held_out.false_positives


def test_too_little_is_refused() -> None:
    """With the number of tasks that are needed; so are recalls that nothing reaches, and wishes out of range."""
    needed = math.ceil(tasks_needed(0.95, 0.05) / 0.8)
    with pytest.raises(InputError, match=f"needs at least {needed}: a share of 0.2"):
        tune(two_stages(), simulated(1, needed - 1), TuningTarget(level=0.95))
    with pytest.raises(InputError, match="A delta of 0"):
        TuningTarget(level=0.9, delta=0)


def test_stages_that_recall_does_not_depend_on_stay() -> None:
    """Only the first question of the shipped cascade drops anything; files have one stage, asked by tier."""
    assert [stage.name for stage in deciding(CASCADES["precision"])] == ["relevant"]
    assert [stage.name for stage in deciding(CASCADES["scope"])] == ["relevant"]


def test_calibration_mends_what_is_off() -> None:
    """Scores twice as sure as they should be: the error on tasks left out falls to little, and the curve rises."""
    rng = np.random.default_rng(3)
    honest = rng.normal(-0.5, 1.2, 8_000)
    labels = (rng.random(honest.size) < 1 / (1 + np.exp(-honest))).astype(np.int64)
    p = {("a", ""): 1 / (1 + np.exp(-2 * honest - 0.5))}
    cascade = replace(two_stages(), stages=(replace(two_stages().first, yes=Target("keep", is_label=True)),))
    scored = ScoredTasks(tasks=np.repeat(np.arange(400), 20), labels=labels, p=p, n_tasks=400)
    found = calibrate(cascade, scored)["a", ""]
    assert found.before.ece > 0.08
    assert found.after.ece < 0.025
    assert found.after.log_loss < found.before.log_loss
    assert (np.diff(found.curve.values) >= 0).all()


def test_a_tier_with_few_tasks_leans_on_its_stage() -> None:
    """Ten tasks all of whose items are yes: the curve lies between their own and that of the other tier."""
    rng = np.random.default_rng(4)
    stage = Stage(
        name="s",
        questions={"x": question("x"), "y": question("y")},
        yes=Target("keep", is_label=True),
        no=Target("drop", is_label=True),
    )
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    p, is_small = rng.random(4_000), np.arange(4_000) < 40
    labels = np.where(is_small, np.arange(4_000) % 8 > 0, rng.random(4_000) < p).astype(np.int64)
    scores = {("s", "x"): np.where(is_small, p, np.nan), ("s", "y"): np.where(is_small, np.nan, p)}
    scored = ScoredTasks(tasks=np.arange(4_000) // 4, labels=labels, p=scores, n_tasks=1_000)
    found = calibrate(cascade, scored)
    middle = np.array([0.3])
    assert 0.3 < found["s", "x"].curve(middle)[0] < 0.7
    assert found["s", "y"].curve(middle)[0] == pytest.approx(0.3, abs=0.05)


def test_scores_come_back(tmp_path: Path) -> None:
    """From an engine into a file and back; of another origin they are not used, and no other file is taken."""
    cascade = CASCADES["scope"]
    items = (Item(id="1", kind="file", name="a", tiers=("metadata",)), Item(id="2", kind="file", name="b", tiers=()))
    items = (items[0], replace(items[1], tiers=("dependency", "co_change")))
    labelled = Labelled(task=Task(text="t"), items=items, labels=("relevant", "irrelevant"))
    backend = ScriptedBackend({"metadata": 0.2, "dependency": 0.3, "co_change": 0.4}, frozenset(cascade.adapters()))
    with Engine(backend, {"scope": cascade}) as engine:
        scored = score_tasks(engine, cascade, [labelled])
        with pytest.raises(InputError, match="No task has an item"):
            score_tasks(engine, cascade, [])
    nan = float("nan")
    np.testing.assert_allclose(scored.p["relevant", "metadata"], [0.2, nan])
    np.testing.assert_allclose(scored.p["relevant", "co_change"], [nan, 0.4])
    path = tmp_path / "s.npz"
    assert load_scores(path, ORIGIN) is None
    save_scores(scored, ORIGIN, path)
    again = load_scores(path, ORIGIN)
    assert again
    np.testing.assert_array_equal(again.p["relevant", "dependency"], scored.p["relevant", "dependency"])
    assert load_scores(path, replace(ORIGIN, data="other")) is None
    path.write_text("no scores", encoding="utf-8")
    with pytest.raises(InputError, match="holds no scores"):
        load_scores(path, ORIGIN)
    assert data_fingerprint([labelled]) != data_fingerprint([replace(labelled, labels=("irrelevant", "irrelevant"))])
    first, *others = labelled.items
    with_text = replace(labelled, items=(replace(first, text="def f(): ..."), *others))
    assert data_fingerprint([labelled]) != data_fingerprint([with_text])


def locked(cascade: Cascade, threshold: float) -> ThresholdsFile:
    """A file of thresholds, all alike."""
    return ThresholdsFile.model_validate(
        {
            "guarantee": {
                "recall_per_task": 0.9, "delta": 0.05, "p_value": 0.01, "tasks": 100, "minimised": "calls",
            },
            "held_out": {"recall_per_task": 0.93, "calls_per_item": 1.2, "false_positives_per_item": 0.2},
            "made_for": {
                "model": "m", "data": "d", "questions": "q", "adapters": dict.fromkeys(cascade.adapters(), "sha"),
            },
            "thresholds": {stage.name: dict.fromkeys(stage.questions, threshold) for stage in cascade.stages},
            "calibration": {"relevant": {"metadata": {"kind": "platt", "values": np.linspace(0, 1, 65).tolist()}}},
        }
    )  # fmt: skip


def test_the_file_comes_back_and_is_used(tmp_path: Path) -> None:
    """Its thresholds win over those of the stages, by tier; other stages than the cascade's are refused."""
    path = tmp_path / "x.thresholds.toml"
    file = locked(CASCADES["scope"], 0.0625)
    write_thresholds(file, path, "From a test.")
    assert read_thresholds(path) == file
    config = questions_alone()
    scope = config.cascade["scope"].model_copy(update={"thresholds": file})
    assert {question.threshold for question in scope.cascade("scope").questions()} == {0.0625}
    other: CascadeConfig = config.cascade["precision"].model_copy(update={"thresholds": file})
    with pytest.raises(ConfigError, match=r"cascade\.precision\.thresholds: the file is for other questions"):
        other.cascade("precision")
    path.write_text("guarantee = 1", encoding="utf-8")
    with pytest.raises(ConfigError, match="guarantee: a table is needed"):
        read_thresholds(path)
    path.write_text("guarantee = { unit = [] }", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"guarantee\.delta: is missing"):
        read_thresholds(path)
    with pytest.raises(ConfigError, match="cascade tune --out"):
        read_thresholds(tmp_path / "absent")


def write_data(path: Path, n_tasks: int) -> list[str]:
    """A file of tasks of two symbols, and the command that tunes on it."""
    names = {"read_config": "primary", "open_socket": "excluded"}
    items = [{"id": name, "kind": "function", "name": name, "label": label} for name, label in names.items()]
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(n_tasks)]
    path.write_text("\n".join(lines), encoding="utf-8")
    config = write_shipped(path.parent / "questions.toml")
    return ["tune", "--cascade", "precision", "--data", str(path), "--config", str(config), "--delta", "0.3"]


@pytest.mark.slow
def test_the_command_tunes_and_its_file_is_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON, words from the kept scores, the file in a config, and a model that it was not made for."""
    command = write_data(tmp_path / "labelled.jsonl", 12)
    out, scores = tmp_path / "p.thresholds.toml", tmp_path / "s.npz"
    command += ["--target", "recall=0.5", "--scores", str(scores)]
    assert main([*command, "--out", str(out), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["guarantee"]["recall_per_task"] == 0.5
    assert found["tasks"] == {"searched": 0, "held_out": 12, "left_out": 0}
    assert found["fixed_stages"] == ["primary", "supporting"]
    assert main(command) == ExitCode.DONE
    assert "a recall per task of at least 0.5" in capsys.readouterr().out
    config = write_shipped(tmp_path / "my.toml", precision=out)
    with Engine.open(config) as engine:
        tuned = engine.cascade("precision").first.question(ANY_TIER).threshold
    assert tuned == found["thresholds"]["relevant"][""]
    out.write_text(out.read_text(encoding="utf-8").replace(found["made_for"]["model"], "other"), encoding="utf-8")
    with pytest.raises(ConfigError, match="the model is not what these thresholds were tuned with"):
        Engine.open(config)


@pytest.mark.slow
def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Targets that cannot be guaranteed, folders that are not there, too few tasks."""
    command = write_data(tmp_path / "labelled.jsonl", 2)
    assert main([*command, "--target", "accuracy=0.9"]) == ExitCode.BAD_INPUT
    assert "cannot be guaranteed" in capsys.readouterr().err
    assert main([*command, "--target", "recall=0.9", "--out", str(tmp_path / "absent" / "x")]) == ExitCode.BAD_INPUT
    assert "there is no folder" in capsys.readouterr().err
    assert main([*command, "--target", "recall=0.9"]) == ExitCode.BAD_INPUT
    assert "needs at least" in capsys.readouterr().err


def test_taking_tasks_keeps_rows_together() -> None:
    """Tasks numbered anew, each with its own rows."""
    scored = simulated(1, 5, 3)
    taken = scored.take(np.array([4, 1]))
    assert taken.n_tasks == 2
    for key in scored.p:
        np.testing.assert_array_equal(taken.p[key][taken.tasks == 0], scored.p[key][scored.tasks == 4])
        np.testing.assert_array_equal(taken.p[key][taken.tasks == 1], scored.p[key][scored.tasks == 1])
