"""A prior stage tuned with the questions: what is guaranteed holds, and an engine does what the replay said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.guarantee import question, simulated, two_stages
from cascade import Cascade, Engine, Item, ScriptedBackend, Task
from cascade.cli.tune_output import file_of
from cascade.config.figures import Metric, Unit, figure_of
from cascade.config.thresholds import InputsConfig, read_thresholds, write_thresholds
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import auc
from cascade.evaluation.prior_fit import priors_of, with_prior, with_prior_scores
from cascade.evaluation.replay import Prices, Replay, known_priors, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import score_tasks
from cascade.evaluation.targets import TaskMetric
from cascade.probability import logit, p_yes
from cascade.report import Origin
from cascade.stages import ANY_TIER, Combine, Source, Stage, Target, limits_of
from cascade.tuning.check import Guarantee, check_guarantee
from cascade.tuning.free_thresholds import End, FreeKey, free_keys
from cascade.tuning.objective import Cost, Objective
from cascade.tuning.search import tune
from cascade.tuning.shift import inputs_of, shifts
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import ThresholdGrid

pytestmark = pytest.mark.slow

PRIOR = Stage(
    name="prior",
    source=Source.EVIDENCE,
    yes=Target("b", is_label=False),
    no=Target("drop", is_label=True),
)
CASCADE = replace(two_stages(), prior_stage=PRIOR)
FACTS = ("listed", "seen", "named", "near", "far")
ORIGIN = Origin(model="m", adapters={}, data="d", questions="q")


def population(seed: int, n_tasks: int) -> tuple[list[Labelled], dict[str, float]]:
    """Tasks of ten items whose evidence says much of what matters; and "item marker" -> p(yes) of two questions.

    Of every twelfth task nothing is known.
    """
    rng = np.random.default_rng(seed)
    tasks: list[Labelled] = []
    p: dict[str, float] = {}
    for at in range(n_tasks):
        matters = np.append(True, rng.random(9) < 0.15)
        strength = 1 + np.clip(np.rint(1.5 * matters + rng.normal(1, 0.7, 10)), 0, len(FACTS) - 1).astype(int)
        strength *= at % 12 != 11
        items = tuple(
            Item(id=str(row), kind="function", name=f"f{at}_{row}", evidence=FACTS[:n])
            for row, n in enumerate(strength.tolist())
        )
        for marker, skill in (("a", 3.0), ("b", 2.0)):
            odds = skill * (matters - 0.5) + rng.normal(0, 1, 10)
            p |= {
                f"{item.name} {marker}": float(found)
                for item, found in zip(items, 1 / (1 + np.exp(-odds)), strict=True)
            }
        labels = tuple("keep" if found else "drop" for found in matters)
        tasks.append(Labelled(task=Task(text=f"task {at}"), items=items, labels=labels))
    return tasks, p


def engine_of(cascade: Cascade, p: dict[str, float]) -> Engine:
    """An engine whose model knows every p(yes)."""

    def script(_: str, prompt: str) -> float:
        names = re.findall(r"f\d+_\d+", prompt)
        marker = re.findall(r"\b[ab]\b", prompt)[-1]
        return p[f"{names[-1]} {marker}"]

    return Engine(ScriptedBackend(script, frozenset(), records=False), {"two": cascade})


def test_the_engine_does_what_the_replay_said(tmp_path: Path) -> None:
    """Tuned, written, read and run on other tasks: every label, the calls, below 1 an item, and the recall."""
    tasks, p = population(1, 300)
    with engine_of(two_stages(), p) as engine:
        scored = score_tasks(engine, CASCADE, tasks)
    tuning_target = TuningTarget(level=0.9)
    tuned = tune(CASCADE, scored, tuning_target)
    assert tuned.held_out.recall_per_task >= 0.9
    assert tuned.held_out.calls < 1
    write_thresholds(file_of(CASCADE, tuning_target, tuned, {}, ORIGIN), tmp_path / "two.toml", "From a test.")
    file = read_thresholds(tmp_path / "two.toml")
    stages, prior_stage = file.put_on("two", CASCADE.stages, PRIOR)
    cascade = replace(CASCADE, stages=stages, prior_stage=prior_stage)
    assert own_thresholds(cascade) == tuned.thresholds
    others, p = population(2, 150)
    with engine_of(two_stages(), p) as engine:
        scored = score_tasks(engine, CASCADE, others)
    replay = Replay(cascade, scored)
    with engine_of(cascade, p) as engine:
        reports = [engine.classify(labelled.task, labelled.items, "two") for labelled in others]
    found = [decision.label for report in reports for decision in report.decisions]
    assert found == [cascade.labels[label] for label in replay.labels(tuned.thresholds)]
    outcome = replay.outcome(tuned.thresholds)
    assert sum(report.stats.calls for report in reports) / len(found) == pytest.approx(outcome.calls)
    assert outcome.calls < 1
    assert outcome.recall_per_task >= 0.9


def test_a_guarantee_is_checked_on_what_an_engine_decides() -> None:
    """Also on one new task alone, whose own table of facts has none of those that the prior weighs."""
    tasks, p = population(1, 300)
    with engine_of(two_stages(), p) as engine:
        tuned = tune(CASCADE, score_tasks(engine, CASCADE, tasks), TuningTarget(level=0.9))
    limits = {key: limits_of(threshold) for key, threshold in tuned.thresholds.items()}
    stages = tuple(each.with_limits({ANY_TIER: limits[each.name, ANY_TIER]}) for each in CASCADE.stages)
    prior_stage = replace(PRIOR, prior=tuned.prior).with_limits({ANY_TIER: limits["prior", ANY_TIER]})
    cascade = replace(CASCADE, stages=stages, prior_stage=prior_stage)
    others, p = population(2, 1)
    with engine_of(cascade, p) as engine:
        scored = score_tasks(engine, cascade, others)
        reports = [engine.classify(labelled.task, labelled.items, "two") for labelled in others]
    recalls = []
    for report, labelled in zip(reports, others, strict=True):
        given = [decision.label for decision in report.decisions]
        recalls.append(np.mean([a == "keep" for a, b in zip(given, labelled.labels, strict=True) if b == "keep"]))
    priors = priors_of(cascade, [item for labelled in others for item in labelled.items])
    found = check_guarantee(cascade, scored, Guarantee(level=0.9), 0.05, priors)
    assert found.measured == pytest.approx(np.mean(recalls))
    outcome = Replay(cascade, scored, priors).outcome(tuned.thresholds)
    assert outcome.calls == sum(report.stats.calls for report in reports) / len(priors)
    assert outcome.calls < Replay(cascade, scored).outcome(tuned.thresholds).calls


def test_the_prior_of_a_row_has_not_seen_its_label() -> None:
    """Out of fold it ranks a little worse than on what it was fitted to; without facts there is nothing to weigh."""
    tasks, p = population(3, 40)
    with engine_of(two_stages(), p) as engine:
        scored = score_tasks(engine, CASCADE, tasks)
    cascade, priors = with_prior(CASCADE, scored)
    assert cascade.prior_stage
    assert cascade.prior_stage.prior
    is_known = np.array([bool(item.evidence) for labelled in tasks for item in labelled.items])
    np.testing.assert_array_equal(np.isnan(priors), ~is_known)
    seen, kept = known_priors(cascade, scored)[is_known], scored.is_positive(cascade)[is_known]
    priors = priors[is_known]
    assert auc(seen, kept) > auc(priors, kept) > 0.8
    with pytest.raises(InputError, match="goes by evidence; 40 tasks were searched, and they show no way"):
        with_prior(CASCADE, replace(scored, features=None))
    with pytest.raises(InputError, match="goes by evidence; 40 tasks were searched, and they show no way"):
        with_prior(CASCADE, replace(scored, labels=np.ones_like(scored.labels)))


def by_caller(seed: int) -> ScoredTasks:
    """Tasks whose callers say how likely an item matters, but for every fourth."""
    scored = simulated(seed, 300)
    rng = np.random.default_rng(seed)
    odds = 2 * (scored.labels - 0.5) + rng.normal(0, 1, scored.labels.size)
    priors = np.where(np.arange(odds.size) % 4 == 0, np.nan, 1 / (1 + np.exp(-odds)))
    return replace(scored, priors=priors)


def test_a_prior_that_drifts_is_seen() -> None:
    """Callers that say more than they did, or nothing at all: that is named, and what did not change is not."""
    cascade = replace(CASCADE, prior_stage=replace(PRIOR, source=Source.CALLER))

    def shifted(new: ScoredTasks) -> set[tuple[str, str, str]]:
        then, now = (with_prior_scores(cascade, tasks, known_priors(cascade, tasks)) for tasks in (by_caller(1), new))
        inputs = InputsConfig.of(inputs_of(cascade, then)).inputs()
        return {shift.statistic for shift in shifts(inputs, cascade, now, 0.05) if shift.is_shifted}

    plain = by_caller(2)
    assert plain.priors is not None
    assert not shifted(plain)
    assert shifted(replace(plain, priors=p_yes(logit(plain.priors) + 1))) == {("mean", "prior", "")}
    assert shifted(replace(plain, priors=None)) == {("asked", "prior", "")}


def test_the_callers_number_is_tuned_too() -> None:
    """It saves calls against the same cascade without it; the thresholds are in order, and no prior is written."""
    cascade = replace(CASCADE, prior_stage=replace(PRIOR, source=Source.CALLER))
    tuned, plain = (tune(tree, by_caller(1), TuningTarget(level=0.9)) for tree in (cascade, two_stages()))
    assert tuned.prior is None
    assert tuned.held_out.calls < plain.held_out.calls
    no_below, yes_from = limits_of(tuned.thresholds["prior", ANY_TIER])
    assert 0 <= no_below <= yes_from <= 1
    assert tuned.per_stage
    assert tuned.held_out.calls < 0.9 * tuned.per_stage.calls


@given(st.sampled_from(Combine), st.sampled_from(Metric), st.sampled_from(Cost), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_a_line_is_what_each_of_its_values_comes_to(combine: Combine, metric: Metric, cost: Cost, seed: int) -> None:
    """Against replaying value by value, with tiers, a prior stage that knows some items, and three labels."""
    rng = np.random.default_rng(seed)
    tiers = ("x", "y")
    first = Stage(
        name="s",
        questions={tier: question(tier) for tier in tiers},
        yes=Target("t", is_label=False),
        no=Target("drop", is_label=True),
        combine=combine,
    )
    second = Stage(
        name="t",
        questions={ANY_TIER: question("t")},
        yes=Target("much", is_label=True),
        no=Target("some", is_label=True),
    )
    cascade = Cascade(
        name="c",
        instructions="i",
        labels=("drop", "some", "much"),
        stages=(first, second),
        prior_stage=replace(PRIOR, source=Source.CALLER, yes=Target("t", is_label=False)),
    )
    n = 40
    asked = rng.random((n, 2)) < 0.7
    asked[np.arange(n), rng.integers(0, 2, n)] = True
    p = {("s", tier): np.where(asked[:, at], rng.random(n), np.nan) for at, tier in enumerate(tiers)}
    scored = ScoredTasks(
        tasks=np.sort(rng.integers(0, 6, n)),
        labels=rng.integers(0, 3, n),
        p={**p, ("t", ANY_TIER): rng.random(n)},
        n_tasks=6,
        priors=np.where(rng.random(n) < 0.3, np.nan, rng.random(n)),
    )
    prices = Prices(item=3.0, questions={("s", "x"): 1.0, ("s", "y"): 2.0, ("t", ANY_TIER): 0.5})
    replay, task_metric = Replay(cascade, scored, prices=prices), TaskMetric(cascade, scored, metric)
    free = free_keys(cascade, Metric.MACRO_F1)
    threshold_grid = ThresholdGrid(replay, task_metric, Objective(cost), own_thresholds(cascade), free)
    places = {key: int(rng.integers(0, grid.size)) for key, grid in threshold_grid.grids.items()}
    lower, upper = (FreeKey("prior", end=end) for end in (End.NO_BELOW, End.YES_FROM))
    places[lower] = min(places[lower], places[upper])
    for way in threshold_grid.axes:
        line = threshold_grid.line(places, way)
        for place in range(line.values.size):
            thresholds = threshold_grid.at(threshold_grid.moved(places, way, place))
            no_below, yes_from = limits_of(thresholds["prior", ANY_TIER])
            if no_below > yes_from:
                assert line.costs[place] == np.inf
                continue
            outcome = replay.outcome(thresholds)
            assert line.values[place] == pytest.approx(getattr(outcome, figure_of(metric, Unit.TASK)))
            tie = outcome.calls if cost in {Cost.MISSES, Cost.FALSE_POSITIVES} else outcome.false_positives
            tie += outcome.error_among_answered if cost is Cost.HANDED_ON else 0.0
            paid = outcome.ms if cost is Cost.LATENCY else getattr(outcome, cost)
            assert line.costs[place] == pytest.approx(paid + 1e-3 * tie)
