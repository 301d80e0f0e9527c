"""Both thresholds of stages that may be uncertain: the best pair is found, the guarantee holds, the file keeps both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.guarantee import question, two_stages
from cascade import Cascade
from cascade.cli.guarantees import guarantee_in_words
from cascade.cli.tune_output import file_of, kept_little
from cascade.config.figures import Metric, Unit, figure_of
from cascade.config.thresholds import read_thresholds, write_thresholds
from cascade.errors import InputError
from cascade.evaluation.replay import Outcome, Prices, Replay, Thresholds, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.report import Origin
from cascade.stages import ANY_TIER, Combine, Limits, Stage, Target, limits_of
from cascade.tuning.check import Guarantee, check_guarantee
from cascade.tuning.few_tasks import tune_few_tasks
from cascade.tuning.free_thresholds import End, FreeKey, free_keys
from cascade.tuning.objective import Cost, Objective
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import ThresholdGrid, nudged

SMALL, LARGE = ("small", ANY_TIER), ("large", ANY_TIER)
KEEP, DROP, REVIEW = (Target(name, is_label=True) for name in ("keep", "drop", "review"))
SCORES = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
"""The scores that the small model gives."""
MATTERS = np.array([0.01, 0.1, 0.4, 0.6, 0.9, 0.99])
"""The share of the items with each score that matters."""
SHARES = np.array([0.35, 0.1, 0.1, 0.1, 0.1, 0.25])
"""The share of the items that get each score."""
RIGHT = 0.98
"""The share of the items of which the large model is right."""
PRICES = Prices(item=0.5, questions={SMALL: 1.0, LARGE: 10.0})


def small(uncertain: Target) -> Stage:
    """The small model's stage."""
    return Stage(name="small", questions={ANY_TIER: question("small")}, yes=KEEP, no=DROP, uncertain=uncertain)


REVIEWED = Cascade(name="c", instructions="i", labels=("drop", "keep", "review"), stages=(small(REVIEW),))
ESCALATED = Cascade(
    name="c",
    instructions="i",
    labels=("drop", "keep"),
    stages=(
        small(Target("large", is_label=False)),
        Stage(name="large", questions={ANY_TIER: question("large")}, yes=KEEP, no=DROP),
    ),
)


def planted(cascade: Cascade, seed: int, n_tasks: int, n_items: int = 20) -> ScoredTasks:
    """Tasks whose items matter as often as their scores say; the first of each always does, and scores highest."""
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    level = rng.choice(SCORES.size, n, p=SHARES)
    matters = rng.random(n) < MATTERS[level]
    level[::n_items], matters[::n_items] = SCORES.size - 1, True
    is_right = rng.random(n) < RIGHT
    scores = {SMALL: SCORES[level], LARGE: np.where(matters == is_right, 0.9, 0.1)}
    return ScoredTasks(
        tasks=np.repeat(np.arange(n_tasks), n_items),
        labels=matters.astype(np.int64),
        p={(stage.name, ANY_TIER): scores[stage.name, ANY_TIER] for stage in cascade.stages},
        n_tasks=n_tasks,
    )


def between(thresholds: Thresholds) -> list[float]:
    """The small model's scores that are uncertain."""
    no_below, yes_from = limits_of(thresholds[SMALL])
    return [score for score in SCORES.tolist() if no_below <= score < yes_from]


def split(thresholds: Thresholds) -> tuple[list[float], list[float], list[float]]:
    """The small model's scores that are answered no, that are uncertain, and that are answered yes."""
    no_below, yes_from = limits_of(thresholds[SMALL])
    scores, middle = SCORES.tolist(), between(thresholds)
    return [s for s in scores if s < no_below], middle, [s for s in scores if s >= yes_from]


