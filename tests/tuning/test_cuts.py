"""Cut points of scores: the best ones are found, the guarantee holds, the file keeps them and the lock knows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.guarantee import question
from cascade import Cascade
from cascade.cli.tune_output import file_of, threshold_in_words
from cascade.config.figures import Metric, Unit, figure_of
from cascade.config.thresholds import read_thresholds, write_thresholds
from cascade.errors import ConfigError
from cascade.evaluation.replay import Prices, Replay, Thresholds, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.report import Origin
from cascade.stages import ANY_TIER, BASE, Question, ScoreLimits, Stage, Target, Value, cuts_of
from cascade.tuning.check import Guarantee, check_guarantee
from cascade.tuning.free_thresholds import GAP, End, FreeKey, free_keys, placed, safest
from cascade.tuning.objective import Cost, Objective
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import GridIndex, ThresholdGrid, nudged

SCORE, LARGE = ("score", ANY_TIER), ("large", ANY_TIER)
LEVELS = ("no", "hardly", "rather", "yes")
TOP = len(LEVELS) - 1
KEEP, DROP, SOME, REVIEW = (Target(name, is_label=True) for name in ("keep", "drop", "some", "review"))
ON = Target("large", is_label=False)
PLACES = np.array([0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
"""The expected scores that the model gives, over the highest level."""
MATTERS = np.array([0.01, 0.1, 0.4, 0.6, 0.9, 0.99])
"""The share of the items with each of them that matters."""
SHARES = np.array([0.35, 0.1, 0.1, 0.1, 0.1, 0.25])
"""The share of the items that get each of them."""
RIGHT = 0.98
"""The share of the items of which the large model is right."""
ORIGIN = Origin(model="m", adapters={}, data="d", questions="q")


def score(*ways: Target, least: float = 0.0, uncertain: Target | None = None) -> Stage:
    """A score whose parts lead on in order, with cut points of no use."""
    asked = Question(
        marker="score",
        wording="does it matter?",
        adapter=BASE,
        threshold=least,
        values=tuple(map(Value, LEVELS)),
        is_scale=True,
    )
    return Stage(
        name="score",
        questions={ANY_TIER: asked},
        next={str(part): way for part, way in enumerate(ways)},
        cuts=tuple(np.linspace(0, TOP, len(ways) + 1)[1:-1].tolist()),
        uncertain=uncertain,
    )


def cascade_of(*stages: Stage) -> Cascade:
    """A cascade of stages with the labels that they lead to."""
    found = {target.name for stage in stages for target in stage.ways.values() if target.is_label}
    labels = tuple(name for name in ("drop", "some", "keep", "review") if name in found)
    return Cascade(name="c", instructions="i", labels=labels, stages=stages)


PLAIN = cascade_of(score(DROP, KEEP))
ESCALATED = cascade_of(
    score(DROP, ON, KEEP), Stage(name="large", questions={ANY_TIER: question("large")}, yes=KEEP, no=DROP)
)


def spread(places: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """Probabilities of the levels whose expected score is a place on the whole scale."""
    p = dict.fromkeys(LEVELS, np.zeros(places.size)) | {LEVELS[0]: 1 - places, LEVELS[-1]: places}
    return {("score", level): values for level, values in p.items()}


def planted(cascade: Cascade, seed: int, n_tasks: int, n_items: int = 20) -> ScoredTasks:
    """Tasks whose items matter as often as their scores say; the first of each always does, and scores highest."""
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    place = rng.choice(PLACES.size, n, p=SHARES)
    matters = rng.random(n) < MATTERS[place]
    place[::n_items], matters[::n_items] = PLACES.size - 1, True
    is_right = rng.random(n) < RIGHT
    p = spread(PLACES[place]) | {LARGE: np.where(matters == is_right, 0.9, 0.1)}
    return ScoredTasks(
        tasks=np.repeat(np.arange(n_tasks), n_items),
        labels=np.where(matters, cascade.labels.index("keep"), 0).astype(np.int64),
        p={key: values for key, values in p.items() if key[0] in {stage.name for stage in cascade.stages}},
        n_tasks=n_tasks,
    )


def parts(thresholds: Thresholds) -> list[list[float]]:
    """The places in each part of the scale."""
    bounds = (0.0, *cuts_of(thresholds[SCORE]), float(TOP))
    return [[place for place in PLACES.tolist() if low <= place * TOP < high] for low, high in pairwise(bounds)]


@pytest.mark.parametrize("cost", [Cost.CALLS, Cost.LATENCY])
def test_the_best_cut_points_are_found(cost: Cost) -> None:
    """What scores in the middle goes to the large model, without which more than 5 % would be wrong; nothing else."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED, cost=cost)
    prices = Prices(item=0.5, questions={SCORE: 1.0, LARGE: 10.0})
    tuned = tune(ESCALATED, planted(ESCALATED, 3, 800), target, prices=prices)
    assert parts(tuned.thresholds) == [[0.05, 0.2], [0.4, 0.6], [0.8, 0.95]]
    assert tuned.held_out.calls == pytest.approx(1.19, abs=0.01)


