"""Replays of a cascade on scores that are there already: labels, costs and what was reached, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.evaluation.replay import Replay
from cascade.evaluation.scored import ScoredTasks
from cascade.profile import Profile
from cascade.stages import ANY_TIER, Question, Source, Stage, Target
from cascade.tree import Cascade


def stage(name: str, yes: Target, no: Target) -> Stage:
    """A stage with a threshold of 0.5."""
    asked = Question(marker=name, wording="q", adapter="a", threshold=0.5)
    return Stage(name=name, questions={ANY_TIER: asked}, yes=yes, no=no)


def label(name: str) -> Target:
    """A way to a label."""
    return Target(name, is_label=True)


def to(name: str) -> Target:
    """A way to a stage."""
    return Target(name, is_label=False)


def test_one_walk_gives_labels_costs_and_what_was_reached() -> None:
    """Four rows past a prior stage, in milliseconds, in full and cut short after one stage."""
    cascade = Cascade(
        name="c",
        instructions="i",
        labels=("drop", "some", "much"),
        stages=(stage("first", to("second"), label("drop")), stage("second", label("much"), label("some"))),
        profile=Profile(label_shares={"second": {"some": 0.7, "much": 0.3}}),
        prior_stage=Stage(
            name="prior", no_below=0.2, yes_from=0.8, yes=to("second"), no=label("drop"), source=Source.CALLER
        ),
    )
    scored = ScoredTasks(
        tasks=np.zeros(4, np.int64),
        labels=np.zeros(4, np.int64),
        p={("first", ANY_TIER): np.array([0.9, 0.9, 0.9, 0.1]), ("second", ANY_TIER): np.array([0.9, 0.1, 0.9, 0.9])},
        n_tasks=1,
        priors=np.array([0.1, 0.9, np.nan, 0.5]),
    )
    replay = Replay(cascade, scored)
    full = replay.at_own_thresholds()
    assert full.labels.tolist() == [0, 1, 2, 0]
    assert full.costs.tolist() == [0, 1, 2, 1]
    assert {name: rows.tolist() for name, rows in full.reached.items()} == {
        "prior": [True, True, True, True],
        "first": [False, False, True, True],
        "second": [False, True, True, False],
    }
    assert replay.at_own_thresholds(depth=1).labels.tolist() == [0, 1, 1, 0]
    assert replay.at_own_thresholds(depth=1).costs.tolist() == [0, 1, 1, 1]
    ms = {"first": np.full(4, 2.0), "second": np.full(4, 3.0)}
    timed = replay.walk(full.answers, ms, 10.0)
    assert timed.costs.tolist() == [0, 13, 15, 12]


@pytest.mark.parametrize("n_labels", [3, 200])
def test_labels_may_be_many(n_labels: int) -> None:
    """A chain of stages, each with a label of its own: the last label is that of a row which every stage passes on."""
    labels = tuple(f"l{at}" for at in range(n_labels))
    stages = [
        stage(f"s{at}", to(f"s{at + 1}") if at < n_labels - 2 else label(labels[-1]), label(labels[at]))
        for at in range(n_labels - 1)
    ]
    cascade = Cascade(name="c", instructions="i", labels=labels, stages=tuple(stages))
    p = {(each.name, ANY_TIER): np.array([0.9, float(at < n_labels - 2)]) for at, each in enumerate(stages)}
    scored = ScoredTasks(tasks=np.zeros(2, np.int64), labels=np.zeros(2, np.int64), p=p, n_tasks=1)
    found = Replay(cascade, scored).at_own_thresholds()
    assert found.labels.tolist() == [n_labels - 1, n_labels - 2]
    assert found.costs.tolist() == [n_labels - 1, n_labels - 1]