@pytest.mark.parametrize("unit", Unit)
def test_the_best_pair_is_found_for_an_error_among_what_is_answered(unit: Unit) -> None:
    """Answering 0.2 and 0.8 leaves 3 % wrong, 0.4 or 0.6 as well more than 5 %: these two alone are reviewed."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED, unit=unit)
    tuned = tune(REVIEWED, planted(REVIEWED, 1, 800), target)
    assert split(tuned.thresholds) == ([0.05, 0.2], [0.4, 0.6], [0.8, 0.95])
    assert tuned.held_out.handed_on == pytest.approx(0.19, abs=0.01)
    assert tuned.held_out.error_among_answered < 0.05


@pytest.mark.parametrize("unit", Unit)
def test_the_best_pair_is_found_for_what_is_kept_or_handed_on(unit: Unit) -> None:
    """Dropping 0.4 would lose more than 5 % of what matters; 0.6 matters more often than not, and is kept."""
    target = TuningTarget(level=0.95, metric=Metric.RECALL_OR_HANDED_ON, unit=unit)
    scored = planted(REVIEWED, 2, 800)
    tuned = tune(REVIEWED, scored, target)
    assert split(tuned.thresholds) == ([0.05, 0.2], [0.4], [0.6, 0.8, 0.95])
    assert tuned.held_out.recall_or_handed_on_per_task >= 0.95
    dear = tune(REVIEWED, scored, replace(target, false_positive=9.0))
    assert split(dear.thresholds) == ([0.05, 0.2], [0.4, 0.6], [0.8, 0.95])
    cheap = tune(REVIEWED, scored, replace(target, false_positive=0.5))
    assert split(cheap.thresholds) == ([0.05, 0.2], [], [0.4, 0.6, 0.8, 0.95])


@pytest.mark.parametrize("cost", [Cost.CALLS, Cost.LATENCY])
def test_the_best_pair_is_found_for_a_larger_model(cost: Cost) -> None:
    """The large model is asked of 0.4 and 0.6 alone, without which more than 5 % would be wrong."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED, cost=cost)
    tuned = tune(ESCALATED, planted(ESCALATED, 3, 800), target, prices=PRICES)
    assert split(tuned.thresholds) == ([0.05, 0.2], [0.4, 0.6], [0.8, 0.95])
    assert tuned.held_out.calls == pytest.approx(1.19, abs=0.01)
    assert tuned.held_out.ms == pytest.approx(1.5 + 10 * (tuned.held_out.calls - 1))
    assert tuned.held_out.handed_on == 0


def test_a_recall_may_escalate_too() -> None:
    """What a false positive is worth decides who is asked; what the larger model drops counts as lost."""
    target = TuningTarget(level=0.95, false_positive=5.0)
    tuned = tune(ESCALATED, planted(ESCALATED, 4, 800), target)
    assert split(tuned.thresholds) == ([0.05, 0.2], [0.4, 0.6], [0.8, 0.95])
    assert tuned.held_out.recall_per_task >= 0.95