def test_a_single_cut_point_needs_no_search() -> None:
    """All tasks test it; dropping 0.4 would lose more than 5 % of what matters, dropping 0.2 does not."""
    scored = planted(PLAIN, 2, 800)
    tuned = tune(PLAIN, scored, TuningTarget(level=0.95))
    assert parts(tuned.thresholds) == [[0.05, 0.2], [0.4, 0.6, 0.8, 0.95]]
    assert (tuned.n_searched, tuned.n_held_out, tuned.per_stage) == (0, 800, None)
    turned = cascade_of(score(KEEP, DROP))
    upside = replace(scored, p=spread(1 - scored.p["score", LEVELS[-1]]))
    (cut,) = cuts_of(tune(turned, upside, TuningTarget(level=0.95)).thresholds[SCORE])
    assert cut == pytest.approx(TOP - cuts_of(tuned.thresholds[SCORE])[0], abs=0.05)


def test_cut_points_and_least_confidence_are_tuned_together() -> None:
    """Where a mixture of both ends is least sure it is handed on, and what is answered is right."""
    tree = cascade_of(score(DROP, KEEP, least=0.01, uncertain=REVIEW))
    assert [(key.end, key.at) for key in free_keys(tree, Metric.RECALL)] == [(End.BOTH, 0), (End.CUT, 0)]
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED)
    tuned = tune(tree, planted(tree, 1, 800), target)
    assert tuned.held_out.handed_on == pytest.approx(0.19, abs=0.01)
    assert tuned.held_out.error_among_answered < 0.05
    found = tuned.thresholds[SCORE]
    assert isinstance(found, ScoreLimits)
    assert 0.4 < found.cuts[0] / TOP < 0.8
    assert found.least > 0.01


def test_a_macro_f1_depends_on_every_cut_point() -> None:
    """With a label in the middle that items have whose score lies there; a recall leaves that cut point as it was."""
    tree = cascade_of(score(DROP, SOME, KEEP))
    scored = planted(tree, 5, 400)
    place = scored.p["score", LEVELS[-1]]
    labels = np.array([tree.labels.index(name) for name in ("drop", "some", "keep")])
    exact = replace(scored, labels=labels[np.searchsorted([0.3, 0.7], place)])
    tuned = tune(tree, exact, TuningTarget(level=0.9, metric=Metric.MACRO_F1))
    assert parts(tuned.thresholds) == [[0.05, 0.2], [0.4, 0.6], [0.8, 0.95]]
    assert [key.at for key in free_keys(tree, Metric.RECALL)] == [0]
    kept = tune(tree, scored, TuningTarget(level=0.95))
    assert cuts_of(kept.thresholds[SCORE])[1] == tree.first.cuts[1]
    assert parts(kept.thresholds)[0] == [0.05, 0.2]


def test_what_ways_have_in_common_is_not_tuned() -> None:
    """Parts that lead to the same place are one for every metric, two kept labels are one for a recall."""
    tree = cascade_of(score(DROP, DROP, SOME, KEEP))
    assert [key.at for key in free_keys(tree, Metric.MACRO_F1)] == [1, 2]
    assert [key.at for key in free_keys(tree, Metric.RECALL)] == [1]
    values = {key: safest(tree, key, Metric.RECALL) for key in free_keys(tree, Metric.RECALL)}
    low, same, high = cuts_of(placed(own_thresholds(tree), values)[SCORE])
    assert 0 < low < same == pytest.approx(2 * GAP)
    assert high == tree.first.cuts[2]


