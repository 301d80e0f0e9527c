"""The report's charts and examples: their numbers are the engine's, and those counted by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from benchmarks.guarantee import question, simulated, two_stages
from cascade import Budget, Engine, Item, ScriptedBackend, Task
from cascade.audit.html.charts import anytime, confusion, error_slices, pareto_fronts, reliability
from cascade.audit.html.depth_charts import picture_names
from cascade.audit.html.draw import Picture, name_ticks
from cascade.audit.html.examples import worst_examples
from cascade.audit.html.subject import Calibration, Subject
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import calibration_error
from cascade.evaluation.replay import Replay
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import score_tasks
from cascade.profile import Profile
from cascade.stages import ANY_TIER, Combine, Source, Stage, Target
from cascade.tree import Cascade
from tests.helpers.scored_runs import labelled, three_label_run, three_labels


def drawn(picture: Picture) -> Axes:
    """The axes that a picture is drawn on."""
    axes: Axes = Figure().subplots()
    picture.draw(axes)
    return axes


def lines(picture: Picture) -> dict[str, np.ndarray]:
    """Name in the legend -> (n, 2) points of each line that has one."""
    return {
        str(line.get_label()): np.asarray(line.get_xydata())
        for line in drawn(picture).lines
        if not str(line.get_label()).startswith("_")
    }


@pytest.mark.slow
def test_replays_are_what_the_engine_does() -> None:
    """Labels, calls and steps of every item, with tiers and a prior stage, in full and cut short at a depth."""
    first, second = three_labels().stages
    asks_by_tier = replace(first, questions={"x": question("x", 0.4), "y": question("y", 0.6)}, combine=Combine.MAX)
    shares = {"a": {"drop": 0.5, "read": 0.2, "change": 0.3}, "b": {"read": 0.7, "change": 0.3}}
    prior = Stage(name="known", no_below=0.2, yes_from=0.8, yes=first.yes, no=first.no, source=Source.CALLER)
    cascade = replace(
        three_labels(), stages=(asks_by_tier, second), prior_stage=prior, profile=Profile(label_shares=shares)
    )
    rng, tiers = np.random.default_rng(4), (("x",), ("y",), ("x", "y"))
    tasks = [
        Labelled(
            task=Task(text=f"task {at}"),
            items=tuple(
                Item(id=str(n), kind="k", name=f"n{n}", tiers=tiers[n % 3], prior=(None, 0.1, 0.5, 0.9)[n % 4])
                for n in range(12)
            ),
            labels=tuple(rng.choice(cascade.labels, 12).tolist()),
        )
        for at in range(5)
    ]
    backend = ScriptedBackend(lambda adapter, prompt: sum(map(ord, adapter + prompt)) * 7919 % 101 / 101, frozenset())
    with Engine(backend, {cascade.name: cascade}) as engine:
        subject = Subject.of(cascade, score_tasks(engine, cascade, tasks), tasks)
        for depth in (None, 1, 2):
            found = subject.run.at_own_thresholds(depth)
            row = 0
            for each in tasks:
                report = engine.classify(each.task, each.items, cascade.name, budget=Budget(depth=depth))
                rows = slice(row, row + len(each.items))
                labels = [cascade.labels[place] for place in found.labels[rows]]
                assert labels == [decision.label for decision in report.decisions], depth
                assert found.costs[rows].sum() == report.stats.calls
                row = rows.stop
        by_item = {
            (each.task.text, decision.id): decision
            for each in tasks
            for decision in engine.classify(each.task, each.items, cascade.name).decisions
        }
    examples = worst_examples(subject)
    assert examples
    for example in examples:
        decision = by_item[example.task, example.item]
        assert decision.label == example.given != example.truth
        assert tuple(each.step for each in example.steps) == decision.steps


@pytest.mark.slow
def test_examples_are_the_surest_first() -> None:
    """Of each confusion of labels up to three tasks, none twice, and no item's answer is surer than the first's."""
    subject = Subject.of(*three_label_run())
    found = worst_examples(subject)
    p, truths, given_labels = subject.scored.p["a", ANY_TIER], subject.scored.labels, subject.replayed.labels
    pairs = Counter((example.truth, example.given) for example in found)
    wrong = truths != given_labels
    places = zip(truths[wrong].tolist(), given_labels[wrong].tolist(), strict=True)
    assert set(pairs) == {(subject.cascade.labels[truth], subject.cascade.labels[other]) for truth, other in places}
    assert max(pairs.values()) == 3
    assert len({(example.truth, example.given, example.task) for example in found}) == len(found)
    for truth, name in ((1, "read"), (2, "change")):
        part = [example.steps[0] for example in found if (example.truth, example.given) == (name, "drop")]
        assert all(each.is_wrong and not each.step.answer for each in part)
        assert part[0].step.p_yes == p[(truths == truth) & (given_labels == 0)].min()
        assert [each.step.p_yes for each in part] == sorted(each.step.p_yes for each in part)


@pytest.mark.parametrize(
    ("combine", "first", "second"),
    [
        (Combine.MEAN, (0.6, 0.6), (0.0001, 0.95)),  # means of 0.6 and 0.475, though 0.0001 is far from any threshold
        (Combine.MAX, (0.2, 0.9), (0.3, 0.5)),  # 0.9 and 0.5 are the highest, though 0.3 is as far from its threshold
        (Combine.ANY, (0.2, 0.9), (0.35, 0.5)),
    ],
)
def test_how_sure_a_tiered_stage_is_follows_its_rule(
    combine: Combine, first: tuple[float, float], second: tuple[float, float]
) -> None:
    """The item comes first whose joined p is farther beyond the threshold that it is compared with."""
    questions = {tier: question(tier, 0.4) for tier in ("x", "y")}
    keep, drop = Target("keep", is_label=True), Target("drop", is_label=True)
    stage = Stage(name="s", questions=questions, yes=keep, no=drop, combine=combine)
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    p = np.array([second, first])
    scored = ScoredTasks(
        tasks=np.arange(2), labels=np.zeros(2, np.int64), p={("s", "x"): p[:, 0], ("s", "y"): p[:, 1]}, n_tasks=2
    )
    tasks = [
        Labelled(task=Task(text=text), items=(Item(id=text, kind="k", name="n", tiers=("x", "y")),), labels=("drop",))
        for text in ("second", "first")
    ]
    assert [example.task for example in worst_examples(Subject.of(cascade, scored, tasks))] == ["first", "second"]


def test_examples_without_a_known_wrong_answer() -> None:
    """Where either of two answers may have been wrong, the item comes first whose least sure answer is surest."""
    cascade, scored = two_stages(), simulated(3, 40)
    subject = Subject.of(cascade, scored, labelled(40, cascade, scored.labels))
    first = next(example for example in worst_examples(subject) if example.given == "keep")
    assert [each.is_wrong for each in first.steps] == [False, False]
    rows = (scored.labels == 0) & (subject.replayed.labels == 1)
    weakest = np.minimum(scored.p["a", ANY_TIER], scored.p["b", ANY_TIER])[rows]
    assert min(each.step.p_yes for each in first.steps) == weakest.max()


@pytest.mark.slow
def test_reliability_is_that_of_the_rows() -> None:
    """Bins hold every row once, their gaps add up to the error that is named, and calibrating helps."""
    cascade, scored, tasks = three_label_run(200)
    for found, stage in zip(Subject.of(cascade, scored, tasks).calibrations, ("a", "b"), strict=True):
        truths, p = scored.truths(cascade, stage), scored.p[stage, ANY_TIER]
        said, true, counts = (np.array(column) for column in zip(*found.raw_bins, strict=True))
        assert counts.sum() == (truths >= 0).sum()
        assert (counts * np.abs(said - true)).sum() / counts.sum() == pytest.approx(found.raw.ece)
        assert found.raw.ece == calibration_error(p[truths >= 0], truths[truths >= 0])
        assert found.calibrated.ece < found.raw.ece
        chart = reliability(1, found)
        assert np.allclose(lines(chart)["raw"], np.stack([said, true], axis=1))
        assert f"raw {found.raw.ece:.3f}, calibrated {found.calibrated.ece:.3f}" in chart.caption


def test_few_rows_are_said_to_be_few() -> None:
    """One row makes one bin of one row; five make five."""
    cascade, scored, tasks = three_label_run(1)
    subject = Subject.of(cascade, scored, tasks)
    rows = subject.questions[0]
    for n, said in ((1, "1 bin of about 1 of 1 row."), (5, "5 bins of about 1 of 5 rows.")):
        few = replace(rows, rows=rows.rows[:n], tasks=rows.tasks[:n], p=rows.p[:n], truths=rows.truths[:n])
        assert reliability(1, Calibration.of(few, few.p)).caption.startswith(said)


@pytest.mark.slow
def test_fronts_have_no_point_that_another_beats() -> None:
    """More recall always costs more, both ends are there, and the point in use is what a replay says."""
    cascade, scored, tasks = three_label_run()
    own = Replay(cascade, scored).outcome({("a", ANY_TIER): 0.5, ("b", ANY_TIER): 0.5})
    calls, alarms = pareto_fronts(Subject.of(cascade, scored, tasks), 0.9)
    for chart, cost in ((calls, own.calls), (alarms, own.false_positives)):
        found = lines(chart)
        assert np.all(np.diff(found["cheapest thresholds"], axis=0) > 0)
        assert found["cheapest thresholds"][-1, 1] == 1
        assert found["in use"][0] == pytest.approx((cost, own.recall_per_task))
        assert set(found["guaranteed"][:, 1]) == {0.9}
        in_use = (own.recall_per_task, own.calls, own.false_positives)
        assert chart.table.rows[0][1:] == tuple(f"{value:.3f}" for value in in_use)


def test_one_stage_has_a_front_of_false_alarms_alone() -> None:
    """Where every item is asked once whatever the threshold, calls are no cost; where nothing matters there is none."""
    no, yes = Target("drop", is_label=True), Target("keep", is_label=True)
    stage = Stage(name="a", questions={ANY_TIER: question("a")}, yes=yes, no=no)
    cascade = Cascade(name="one", instructions="i", labels=("drop", "keep"), stages=(stage,))
    scored = simulated(1, 20)
    tasks = labelled(20, cascade, scored.labels)
    subject = Subject.of(cascade, replace(scored, p={("a", ANY_TIER): scored.p["a", ANY_TIER]}), tasks)
    assert [chart.name for chart in pareto_fronts(subject)] == ["front-false-alarms"]
    nothing = replace(subject.scored, labels=np.zeros_like(scored.labels))
    assert not pareto_fronts(Subject.of(cascade, nothing, labelled(20, cascade, nothing.labels)))


def test_the_anytime_curve_ends_at_the_full_run() -> None:
    """It starts at nothing, never falls, ends where any order ends, and a prior that knows lies above."""
    subject = Subject.of(*three_label_run())
    full = subject.recall(subject.predicted_positive)
    dots, likeliest, any_order = lines(anytime(subject)).values()
    assert not likeliest[0].any()
    assert np.all(np.diff(likeliest, axis=0) >= 0)
    assert likeliest[-1, 1] == pytest.approx(full)
    assert any_order[-1, 1] == pytest.approx(full)
    middle = len(likeliest) // 2
    assert likeliest[middle, 1] > any_order[middle, 1] + 0.1
    assert len(dots) == 2
    assert dots[-1, 0] == 1


@pytest.mark.slow
def test_what_a_prior_stage_settles_is_there_from_the_start() -> None:
    """Both lines start at the recall of items that take no call, and end alike."""
    cascade, scored, tasks = three_label_run()
    tasks = [
        replace(
            each,
            items=tuple(
                replace(item, prior=0.9 if label != "drop" and at % 2 else None)
                for at, (item, label) in enumerate(zip(each.items, each.labels, strict=True))
            ),
        )
        for each in tasks
    ]
    yes, no = Target("read", is_label=True), Target("drop", is_label=True)
    stage = Stage(name="known", no_below=0.1, yes_from=0.8, yes=yes, no=no, source=Source.CALLER)
    cascade = replace(cascade, prior_stage=stage)
    subject = Subject.of(cascade, scored, tasks)
    _, likeliest, any_order = lines(anytime(subject)).values()
    start = subject.recall((subject.calls == 0) & subject.predicted_positive)
    assert start is not None
    assert 0.3 < start < 0.7
    assert (likeliest[0, 1], any_order[0, 1]) == (pytest.approx(start), pytest.approx(start))
    assert likeliest[-1, 1] == pytest.approx(any_order[-1, 1])
    front = lines(pareto_fronts(subject)[0])
    assert front["in use"][0, 0] == pytest.approx(subject.calls.mean())
    assert front["cheapest thresholds"][0, 0] < 1  # every item that is not settled is asked at least once


def test_the_confusion_counts_every_item() -> None:
    """Cells against counting by hand; rows are truths, the first at the top."""
    subject = Subject.of(*three_label_run())
    axes = drawn(confusion(subject))
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    counts = Counter(zip(subject.scored.labels.tolist(), subject.replayed.labels.tolist(), strict=True))
    n_true = Counter(subject.scored.labels.tolist())
    for truth in range(3):
        for other in range(3):
            n = counts[truth, other]
            assert cells[other, truth] == f"{n / n_true[truth]:.0%}\n{n:,}"
    bottom, top = axes.get_ylim()
    assert bottom > top


def test_slices_have_intervals_around_their_rates() -> None:
    """One row for all and one for each slice, each with a whisker through its dot."""
    charts = error_slices(Subject.of(*three_label_run(words=("one", "two"))))
    assert [chart.title for chart in charts] == ["a: where it errs", "b: where it errs"]
    for chart in charts:
        axes = drawn(chart)
        assert [text.get_text() for text in axes.get_yticklabels()] == ["all", "class", "method", "one", "one", "two"]
        (bars,) = axes.containers
        assert isinstance(bars, ErrorbarContainer)
        dots, _, (whiskers,) = bars.lines
        points, ends = np.asarray(dots.get_xydata()), np.asarray(whiskers.get_segments())
        for (x, y), ((low, first), (high, second)) in zip(points, ends, strict=True):
            assert low < x < high
            assert y == first == second


def test_long_names_are_cut() -> None:
    """To the room of 22 Latin characters or 11 of East Asia; what cannot be printed is left out."""
    axes = Figure().subplots()
    name_ticks(axes.yaxis, ["short", "x" * 23, "漢" * 12, "a\x07\u202eb"])
    shown = [text.get_text() for text in axes.get_yticklabels()]
    assert shown == ["short", "x" * 21 + "…", "漢" * 10 + "…", "ab"]


def test_pictures_of_any_cascade_stay_in_their_folder() -> None:
    """A name with slashes or leading dots makes no other folder and no hidden file."""
    for name in picture_names("../a/b c"):
        assert "/" not in name
        assert not name.startswith(".")