def test_what_is_handed_on_has_a_price_beside_calls() -> None:
    """With an item handed on at 5 calls nothing changes where a call is saved by nothing else; it is in the file."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED, cost=Cost.CALLS, handed_on=5.0)
    assert str(target.objective) == "calls + 5 handed_on"
    tuned = tune(REVIEWED, planted(REVIEWED, 5, 800), target)
    assert between(tuned.thresholds) == [0.4, 0.6]


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Metric.ACCURACY_AMONG_ANSWERED, "88.0% of the items do not matter, so no to all of them is right that often"),
        (Metric.RECALL_OR_HANDED_ON, "97.0% of what matters is handed on, which reaches the target by itself"),
        (Metric.PRECISION, "a task that keeps nothing has a precision of 1"),
    ],
)
def test_thresholds_that_keep_next_to_nothing_are_told_of(metric: Metric, words: str) -> None:
    """A note names what reaches the target without them, and what to aim for; useful thresholds have none."""
    target = TuningTarget(level=0.8, metric=metric)
    idle = Outcome(recall_per_task=0.02, calls=1.0, false_positives=0.0, misses=0.99, mattering_handed_on=0.97)
    told = kept_little(target, idle, 0.12)
    assert "(recall over all rows 0.010)" in told
    assert words in told
    assert "--target recall=" in told
    assert not kept_little(target, replace(idle, misses=0.5), 0.12)
    assert not kept_little(target, replace(idle, recall_per_task=np.nan), 0.0)


def test_what_is_of_no_use_is_refused() -> None:
    """Handing everything on, dropping everything, prices without a unit, and handing on where there is no way."""
    answered = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED)
    scored = planted(REVIEWED, 6, 300)
    blind = replace(scored, p={SMALL: np.full(scored.labels.size, 0.5)})
    with pytest.raises(InputError, match="hands everything on, and that helps nobody"):
        tune(REVIEWED, blind, answered)
    rare = replace(blind, labels=(np.arange(scored.labels.size) % 50 == 0).astype(np.int64))
    with pytest.raises(InputError, match="keeps nothing, and that helps nobody"):
        tune(REVIEWED, rare, replace(answered, level=0.9))
    with pytest.raises(InputError, match="hands nothing on"):
        tune(two_stages(), planted(ESCALATED, 6, 300), replace(answered, cost=Cost.HANDED_ON))
    with pytest.raises(InputError, match=r"Items handed on have a price of 3 beside calls or latency, and misses"):
        replace(answered, cost=Cost.MISSES, handed_on=3.0)
    assert answered.of(ESCALATED).minimised is Cost.CALLS
    assert answered.of(REVIEWED).minimised is Cost.HANDED_ON


@pytest.mark.slow
@pytest.mark.parametrize("cascade", [REVIEWED, ESCALATED], ids=["review", "escalation"])
@pytest.mark.parametrize("metric", [Metric.ACCURACY_AMONG_ANSWERED, Metric.RECALL_OR_HANDED_ON])
def test_the_guarantee_holds_over_many_draws(cascade: Cascade, metric: Metric) -> None:
    """40 draws of 300 tasks of continuous scores, truth from 3,000: missed at most delta and chance, and not lazily."""
    target = TuningTarget(level=0.9, metric=metric, delta=0.1, false_positive=2.0).of(cascade)
    figure = figure_of(metric, Unit.TASK)
    truth = Replay(cascade, continuous(cascade, 0, 3_000))
    found = [
        getattr(truth.outcome(tune(cascade, continuous(cascade, seed, 300), target, seed).thresholds), figure)
        for seed in range(1, 41)
    ]
    slack = 2 * np.sqrt(target.delta * (1 - target.delta) / len(found))
    assert np.mean(np.array(found) < target.level) <= target.delta + slack
    assert np.mean(found) - target.level <= 0.05


def continuous(cascade: Cascade, seed: int, n_tasks: int, n_items: int = 12) -> ScoredTasks:
    """Scores of unequal skill; hard tasks have items that score low together."""
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    labels = (rng.random(n) < 0.25).astype(np.int64)
    labels[::n_items] = 1
    ease = np.repeat(rng.normal(0, 0.5, n_tasks), n_items)
    p = {
        (stage.name, ANY_TIER): 1 / (1 + np.exp(-(skill * (labels - 0.5) + ease + rng.normal(0, 1, n))))
        for stage, skill in zip(cascade.stages, (2.0, 4.0), strict=False)
    }
    return ScoredTasks(tasks=np.repeat(np.arange(n_tasks), n_items), labels=labels, p=p, n_tasks=n_tasks)


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from([End.NO_BELOW, End.YES_FROM]), st.integers(0, 40))
def test_a_nudge_keeps_two_thresholds_in_order(lower: int, upper: int, end: End, place: int) -> None:
    """The other threshold of the question goes along where it would be passed, and stays otherwise."""
    lower, upper = sorted((lower, upper))
    key = FreeKey("small", ANY_TIER, end)
    before = {key._replace(end=End.NO_BELOW): lower, key._replace(end=End.YES_FROM): upper}
    after = nudged(before, key, place)
    found = (after[key._replace(end=End.NO_BELOW)], after[key._replace(end=End.YES_FROM)])
    assert after[key] == place
    assert found[0] <= found[1]
    other = found[1] if end is End.NO_BELOW else found[0]
    stays = place <= upper if end is End.NO_BELOW else place >= lower
    assert other == ((upper if end is End.NO_BELOW else lower) if stays else place)


ORIGIN = Origin(model="m", adapters={}, data="d", questions="q")


def test_a_file_keeps_both_thresholds_and_what_is_guaranteed(tmp_path: Path) -> None:
    """Written, read, put on and checked: the same thresholds, the same kind of guarantee, and figures held out."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED)
    tuned = tune(REVIEWED, planted(REVIEWED, 7, 500), target)
    file = file_of(REVIEWED, target, tuned, {}, ORIGIN)
    path = tmp_path / "c.thresholds.toml"
    write_thresholds(file, path, "From a test.")
    again = read_thresholds(path)
    assert again == file
    assert again.held_out is not None
    assert again.held_out.handed_on_per_item == pytest.approx(tuned.held_out.handed_on)
    assert again.held_out.error_among_answered == pytest.approx(tuned.held_out.error_among_answered)
    stages, _ = again.put_on("c", REVIEWED.stages)
    cascade = replace(REVIEWED, stages=stages)
    assert own_thresholds(cascade) == tuned.thresholds
    assert isinstance(tuned.thresholds[SMALL], Limits)
    assert again.guarantee is not None
    assert "an accuracy among answered per task of at least 0.95" in guarantee_in_words(again.guarantee)
    guaranteed = Guarantee(level=again.guarantee.level, metric=Metric.ACCURACY_AMONG_ANSWERED)
    new = planted(REVIEWED, 8, 400)
    found = check_guarantee(cascade, new, guaranteed, 0.05)
    assert found.measured == pytest.approx(
        Replay(cascade, new).outcome(tuned.thresholds).accuracy_among_answered_per_task
    )


