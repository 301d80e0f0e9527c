"""Thresholds from few tasks, without a guarantee: the model of labels, the search, the command and its file."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.few_tasks import Draws, aimed, compare, per_stage, three_stages
from benchmarks.few_tasks import main as few_tasks
from benchmarks.few_tasks import simulated as three_scored
from benchmarks.guarantee import question, simulated, two_stages
from cascade import Engine, Item, Task
from cascade.cli import main
from cascade.cli.few_tasks_output import show_few_tasks
from cascade.cli.output import ExitCode
from cascade.config.figures import Metric
from cascade.config.thresholds import NoGuaranteeConfig, read_thresholds, write_thresholds
from cascade.errors import ConfigError, InputError
from cascade.evaluation.calibration import pulled_beta
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import macro_f1
from cascade.evaluation.replay import Prices, Replay, own_thresholds
from cascade.evaluation.score_file import LabelledScores
from cascade.evaluation.scored import ScoredTasks
from cascade.profile import Prior
from cascade.stages import ANY_TIER, Combine, Limits, Source, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.few_tasks import LEAST_TASKS, LabelReplay, tune_few_tasks
from cascade.tuning.label_model import LabelModel, with_drawn_labels
from cascade.tuning.target import TuningTarget
from tests.helpers.shipped import CASCADES, write_shipped
from tests.tuning.test_search import ORIGIN, locked, write_data


def honest(n_tasks: int, slope: float = 1.0, shift: float = 0.0) -> tuple[ScoredTasks, np.ndarray]:
    """Two stages whose p(yes) is calibrated where slope and shift leave it, and the true p of each label."""
    rng = np.random.default_rng(5)
    n = n_tasks * 20
    odds = {name: rng.normal(middle, 1.5, n) for name, middle in (("a", -1.0), ("b", 0.5))}
    true = {name: 1 / (1 + np.exp(-values)) for name, values in odds.items()}
    keeps = true["a"] * true["b"]
    return ScoredTasks(
        tasks=np.repeat(np.arange(n_tasks), 20),
        labels=(rng.random(n) < keeps).astype(np.int64),
        p={(name, ANY_TIER): 1 / (1 + np.exp(-slope * values - shift)) for name, values in odds.items()},
        n_tasks=n_tasks,
    ), np.stack((1 - keeps, keeps), axis=1)


def tiered(combine: Combine) -> Cascade:
    """One stage of three tiers."""
    return Cascade(
        name="c",
        instructions="i",
        labels=("drop", "keep"),
        stages=(
            Stage(
                name="s",
                questions={tier: question(tier) for tier in ("x", "y", "z")},
                yes=Target("keep", is_label=True),
                no=Target("drop", is_label=True),
                combine=combine,
            ),
        ),
    )


def tier_scores(seed: int, n_rows: int) -> ScoredTasks:
    """Each row asked in one or more tiers."""
    rng = np.random.default_rng(seed)
    asked = rng.random((n_rows, 3)) < 0.5
    asked[np.arange(n_rows), rng.integers(0, 3, n_rows)] = True
    p = np.where(asked, rng.random((n_rows, 3)), np.nan)
    labels = (rng.random(n_rows) < np.nanmax(p, axis=1)).astype(np.int64)
    labels[:2] = 0, 1
    return ScoredTasks(
        tasks=np.arange(n_rows) // 4,
        labels=labels,
        p={("s", tier): p[:, at] for at, tier in enumerate(("x", "y", "z"))},
        n_tasks=(n_rows + 3) // 4,
    )


def test_a_strong_pull_leaves_p_as_it_is() -> None:
    """Rows that are all no move a curve down, the less the stronger the pull; without rows nothing moves it."""
    p, places = np.full(50, 0.6), np.array([0.2, 0.6])
    none, all_ = np.zeros(50), np.ones(50)
    weak, strong = (pulled_beta(p, none, all_, pull)(places) for pull in (1.0, 1e6))
    assert (weak < 0.3).all()
    np.testing.assert_allclose(strong, places, atol=1e-2)
    np.testing.assert_allclose(pulled_beta(p[:0], p[:0], p[:0], 1.0)(places), places, atol=1e-2)
    np.testing.assert_allclose(pulled_beta(p, none, none, 1.0)(places), places, atol=1e-2)
    halves = pulled_beta(np.tile(p, 2), np.repeat([1.0, 0.0], 50), np.repeat([0.0, 1.0], 50), 1.0)
    np.testing.assert_allclose(pulled_beta(p, all_, all_, 1.0)(places), halves(places))


@pytest.mark.slow
@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.5, 1.5)])
def test_the_model_finds_how_likely_labels_are(slope: float, shift: float) -> None:
    """Honest scores are left as they are; others are mended by the labels. Either way p is near the truth."""
    scored, true = honest(30, slope, shift)
    model = LabelModel.fit(two_stages(), scored)
    found = model.p_labels(two_stages(), scored)
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - true).mean() < 0.05
    raw = scored.p["a", ANY_TIER] * scored.p["b", ANY_TIER]
    assert slope == 1 or np.abs(raw - true[:, 1]).mean() > 0.15
    assert slope != 1 or model.pull >= 100


def test_the_model_does_not_look_at_the_row() -> None:
    """Two rows with equal scores have equal p, whatever their labels; one answer alone keeps the raw p(yes)."""
    scored, _ = honest(10)
    same = scored.take(np.array([0, 0]))
    p = {key: np.tile(values[:10], 2) for key, values in same.p.items()}
    pair = ScoredTasks(tasks=np.repeat([0, 1], 10), labels=np.repeat([0, 1], 10), p=p, n_tasks=2)
    found = LabelModel.fit(two_stages(), pair).p_labels(two_stages(), pair)
    np.testing.assert_array_equal(found[:10], found[10:])
    ones = ScoredTasks(tasks=pair.tasks, labels=np.ones(20, np.int64), p=p, n_tasks=2)
    found = LabelModel.fit(two_stages(), ones).p_labels(two_stages(), ones)
    np.testing.assert_allclose(found[:, 1], p["a", ANY_TIER] * p["b", ANY_TIER], atol=0.02)


def test_the_mean_of_tiers_where_the_stage_takes_it() -> None:
    """Otherwise the highest; tiers that were not asked count for nothing."""
    p = {("s", "x"): np.array([0.2, 0.4]), ("s", "y"): np.array([0.6, np.nan]), ("s", "z"): np.full(2, np.nan)}
    scored = ScoredTasks(tasks=np.arange(2), labels=np.zeros(2, np.int64), p=p, n_tasks=2)
    for combine, first in ((Combine.MEAN, 0.4), (Combine.ANY, 0.6), (Combine.MAX, 0.6)):
        found = LabelModel.fit(tiered(combine), scored).p_labels(tiered(combine), scored)
        np.testing.assert_allclose(found[:, 1], [first, 0.4], atol=0.02)


@pytest.mark.parametrize("combine", Combine)
def test_the_model_of_labels_knows_no_thresholds(combine: Combine) -> None:
    """They are still to be chosen, so those that the cascade has change nothing."""
    cascade, scored = tiered(combine), tier_scores(2, 120)
    first = cascade.first
    limits = {"x": 0.1, "y": 0.5, "z": 0.9}
    apart = {tier: replace(asked, threshold=limits[tier]) for tier, asked in first.questions.items()}
    other = replace(cascade, stages=(replace(first, questions=apart),))
    here, there = (LabelModel.pulled(each, scored, 10.0).p_labels(each, scored) for each in (cascade, other))
    np.testing.assert_array_equal(here, there)


def test_drawn_labels_are_as_likely_as_they_should_be() -> None:
    """Each row's share of each label is its p; tasks and scores stay together."""
    scored, true = honest(3)
    p_labels = np.concatenate((true[:, :1], true[:, 1:] / 4, true[:, 1:] * 3 / 4), axis=1)
    drawn = with_drawn_labels(scored, p_labels, 4_000)
    assert drawn.n_tasks == 12_000
    assert np.unique(drawn.tasks).size == 12_000
    labels = drawn.labels.reshape(4_000, -1)
    for label in range(3):
        np.testing.assert_allclose((labels == label).mean(axis=0), p_labels[:, label], atol=0.04)
    np.testing.assert_array_equal(drawn.tasks.reshape(4_000, -1) % 3, np.tile(scored.tasks, (4_000, 1)))
    for key, values in scored.p.items():
        np.testing.assert_array_equal(drawn.p[key].reshape(4_000, -1)[17], values)