@given(st.data())
def test_cut_points_stay_in_order(data: st.DataObject) -> None:
    """Wherever some are put or nudged, all rise between the ends; those that nothing passes stay."""
    n = data.draw(st.integers(1, 9))
    cuts = sorted(
        data.draw(st.lists(st.floats(0.01, 9.99), min_size=n, max_size=n, unique_by=lambda cut: round(cut, 4)))
    )
    free = sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1)))
    grid = np.arange(1, 2 * n + 20) * GAP * data.draw(st.integers(1, 20_000))
    places = sorted(data.draw(st.sets(st.integers(0, grid.size - n), min_size=len(free), max_size=len(free))))
    places = [place + at for place, at in zip(places, free, strict=True)]
    keys = [FreeKey("score", end=End.CUT, at=at) for at in free]
    index = dict(zip(keys, places, strict=True))
    key = data.draw(st.sampled_from(keys))
    moved = nudged(index, key, data.draw(st.integers(key.at, grid.size - n + key.at)))
    for found in (index, moved):
        own: Thresholds = {SCORE: ScoreLimits(0.2, tuple(cuts))}
        after = placed(own, {each: float(grid[place]) for each, place in found.items()})[SCORE]
        assert isinstance(after, ScoreLimits)
        assert after.least == 0.2
        assert list(after.cuts) == sorted({*after.cuts})
        assert [after.cuts[each.at] for each in keys] == [grid[found[each]] for each in keys]
        for at, cut in enumerate(cuts):
            below = [grid[place] for each, place in found.items() if each.at < at]
            above = [grid[place] for each, place in found.items() if each.at > at]
            if at not in free and max(below, default=0) < cut - n * GAP and cut + n * GAP < min(above, default=99):
                assert after.cuts[at] == cut