@pytest.mark.parametrize("cascade", [REVIEWED, ESCALATED], ids=["review", "escalation"])
def test_few_tasks_get_a_pair_without_a_guarantee(cascade: Cascade) -> None:
    """The model of labels expects the target; what is surely right is answered, and what is doubtful is not."""
    scored = planted(cascade, 9, 40)
    target = TuningTarget(level=0.94, metric=Metric.ACCURACY_AMONG_ANSWERED)
    found = tune_few_tasks(cascade, scored, target)
    no, middle, yes = split(found.thresholds)
    assert found.level >= 0.94
    assert 0.05 in no
    assert 0.95 in yes
    assert {0.4, 0.6} & {*middle}
    best = between(tune_few_tasks(cascade, scored).thresholds)
    assert bool(best) == (cascade is ESCALATED), "a macro F1 gains by asking the larger model, and by review never"


@pytest.mark.slow
@given(st.sampled_from(Combine), st.sampled_from(Metric), st.sampled_from(Cost), st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_a_line_of_two_thresholds_is_what_each_value_comes_to(
    combine: Combine, metric: Metric, cost: Cost, seed: int
) -> None:
    """Against replaying value by value, with tiers that may be uncertain, a stage they lead to, and a label of it."""
    rng = np.random.default_rng(seed)
    tiers = ("x", "y")
    first = Stage(
        name="s",
        questions={tier: question(tier) for tier in tiers},
        yes=Target("t", is_label=False),
        no=DROP,
        uncertain=Target("u", is_label=False),
        combine=combine,
    )
    second = Stage(name="t", questions={ANY_TIER: question("t")}, yes=KEEP, no=Target("some", is_label=True))
    third = Stage(name="u", questions={ANY_TIER: question("u")}, yes=KEEP, no=DROP, uncertain=REVIEW)
    cascade = Cascade(
        name="c", instructions="i", labels=("drop", "some", "keep", "review"), stages=(first, second, third)
    )
    n = 40
    asked = rng.random((n, 2)) < 0.7
    asked[np.arange(n), rng.integers(0, 2, n)] = True
    p = {("s", tier): np.where(asked[:, at], rng.random(n), np.nan) for at, tier in enumerate(tiers)}
    scored = ScoredTasks(
        tasks=np.sort(rng.integers(0, 6, n)),
        labels=rng.integers(0, 3, n),
        p={**p, ("t", ANY_TIER): rng.random(n), ("u", ANY_TIER): rng.random(n)},
        n_tasks=6,
    )
    prices = Prices(item=3.0, questions={("s", "x"): 1.0, ("s", "y"): 2.0, ("u", ANY_TIER): 9.0})
    replay, task_metric = Replay(cascade, scored, prices=prices), TaskMetric(cascade, scored, metric)
    objective = Objective(cost, handed_on=4.0 if cost.is_spent else 0.0)
    grid = ThresholdGrid(replay, task_metric, objective, own_thresholds(cascade), free_keys(cascade, Metric.MACRO_F1))
    index = {key: int(rng.integers(0, values.size)) for key, values in grid.grids.items()}
    for key in [key for key in index if key.end is End.NO_BELOW]:
        index[key] = min(index[key], index[key._replace(end=End.YES_FROM)])
    for axis in grid.axes:
        line = grid.line(index, axis)
        for place in range(line.values.size):
            thresholds = grid.at(grid.moved(index, axis, place))
            if any(lower > upper for lower, upper in map(limits_of, thresholds.values())):
                assert line.costs[place] == np.inf
                continue
            outcome = replay.outcome(thresholds)
            assert line.values[place] == pytest.approx(getattr(outcome, figure_of(metric, Unit.TASK)))
            tie = outcome.calls if cost in {Cost.MISSES, Cost.FALSE_POSITIVES} else outcome.false_positives
            if cost is Cost.HANDED_ON:
                tie += outcome.error_among_answered * (1 - outcome.handed_on)
            paid = outcome.ms if cost is Cost.LATENCY else getattr(outcome, cost)
            assert line.costs[place] == pytest.approx(paid + 1e-3 * tie + objective.handed_on * outcome.handed_on)