@given(st.integers(0, 1_000))
@settings(max_examples=25, deadline=None)
def test_labels_are_those_of_a_walk(seed: int) -> None:
    """Row by row through the shipped tree, and the macro F1 of the confusion that is counted so."""
    cascade = CASCADES["precision"]
    rng = np.random.default_rng(seed)
    keys = [(stage.name, ANY_TIER) for stage in cascade.stages]
    scored = ScoredTasks(
        tasks=np.zeros(30, np.int64),
        labels=rng.integers(0, 4, 30),
        p={key: rng.random(30) for key in keys},
        n_tasks=1,
    )
    thresholds = {key: float(rng.uniform(0.1, 0.9)) for key in keys}
    confusion = np.zeros((4, 4), np.int64)
    found = LabelReplay(cascade, scored).labels(thresholds)
    for row in range(30):
        target = Target(cascade.first.name, is_label=False)
        while not target.is_label:
            key = target.name, ANY_TIER
            target = cascade.stage(target.name).target(answer=bool(scored.p[key][row] >= thresholds[key]))
        assert cascade.labels[found[row]] == target.name
        confusion[scored.labels[row], found[row]] += 1
    assert LabelReplay(cascade, scored).macro_f1(thresholds) == pytest.approx(macro_f1(confusion))
    certain = np.eye(4)[scored.labels]
    assert LabelReplay(cascade, scored, certain).macro_f1(thresholds) == pytest.approx(macro_f1(confusion))


