"""Choices and scores on labelled tasks: figures, scores, replays, tuning and depth, on a scripted backend."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade import Engine, ScriptedBackend, Task
from cascade.config.figures import Metric
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import DepthStudy
from cascade.evaluation.evaluate import Evaluation
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import load_scores, save_scores, score_tasks
from cascade.evaluation.single_call import one_stage, trained_for
from cascade.report import Origin
from cascade.stages import ANY_TIER, Kind, ScoreLimits
from cascade.tree import Cascade
from cascade.tuning.few_tasks import tune_few_tasks
from cascade.tuning.free_thresholds import free_keys, safest
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from tests.helpers.values import LEVELS, item, says, tickets

TRUTHS = ("dropped", "now", "soon", "wish", "dropped")
ROWS = (("80_10_10",), ("10_80_10", "0_10_90"), ("10_80_10", "90_10_0"), ("5_5_90",), ("30_36_34", "100_0_0"))
UNREAL = Origin(model="m", adapters={}, data="d", questions="q")


def _tasks(n: int = 1) -> list[Labelled]:
    items = tuple(item(at, *row) for at, row in enumerate(ROWS))
    return [Labelled(task=Task(text=f"task {at}"), items=items, labels=TRUTHS) for at in range(n)]


def _engine(cascade: Cascade) -> Engine:
    return Engine(ScriptedBackend(says, frozenset({"kinds"})), {"tickets": cascade})


def test_a_choice_has_accuracy_macro_f1_and_a_confusion() -> None:
    """Of rows whose label decides it; those that are uncertain are counted apart."""
    cascade = tickets(least=0.3)
    with _engine(cascade) as engine:
        evaluation = Evaluation(engine, cascade)
        evaluation.add(_tasks()[0])
        found = evaluation.as_dict()
    kind, urgency = found["stages"]["kind"], found["stages"]["urgency"]
    assert (kind["n"], kind["n_uncertain"], kind["accuracy"], kind["macro_f1_over_rows"]) == (5, 1, 1.0, 1.0)
    assert kind["confusion"]["bug"] == {"none": 0, "bug": 2, "wish": 0}
    assert (urgency["n"], urgency["accuracy"]) == (2, 0.5)
    assert [list(row.values()) for row in urgency["confusion"].values()] == [[0, 0, 0], [1, 0, 0], [0, 0, 1]]
    assert json.loads(json.dumps(found)) == found


def test_a_replay_walks_as_the_engine_does(tmp_path: Path) -> None:
    """From scores in a file: a query a question, and the labels that the engine gives."""
    cascade, tasks = tickets(least=0.3), _tasks(3)
    with _engine(cascade) as engine:
        scored = score_tasks(engine, cascade, tasks)
        labels = [
            decision.label
            for labelled in tasks
            for decision in engine.classify(labelled.task, labelled.items, "tickets").decisions
        ]
    save_scores(scored, UNREAL, tmp_path / "scores.npz")
    kept = load_scores(tmp_path / "scores.npz", UNREAL)
    assert kept is not None
    assert kept.fits(cascade)
    replay = Replay(cascade, kept)
    outcomes = replay.at_own_thresholds()
    assert [cascade.labels[place] for place in outcomes.labels] == labels
    assert outcomes.costs.mean() == pytest.approx(7 / 5)
    urgency = ScoreLimits(0.0, (0.5, 1.5))
    assert own_thresholds(cascade) == {("kind", ANY_TIER): 0.3, ("urgency", ANY_TIER): urgency}


def _noisy(n_tasks: int, seed: int = 1) -> ScoredTasks:
    """Choices that are right where they are sure, and anything where they are not; scores as they should be."""
    rng = np.random.default_rng(seed)
    cascade = tickets(least=0.5)
    kinds = rng.integers(0, 3, 20 * n_tasks)
    is_sure = rng.random(kinds.size) < 0.7
    shown = np.where(is_sure, kinds, rng.integers(0, 3, kinds.size))
    high = np.where(is_sure, rng.uniform(0.7, 0.95, kinds.size), rng.uniform(0.35, 0.6, kinds.size))
    p = np.where(np.arange(3) == shown[:, None], high[:, None], (1 - high[:, None]) / 2)
    labels = np.array([cascade.labels.index(name) for name in ("dropped", "now", "wish")])[kinds]
    scores = {("kind", name): p[:, at] for at, name in enumerate(("none", "bug", "wish"))}
    scores |= {("urgency", name): np.full(kinds.size, float(name == LEVELS[-1])) for name in LEVELS}
    return ScoredTasks(tasks=np.repeat(np.arange(n_tasks), 20), labels=labels, p=scores, n_tasks=n_tasks)


def test_tuning_finds_the_least_confidence() -> None:
    """A precision of what is answered is guaranteed by handing on what is not sure, and no more than that."""
    cascade, scored = tickets(least=0.01), _noisy(400)
    own = Replay(cascade, scored).outcome(own_thresholds(cascade))
    assert own.precision_per_task < 0.95
    found = tune(cascade, scored, TuningTarget(level=0.95, metric=Metric.PRECISION))
    least = found.thresholds["kind", ANY_TIER]
    assert isinstance(least, float)
    assert 0.03 < least < 0.56  # the surest of the wrong have (0.6 - 1/3) / (2/3) = 0.4, the least sure right 0.55
    replayed = Replay(cascade, _noisy(400, seed=2))
    assert replayed.outcome(found.thresholds).precision_per_task >= 0.95
    assert found.thresholds["urgency", ANY_TIER] == ScoreLimits(0.0, (0.5, 1.5))


def test_a_recall_does_not_begin_with_everything_handed_on() -> None:
    """What is handed on is lost to a recall, so the safest choice is sure of all; counted in, it is sure of nothing."""
    cascade, scored = tickets(least=0.01), _noisy(200)
    (key,) = free_keys(cascade, Metric.RECALL)
    assert safest(cascade, key, Metric.RECALL) == 0.0
    assert safest(cascade, key, Metric.RECALL_OR_HANDED_ON) > 0.99
    found = tune(cascade, scored, TuningTarget(level=0.8))
    assert found.held_out.recall_per_task >= 0.8
    kept = tune(cascade, scored, TuningTarget(level=0.95, metric=Metric.RECALL_OR_HANDED_ON))
    assert kept.held_out.recall_or_handed_on_per_task >= 0.95
    assert 0 < kept.held_out.handed_on < 1


def test_what_is_never_uncertain_cannot_be_tuned() -> None:
    """The refusal names the choices, and says what makes them tunable."""
    words = "changes its recall: kind is never uncertain. Give a `least_confidence` above 0 and an `uncertain`"
    with pytest.raises(InputError, match=words):
        tune(tickets(), _noisy(20), TuningTarget(level=0.5))


def test_few_tasks_are_for_yes_no_questions() -> None:
    """The refusal names the stage and what to do."""
    with pytest.raises(InputError, match="Stage 'kind' of cascade 'tickets' is a choice"):
        tune_few_tasks(tickets(least=0.3), _noisy(20), None)
    with pytest.raises(InputError, match="Tune its least confidence with a guarantee"):
        tune_few_tasks(tickets(least=0.3), _noisy(20), None)
    with pytest.raises(InputError, match="Tune the others with a guarantee: leave --no-guarantee away"):
        tune_few_tasks(tickets(), _noisy(20), None)
    alone = replace(tickets(), stages=tickets().stages[1:], labels=("later", "soon", "now"), dropped="later")
    with pytest.raises(InputError, match="Tune its cut points with a guarantee: leave --no-guarantee away"):
        tune_few_tasks(alone, _noisy(20), None)
    with pytest.raises(InputError, match="It is never uncertain, so it has no threshold"):
        tune_few_tasks(one_stage(tickets()), _noisy(20), None)


def test_depth_counts_a_choice_as_one_question() -> None:
    """Each depth is run, and the profile knows how often each value is answered."""
    cascade = tickets(least=0.3)
    with _engine(cascade) as engine:
        found = DepthStudy(engine, cascade, _tasks(2)).run()
    assert [level.depth for level in found.levels] == [1, 2]
    assert [level.calls_per_item for level in found.levels] == [1.0, pytest.approx(7 / 5)]
    rates = found.profile.answer_rates["kind"]
    assert rates["bug"] > rates["wish"] > 0
    assert found.profile.uncertain_rates["kind"] == pytest.approx((2 + 0.5) / (10 + 4 * 0.5))
    assert set(found.profile.pass_rates) == set()


def test_one_call_is_a_choice_among_the_labels_that_are_answered() -> None:
    """Under the first stage's adapter, or by a cascade of the config that is one choice among the same labels."""
    cascade = tickets(least=0.3)
    call = one_stage(cascade)
    assert (call.first.kind, call.labels) == (Kind.CHOICE, cascade.answers)
    assert call.first.question(ANY_TIER).adapter == "kinds"
    assert trained_for(cascade, {"tickets": cascade}) is None
    named = replace(call, name="at_once")
    assert trained_for(cascade, {"tickets": cascade, "at_once": named}) is named
