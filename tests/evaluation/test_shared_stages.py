"""Cascades whose ways part and meet again: what walking every way gives is had without walking them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import Engine, Item, ScriptedBackend, Task
from cascade.audit.audit import audit
from cascade.config.figures import Metric
from cascade.evaluation.calibration import pulled_beta
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import DepthStudy
from cascade.evaluation.depth_choice import DepthChoice
from cascade.evaluation.evaluate import Evaluation
from cascade.evaluation.replay import deciding
from cascade.evaluation.score_file import labelled_tasks
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import score_tasks
from cascade.report import Step
from cascade.service.work import label_probabilities
from cascade.stages import ANY_TIER, BASE
from cascade.tree import Cascade
from cascade.tuning.few_tasks import tune_few_tasks
from cascade.tuning.free_thresholds import keeps_on_yes
from cascade.tuning.label_model import LabelModel
from cascade.tuning.target import TuningTarget
from tests.helpers.decisions import decided
from tests.test_tree import diamond, trees, ways_of

pytestmark = pytest.mark.slow

_TINY = 1e-9


def p_ways(tree: Cascade, p_yes: Mapping[str, np.ndarray]) -> np.ndarray:
    """P of each way, (n_rows, n_ways)."""
    steps = [[p_yes[name] if answer else 1 - p_yes[name] for name, answer in way] for _, way in ways_of(tree)]
    return np.stack([np.prod(way, axis=0) for way in steps], axis=1)


def walked_model(tree: Cascade, scored: ScoredTasks, pull: float) -> LabelModel:
    """The model of labels, with every way weighed by itself."""
    ways = ways_of(tree)
    is_label = np.array([[label == name for name, _ in ways] for label in tree.labels])[scored.labels]
    n_ends = np.array([len({way[-1] for name, way in ways if name == label}) for label in tree.labels])
    n_ways = np.array([sum(name == label for name, _ in ways) for label in tree.labels])
    least = (_TINY * n_ends / n_ways)[scored.labels][:, None]
    raw = {at.name: scored.p[at.name, ANY_TIER] for at in tree.stages}
    p_yes, curves = dict(raw), {}
    for _ in range(8 if len(ways) > len(tree.labels) else 1):
        shares = is_label * (p_ways(tree, p_yes) + least)
        shares /= shares.sum(axis=1, keepdims=True)
        for at in tree.stages:
            yes, no = (shares @ [float((at.name, answer) in way) for _, way in ways] for answer in (True, False))
            curves[at.name] = pulled_beta(raw[at.name], yes, no, pull if yes.any() and no.any() else 10_000.0)
            p_yes[at.name] = curves[at.name](raw[at.name])
    return LabelModel(curves=curves, pull=pull)


def any_scores(tree: Cascade, seed: int, n_rows: int = 40) -> ScoredTasks:
    """Scores and labels that have nothing to do with each other."""
    rng = np.random.default_rng(seed)
    return ScoredTasks(
        tasks=np.arange(n_rows) // 4,
        labels=rng.integers(0, len(tree.labels), n_rows),
        p={(at.name, ANY_TIER): rng.random(n_rows) for at in tree.stages},
        n_tasks=n_rows // 4,
    )


@settings(max_examples=25)
@given(tree=trees(), seed=st.integers(0, 100))
def test_the_model_of_labels_weighs_every_way(tree: Cascade, seed: int) -> None:
    """Its curves and its P of labels are those of weighing way by way."""
    scored = any_scores(tree, seed)
    found, walked = LabelModel.pulled(tree, scored, 10.0), walked_model(tree, scored, 10.0)
    p_yes = {at.name: walked.curves[at.name](scored.p[at.name, ANY_TIER]) for at in tree.stages}
    is_label = np.array([[name == label for label in tree.labels] for name, _ in ways_of(tree)], float)
    np.testing.assert_allclose(walked.p_labels(tree, scored), p_ways(tree, p_yes) @ is_label, rtol=1e-12)
    places = np.linspace(0.01, 0.99, 9)
    for at in tree.stages:
        np.testing.assert_allclose(found.curves[at.name](places), walked.curves[at.name](places), rtol=1e-4)


@given(tree=trees(), seed=st.integers(0, 100))
def test_a_choice_sums_every_way(tree: Cascade, seed: int) -> None:
    """P of each label is the sum over its ways, and the probabilities sum to 1."""
    p_yes = dict(zip([at.name for at in tree.stages], np.random.default_rng(seed).random(7).tolist(), strict=False))
    steps = [
        Step(stage=name, tier=ANY_TIER, adapter=BASE, p_yes=p, threshold=0.5, answer=p >= 0.5)
        for name, p in p_yes.items()
    ]
    found = label_probabilities(tree, decided(*steps))
    walked = dict.fromkeys(tree.labels, 0.0)
    for label, way in ways_of(tree):
        walked[label] += prod(p_yes[name] if answer else 1 - p_yes[name] for name, answer in way)
    assert found == pytest.approx(walked)
    assert sum(found.values()) == pytest.approx(1)


@given(tree=trees())
def test_which_stages_keep_and_on_which_side(tree: Cascade) -> None:
    """A stage decides where it leads to both sides; it keeps on yes where no less of the ways of yes are kept."""
    for at in tree.stages:
        kept = [(way[0][1], label != tree.dropped) for label, way in ways_of(tree, at.name)]
        assert (at in deciding(tree)) is (len({is_kept for _, is_kept in kept}) == 2 and at.yes != at.no)
        yes, no = ([is_kept for side, is_kept in kept if side is answer] for answer in (True, False))
        assert keeps_on_yes(tree, at) is (sum(yes) * len(no) >= sum(no) * len(yes))


LONG = diamond(63)
TASKS = tuple(
    Labelled(
        task=Task(text=f"task {n}"),
        items=tuple(Item(id=str(at), kind="function", name=f"f{n}_{at}") for at in range(3)),
        labels=("yes", "no", "yes" if n % 2 else "no"),
    )
    for n in range(8)
)


def script(_adapter: str, prompt: str) -> float:
    """A p(yes) that differs from item to item."""
    return 0.05 + 0.9 * (sum(prompt.encode()) % 97) / 97


@pytest.fixture(name="engine", scope="module")
def _engine() -> Engine:
    return Engine(ScriptedBackend(script, frozenset()), {"c": LONG})


def test_a_long_diamond_is_evaluated(engine: Engine) -> None:
    """Of 63 stages only the last has truths; a stage before it has no row."""
    evaluation = Evaluation(engine, LONG)
    for labelled in TASKS:
        evaluation.add(labelled)
    stages = evaluation.as_dict()["stages"]
    assert [stages[name]["n"] for name in ("s0", "s61", "s62")] == [0, 0, 24]


def test_what_a_long_diamond_does_not_show_is_said(tmp_path: Path) -> None:
    """Labelled tasks are read, and the stages that no label decides are named."""
    items = [{"id": "1", "name": "f", "label": "yes"}, {"id": "2", "name": "g", "label": "no"}]
    data = tmp_path / "data.jsonl"
    data.write_text(json.dumps({"task": "t", "items": items}) + "\n", encoding="utf-8")
    notes = list[str]()
    assert len(labelled_tasks([data], LONG, note=notes.append).tasks) == 1
    assert "no label tells the true answer to 's0'" in notes[0]


def test_a_long_diamond_is_tuned_from_few_tasks(engine: Engine) -> None:
    """Only the last stage has a threshold that anything depends on; P of labels sum to 1."""
    scored = score_tasks(engine, LONG, TASKS)
    for tuning_target in (None, TuningTarget(metric=Metric.RECALL, level=0.5)):
        found = tune_few_tasks(LONG, scored, tuning_target)
        assert (len(found.thresholds), len(found.kept)) == (63, 62)
        assert {found.thresholds[f"s{at}", ANY_TIER] for at in range(62)} == {0.5}
    p = LabelModel.pulled(LONG, scored, 10.0).p_labels(LONG, scored)
    np.testing.assert_allclose(p.sum(axis=1), 1)


def test_a_long_diamond_is_audited(engine: Engine) -> None:
    """Its last question has errors to show."""
    found = audit(LONG, score_tasks(engine, LONG, TASKS), TASKS)
    assert [part.stage for part in found.questions if part.errors.error.n] == ["s62"]


def test_a_long_diamond_is_run_to_each_depth(engine: Engine) -> None:
    """There are 63 depths."""
    tasks = TASKS[:1]
    found = DepthStudy(engine, LONG, tasks).run()
    assert len(found.levels) == 63
    assert found.as_dict(DepthChoice(f1_points_per_100ms=1.0))["items"] == 3


def test_a_long_diamond_is_a_choice() -> None:
    """A System One choice among its labels has the last stage's p(yes)."""
    steps = [
        Step(stage=at.name, tier=ANY_TIER, adapter=BASE, p_yes=0.3, threshold=0.5, answer=False) for at in LONG.stages
    ]
    assert label_probabilities(LONG, decided(*steps)) == pytest.approx({"no": 0.7, "yes": 0.3})