@pytest.mark.slow
def test_the_search_is_near_the_best_of_all() -> None:
    """Against every triple of a coarse grid; it starts anywhere and ends no lower."""
    cascade, scored = tiered(Combine.ANY), tier_scores(3, 200)
    replay = LabelReplay(cascade, scored)
    keys = list(scored.p)
    steps = np.linspace(0.05, 0.95, 13)
    best = max(replay.macro_f1(dict(zip(keys, map(float, level), strict=True))) for level in product(steps, repeat=3))
    for start in (0.01, 0.5, 0.99):
        assert replay.macro_f1(replay.best(dict.fromkeys(keys, start))) >= best - 0.01


def test_questions_that_nobody_is_asked_keep_their_thresholds() -> None:
    """A tier without a row stays as it was; the others move."""
    scored = tier_scores(4, 200)
    others = {("s", "x"): scored.p["s", "x"], ("s", "y"): np.nan_to_num(scored.p["s", "y"], nan=0.5)}
    scored = ScoredTasks(
        tasks=scored.tasks,
        labels=scored.labels,
        p={**others, ("s", "z"): np.full(200, np.nan)},
        n_tasks=scored.n_tasks,
    )
    found = tune_few_tasks(tiered(Combine.ANY), scored).thresholds
    assert found["s", "z"] == 0.5
    assert found["s", "y"] != 0.5


@pytest.mark.slow
def test_few_tasks_make_better_thresholds_than_stage_by_stage() -> None:
    """Eight draws of 30 tasks, judged on 200: above tuning stage by stage, and above the same search on raw labels."""
    figures = compare(three_stages(), three_scored(0, 230), Draws(n_draws=8), lambda: None)
    assert figures["refused"] == 0
    assert figures["over_per_stage"]["no_guarantee"] > 1.02
    assert figures["macro_f1"]["no_guarantee"] > figures["macro_f1"]["joint"]
    assert figures["deviation"]["no_guarantee"] < figures["deviation"]["per_stage"]
    assert figures["macro_f1"]["reachable"] > figures["macro_f1"]["no_guarantee"]


@pytest.mark.slow
@pytest.mark.parametrize("recall", [0.8, 0.9])
def test_a_recall_is_aimed_for(recall: float) -> None:
    """Expected is what was asked for, at few calls; on many other tasks the mean of three draws is near it."""
    cascade, truth, recalls = two_stages(), Replay(two_stages(), simulated(0, 2_000)), []
    for seed in range(1, 4):
        found = tune_few_tasks(cascade, simulated(seed, 30), TuningTarget(level=recall))
        assert recall <= found.expected.recall_per_task < recall + 0.02
        assert found.expected.calls < 1.9
        recalls.append(truth.outcome(found.thresholds).recall_per_task)
    assert abs(np.mean(recalls) - recall) < 0.05