@pytest.mark.slow
@given(st.sampled_from(Metric), st.sampled_from(Cost), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_a_line_of_a_cut_point_is_what_each_value_comes_to(metric: Metric, cost: Cost, seed: int) -> None:
    """Against replaying value by value, with four parts, a least confidence and a label for what is uncertain."""
    rng = np.random.default_rng(seed)
    large = Stage(name="large", questions={ANY_TIER: question("large")}, yes=KEEP, no=DROP)
    tree = cascade_of(score(DROP, ON, SOME, KEEP, least=0.3, uncertain=REVIEW), large)
    n = 40
    p = rng.dirichlet(np.full(len(LEVELS), 0.5), n)
    scored = ScoredTasks(
        tasks=np.sort(rng.integers(0, 6, n)),
        labels=rng.integers(0, 3, n),
        p={("score", level): p[:, at] for at, level in enumerate(LEVELS)} | {LARGE: rng.random(n)},
        n_tasks=6,
    )
    prices = Prices(item=3.0, questions={SCORE: 1.0, LARGE: 9.0})
    replay, task_metric = Replay(tree, scored, prices=prices), TaskMetric(tree, scored, metric)
    objective = Objective(cost, handed_on=4.0 if cost.is_spent else 0.0)
    grid = ThresholdGrid(replay, task_metric, objective, own_thresholds(tree), free_keys(tree, Metric.MACRO_F1))
    some = {key: float(rng.random() * TOP) for key in grid.grids}
    index = grid.nearest(placed(own_thresholds(tree), dict(zip(sorted(some), sorted(some.values()), strict=True))))
    n_cuts = 0
    for axis in grid.axes:
        line = grid.line(index, axis)
        for place in range(line.values.size):
            if not _is_in_order(grid, index, axis, place):
                assert line.costs[place] == np.inf
                continue
            n_cuts += axis.end is End.CUT
            outcome = replay.outcome(grid.at(grid.moved(index, axis, place)))
            assert line.values[place] == pytest.approx(getattr(outcome, figure_of(metric, Unit.TASK)))
            tie = outcome.calls if cost in {Cost.MISSES, Cost.FALSE_POSITIVES} else outcome.false_positives
            if cost is Cost.HANDED_ON:
                tie += outcome.error_among_answered * (1 - outcome.handed_on)
            paid = outcome.ms if cost is Cost.LATENCY else getattr(outcome, cost)
            assert line.costs[place] == pytest.approx(paid + 1e-3 * tie + objective.handed_on * outcome.handed_on)
    assert n_cuts > 3


def _is_in_order(grid: ThresholdGrid, index: GridIndex, axis: FreeKey, place: int) -> bool:
    """Whether the cut points rise, and leave room for one another at the ends."""
    if axis.end is not End.CUT:
        return True
    low, high = grid.reach(axis)
    places = [place if key == axis else index[key] for key in grid.grids if key.end is End.CUT]
    return low <= place <= high and places == sorted({*places})


def continuous(seed: int, n_tasks: int, n_items: int = 12) -> ScoredTasks:
    """Scores of unequal skill; hard tasks have items that score low together."""
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    labels = (rng.random(n) < 0.25).astype(np.int64)
    labels[::n_items] = 1
    ease = np.repeat(rng.normal(0, 0.5, n_tasks), n_items)
    odds = 2.0 * (labels - 0.5) + ease + rng.normal(0, 1, n)
    large = 4.0 * (labels - 0.5) + ease + rng.normal(0, 1, n)
    p = spread(1 / (1 + np.exp(-odds))) | {LARGE: 1 / (1 + np.exp(-large))}
    return ScoredTasks(tasks=np.repeat(np.arange(n_tasks), n_items), labels=labels, p=p, n_tasks=n_tasks)


@pytest.mark.slow
@pytest.mark.parametrize("metric", [Metric.RECALL, Metric.ACCURACY_AMONG_ANSWERED])
def test_the_guarantee_holds_over_many_draws(metric: Metric) -> None:
    """40 draws of 200 tasks of continuous scores, truth from 3,000: missed at most delta and chance, and not lazily."""
    target = TuningTarget(level=0.85, metric=metric, delta=0.1, cost=Cost.CALLS, false_positive=1.0)
    truth = Replay(ESCALATED, continuous(0, 3_000))
    found = np.array(
        [
            getattr(
                truth.outcome(tune(ESCALATED, continuous(seed, 200), target, seed).thresholds),
                figure_of(metric, Unit.TASK),
            )
            for seed in range(1, 41)
        ]
    )
    slack = 2 * np.sqrt(target.delta * (1 - target.delta) / found.size)
    assert np.mean(found < target.level) <= target.delta + slack
    assert found.mean() - target.level <= 0.06


def test_a_file_keeps_cut_points_and_what_is_guaranteed(tmp_path: Path) -> None:
    """Written, read, put on and checked: the same thresholds; a score of other parts is refused."""
    target = TuningTarget(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED, cost=Cost.CALLS)
    tuned = tune(ESCALATED, planted(ESCALATED, 7, 500), target)
    file = file_of(ESCALATED, target, tuned, {}, ORIGIN)
    path = tmp_path / "c.thresholds.toml"
    write_thresholds(file, path, "From a test.")
    assert "[thresholds.score]\nleast_confidence = 0.0\ncuts = [" in path.read_text(encoding="utf-8")
    again = read_thresholds(path)
    assert again == file
    stages, _ = again.put_on("c", ESCALATED.stages)
    there = replace(ESCALATED, stages=stages)
    assert own_thresholds(there) == tuned.thresholds
    assert there.first.cuts == cuts_of(tuned.thresholds[SCORE]) != ESCALATED.first.cuts
    assert again.limits()[SCORE] == (0.0, 0.0)
    guaranteed = Guarantee(level=0.95, metric=Metric.ACCURACY_AMONG_ANSWERED)
    new = planted(ESCALATED, 8, 400)
    found = check_guarantee(there, new, guaranteed, 0.05)
    at_cuts = Replay(ESCALATED, new).outcome(tuned.thresholds)
    assert found.measured == pytest.approx(at_cuts.accuracy_among_answered_per_task)
    parts_of_four = score(DROP, ON, SOME, KEEP)
    with pytest.raises(ConfigError, match="has 2 cut points for 'score', and the stage needs 3"):
        again.put_on("c", (parts_of_four, *ESCALATED.stages[1:]))
    plain = path.read_text(encoding="utf-8").replace("least_confidence = 0.0\ncuts", '"" = 0.0\n# cuts')
    path.write_text(plain, encoding="utf-8")
    with pytest.raises(ConfigError, match="has 0 cut points for 'score', and the stage needs 2"):
        read_thresholds(path).put_on("c", ESCALATED.stages)


@pytest.mark.parametrize(
    ("cuts", "words"),
    [
        ("[]", "0 cut points"),
        ("[1.5, 1.5]", "do not rise between 0 and 3"),
        ("[1.0, 3.5]", "do not rise between 0 and 3"),
        ("[nan, 2.0]", "cuts.0: input should be a finite number"),
        ('["a", 2.0]', "cuts.0: input should be a valid number"),
        ("1.0", "cuts: an array is needed"),
    ],
)
def test_cut_points_that_do_not_fit_are_refused(cuts: str, words: str, tmp_path: Path) -> None:
    """The refusal says where and what."""
    tuned = tune(ESCALATED, planted(ESCALATED, 7, 400), TuningTarget(level=0.9))
    path = tmp_path / "c.thresholds.toml"
    write_thresholds(file_of(ESCALATED, TuningTarget(level=0.9), tuned, {}, ORIGIN), path, "From a test.")
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text(
        "\n".join(f"cuts = {cuts}" if line.startswith("cuts") else line for line in lines), encoding="utf-8"
    )
    with pytest.raises(ConfigError) as refused:
        replace(ESCALATED, stages=read_thresholds(path).put_on("c", ESCALATED.stages)[0])
    assert words.lower() in str(refused.value).lower()


def test_words_for_the_thresholds_of_a_score() -> None:
    """Its cut points, and the confidence from which on it is sure."""
    assert threshold_in_words(ScoreLimits(0.0, (0.83214, 1.5)), ".4g") == "cuts 0.8321, 1.5; always sure"
    assert threshold_in_words(ScoreLimits(0.4, (1.5,))) == "cuts 1.5; sure from 0.4"