@pytest.mark.slow
def test_other_targets_are_aimed_for() -> None:
    """A precision, a macro F1 per task; what nothing reaches, or only keeping nothing, is refused."""
    cascade, scored = two_stages(), simulated(2, 30)
    precise = tune_few_tasks(cascade, scored, TuningTarget(level=0.7, metric=Metric.PRECISION))
    assert 0.7 <= precise.expected.precision_per_task < 0.75
    assert precise.expected.misses < 1
    some = tune_few_tasks(cascade, scored, TuningTarget(level=0.6, metric=Metric.MACRO_F1))
    assert some.level == pytest.approx(some.expected.macro_f1_per_task)
    assert 0.6 <= some.level < 0.65
    blind = replace(scored, p={key: np.full(values.size, 0.5) for key, values in scored.p.items()})
    for metric in (Metric.PRECISION, Metric.MACRO_F1):
        with pytest.raises(InputError, match="No thresholds that keep anything are expected to reach"):
            tune_few_tasks(cascade, blind, TuningTarget(level=0.9, metric=metric))


@pytest.mark.slow
def test_stages_that_recall_does_not_depend_on_are_kept() -> None:
    """Only the first of the three stages drops anything; macro F1 depends on all."""
    scored = three_scored(1, 30)
    aimed = tune_few_tasks(three_stages(), scored, TuningTarget(level=0.8))
    assert aimed.kept == ("b", "c")
    assert {aimed.thresholds[name, ANY_TIER] for name in aimed.kept} == {0.5}
    highest = tune_few_tasks(three_stages(), scored)
    assert highest.kept == ()
    assert highest.level >= LabelReplay(three_stages(), scored).macro_f1(own_thresholds(three_stages()))


def test_next_to_nothing_is_refused() -> None:
    """Four tasks with something to find, whatever the number of those without."""
    scored = simulated(1, LEAST_TASKS)
    assert tune_few_tasks(two_stages(), scored).n_tasks == LEAST_TASKS
    labels = np.where(scored.tasks == 0, 0, scored.labels)
    fewer = ScoredTasks(tasks=scored.tasks, labels=labels, p=scored.p, n_tasks=scored.n_tasks)
    with pytest.raises(InputError, match=f"4 tasks have something to find; even without a guarantee {LEAST_TASKS}"):
        tune_few_tasks(two_stages(), fewer)


def test_the_peer_takes_each_stage_by_itself() -> None:
    """By the F1 of its own yes, on rows whose true answer is known."""
    p = np.array([0.1, 0.3, 0.6, 0.8])
    scored = ScoredTasks(
        tasks=np.arange(4), labels=np.array([0, 1, 2, 3]), p=dict.fromkeys(own_thresholds(three_stages()), p), n_tasks=4
    )
    found = per_stage(three_stages(), scored)
    assert found["a", ANY_TIER] == pytest.approx(0.2)
    assert found["b", ANY_TIER] == pytest.approx(0.15)
    assert found["c", ANY_TIER] == pytest.approx(0.3)


@pytest.mark.slow
def test_the_benchmark_draws_within_a_slice(capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks of one repository are judged on the rest of it; the command says what it did, in words and in JSON."""
    scored = three_scored(2, 60)
    places = np.where(scored.tasks < 25, "one", "other")
    pooled = ScoredTasks(
        tasks=scored.tasks, labels=scored.labels, p=scored.p, n_tasks=60, slices={"repository": places}
    )
    draws = Draws(n_tasks=10, n_draws=4, within="repository")
    sizes = [(drawn.n_tasks, judged.n_tasks) for _, drawn, judged in draws.of(draws.pools(pooled))]
    assert sizes == [(10, 15), (10, 25), (10, 15), (10, 25)]
    with pytest.raises(InputError, match="--within 'kind' is no slice of these scores"):
        Draws(within="kind").pools(pooled)
    with pytest.raises(InputError, match="All 2 draws of 1 tasks were refused"):
        compare(three_stages(), pooled, Draws(n_tasks=1, n_draws=2), lambda: None)
    few_tasks(["--draws", "1", "--json"])
    assert json.loads(capsys.readouterr().out)["draws"] == 1
    few_tasks(["--draws", "1"])
    assert "no_guarantee is above per_stage in" in capsys.readouterr().out
    few_tasks(["--draws", "1", "--target", "recall=0.8"])
    assert "1 draws of 30 tasks, 0 refused; recall_per_task=0.8 became 0." in capsys.readouterr().out
    with pytest.raises(InputError, match="or aim lower"):
        aimed(three_stages(), pooled, Draws(n_tasks=1, n_draws=1), TuningTarget(level=0.8), lambda: None)


def without_guarantee(threshold: float) -> dict[str, object]:
    """A file of thresholds for ``scope`` that has no guarantee, as tables."""
    scope = CASCADES["scope"]
    standing = NoGuaranteeConfig(text="Without guarantee.", target="macro_f1_over_rows", expected=0.5, tasks=9)
    tables = locked(scope, threshold).model_dump(exclude={"guarantee", "held_out"})
    return {**tables, "no_guarantee": standing.model_dump()}


def test_a_file_has_a_guarantee_or_says_that_it_has_none(tmp_path: Path) -> None:
    """It comes back as it was; one with both, or with neither, is refused."""
    scope = CASCADES["scope"]
    path, tables = tmp_path / "x.thresholds.toml", without_guarantee(0.0625)
    guaranteed = locked(scope, 0.0625)
    file = type(guaranteed).model_validate(tables)
    write_thresholds(file, path, "From a test.")
    assert read_thresholds(path) == file
    assert "[no_guarantee]" in path.read_text(encoding="utf-8")
    assert {asked.threshold for asked in file.put_on("scope", scope.stages)[0][0].questions.values()} == {0.0625}
    write_thresholds(guaranteed, path, "From a test.")
    assert "no_guarantee" not in path.read_text(encoding="utf-8")
    for wrong in (tables | {"guarantee": guaranteed.model_dump()["guarantee"]}, tables | {"no_guarantee": None}):
        with pytest.raises(ValueError, match="give guarantee and held_out, or else no_guarantee"):
            type(guaranteed).model_validate(wrong)
    path.write_text("[made_for]\nmodel = 'm'\ndata = 'd'\nquestions = 'q'\n[thresholds]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="give guarantee and held_out, or else no_guarantee"):
        read_thresholds(path)


@pytest.mark.slow
def test_the_command_guarantees_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Six tasks: refused with the way out named, then chosen; the file says what it is, and so does the cascade."""
    command, out = write_data(tmp_path / "labelled.jsonl", 6), tmp_path / "p.thresholds.toml"
    command += ["--scores", str(tmp_path / "s.npz")]
    assert main([*command, "--target", "recall=0.95"]) == ExitCode.BAD_INPUT
    assert "cascade tune --no-guarantee" in capsys.readouterr().err
    assert main([*command, "--target", "macro_f1"]) == ExitCode.BAD_INPUT
    assert "--no-guarantee" in capsys.readouterr().err
    assert main([*command, "--no-guarantee", "--target", "macro_f1", "--out", str(out), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["guarantee"] is None
    assert "fitted to 6 tasks" in found["no_guarantee"]["text"]
    assert found["no_guarantee"]["target"] == "macro_f1_over_rows"
    assert 0 < found["no_guarantee"]["expected"] <= 1
    assert main([*command, "--no-guarantee", "--target", "recall=0.9"]) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert shown.startswith("Without guarantee")
    assert "The recall per task does not depend on primary, supporting" in shown
    config = with_thresholds(tmp_path, out)
    with Engine.open(config) as engine:
        tuned = engine.cascade("precision").first.question(ANY_TIER).threshold
    assert tuned == found["thresholds"]["relevant"][""]
    assert main(["config", "show", "precision", "--config", str(config)]) == ExitCode.DONE
    assert "Thresholds: Without guarantee: chosen for the highest macro F1" in capsys.readouterr().out
    assert main(["config", "show", "precision", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["no_guarantee"] is None


@pytest.mark.slow
def test_other_commands_say_that_there_is_no_guarantee(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing can be checked, and the report of an audit says it."""
    out, page = tmp_path / "p.thresholds.toml", tmp_path / "page"
    command = write_data(tmp_path / "labelled.jsonl", 6)
    assert main([*command, "--no-guarantee", "--target", "macro_f1", "--out", str(out)]) == ExitCode.DONE
    data = ["--data", str(tmp_path / "labelled.jsonl"), "--config", str(with_thresholds(tmp_path, out))]
    assert main(["check", "precision", *data]) == ExitCode.BAD_INPUT
    told = f"{out}: these thresholds of cascade 'precision' carry no guarantee, so there is no guarantee to check"
    assert told in capsys.readouterr().err.replace("\n", " ")
    plain = write_shipped(tmp_path / "plain.toml")
    command = ["check", "precision", *data[:2], "--config", str(plain), "--thresholds", str(out)]
    assert main(command) == ExitCode.BAD_INPUT
    assert told in capsys.readouterr().err.replace("\n", " ")
    assert main(["audit", "--cascade", "precision", *data, "--html", str(page)]) == ExitCode.DONE
    assert "Without guarantee: chosen for" in (page / "index.html").read_text(encoding="utf-8")


def guess(lower: float, upper: float, prior: Prior | None = None) -> Stage:
    """A prior stage that drops below one number and keeps from another one on."""
    return Stage(
        name="guess",
        no_below=lower,
        yes_from=upper,
        yes=Target("keep", is_label=True),
        no=Target("drop", is_label=True),
        source=Source.EVIDENCE if prior is not None else Source.CALLER,
        prior=prior,
    )


@pytest.mark.slow
def test_a_prior_stage_is_kept_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its thresholds and its prior go into the file as they were, and the cascade takes it; a line says so."""
    before = guess(0.1, 0.9, Prior(bias=-1.0, weights={"imports": 0.5}))
    cascade, scored = replace(two_stages(), prior_stage=before), simulated(3, 20)
    tasks = tuple(
        Labelled(
            task=Task(text=f"task {number}"),
            items=tuple(Item(id=str(row), kind="function", name="f", evidence=("imports",)) for row in rows),
            labels=tuple(cascade.labels[label] for label in scored.labels[rows]),
        )
        for number in range(20)
        if (rows := np.flatnonzero(scored.tasks == number)).size
    )
    labelled = LabelledScores(cascade=cascade, tasks=tasks, scored=scored, origin=ORIGIN, prices=Prices())
    out = tmp_path / "x.thresholds.toml"
    show_few_tasks(cascade, labelled, TuningTarget(level=0.8), out, json=False)
    told = capsys.readouterr()
    assert "The prior stage 'guess' is kept as it was (no below 0.1, yes from 0.9), and counted in" in told.out
    assert "as do evaluate, depth and audit" in " ".join(told.err.split())
    assert "check" not in told.err
    file = read_thresholds(out)
    stages, prior_stage = file.put_on("two", cascade.stages, replace(before, no_below=0.0, yes_from=1.0, prior=None))
    assert prior_stage == before
    assert len(stages) == 2


def with_priors(scored: ScoredTasks, seed: int) -> ScoredTasks:
    """Scores with a caller's p for most rows, which is honest but tells less than the questions."""
    rng = np.random.default_rng(seed)
    priors = np.clip(rng.beta(1, 6, scored.labels.size) + 0.3 * scored.labels * rng.random(scored.labels.size), 0, 1)
    return replace(scored, priors=np.where(rng.random(priors.size) < 0.9, priors, np.nan))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_prior_stage_is_counted_in(seed: int) -> None:
    """What it drops is made up for by the questions: the recall that was aimed for is that of the whole cascade."""
    cascade = replace(two_stages(), prior_stage=guess(0.08, 1.0))
    scored = with_priors(simulated(seed, 60), seed)
    found = tune_few_tasks(cascade, scored, TuningTarget(level=0.8))
    whole = Replay(cascade, scored).outcome(found.thresholds)
    assert found.thresholds["guess", ANY_TIER] == Limits(0.08, 1.0)
    assert 0.8 <= found.expected.recall_per_task < 0.83
    assert abs(found.expected.recall_per_task - whole.recall_per_task) < 0.06
    assert abs(found.expected.calls - whole.calls) < 0.1
    bare = two_stages()
    alone = tune_few_tasks(bare, scored, TuningTarget(level=0.8))
    both = Replay(cascade, scored).outcome({**own_thresholds(cascade), **alone.thresholds})
    assert both.recall_per_task < whole.recall_per_task
    highest = tune_few_tasks(cascade, scored)
    assert highest.level == pytest.approx(
        LabelReplay(cascade, scored, None, scored.priors).macro_f1(highest.thresholds), abs=0.06
    )


@pytest.mark.slow
def test_a_prior_stage_may_stand_in_the_way() -> None:
    """Where it drops too much no threshold helps, and the message names it; where it settles all, nothing is left."""
    scored = with_priors(simulated(1, 30), 1)
    with pytest.raises(InputError, match=r"of 0\.9 beside the prior stage 'guess'.*highest is 0"):
        tune_few_tasks(replace(two_stages(), prior_stage=guess(0.3, 1.0)), scored, TuningTarget(level=0.9))
    known = replace(scored, priors=np.zeros(scored.labels.size))
    with pytest.raises(InputError, match="The prior stage settles every item"):
        tune_few_tasks(replace(two_stages(), prior_stage=guess(0.5, 0.5)), known, TuningTarget(level=0.9))


def with_thresholds(folder: Path, thresholds: Path) -> Path:
    """The shipped config with a file of thresholds named for ``precision``."""
    return write_shipped(folder / "my.toml", precision=thresholds)
