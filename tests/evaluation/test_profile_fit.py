"""What full runs teach: a prior that generalises, and labels of items whose time is up."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from cascade import Engine, Item, ScriptedBackend, Status
from cascade.budget import Budget
from cascade.engine.online_profile import OnlineProfile
from cascade.evaluation.features import KEPT_SHARE, LEAST_SEEN, FeatureTable
from cascade.evaluation.prior_fit import Examples, fit_prior, prior_auc
from cascade.profile import Profile
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

PRECISION = CASCADES["precision"]
N_TASKS, N_ITEMS = 40, 50


TASKS = [at // N_ITEMS for at in range(N_TASKS * N_ITEMS)]


def _items(odds: dict[str, float], seed: int = 0) -> tuple[list[Item], list[bool]]:
    """Items with each fact at even chances, kept by a logistic model with these weights and no bias."""
    rng = random.Random(seed)
    items, kept = [], []
    for at in range(N_TASKS * N_ITEMS):
        features = tuple(fact for fact in odds if rng.random() < 0.5)
        items.append(Item(id=str(at), kind="function", name="f", evidence=features))
        total = sum(odds[fact] for fact in features)
        kept.append(rng.random() < 1 / (1 + math.exp(-total)))
    return items, kept


def _examples(odds: dict[str, float]) -> Examples:
    items, kept = _items(odds)
    return Examples(features=FeatureTable.of(items, TASKS), kept=kept, tasks=TASKS)


def test_a_prior_finds_what_tells_items_apart() -> None:
    """Weights come out near those that made the examples; the ridge draws them a little towards 0."""
    odds = {"match": 2.0, "far": -2.0, "noise": 0.0}
    prior = fit_prior(_examples(odds))
    assert prior is not None
    assert {fact: prior.weights[fact] for fact in odds} == pytest.approx(odds, abs=0.3)
    features = FeatureTable.of(items := _items(odds)[0], TASKS)
    known = [prior.p_matters(item) if prior.knows(item) else math.nan for item in items]
    assert features.p_matters(prior) == pytest.approx(known, nan_ok=True)
    assert features.is_known.tolist() == [prior.knows(item) for item in items]
    with_match, without = (
        Item(id="1", kind="function", name="f", evidence=features) for features in (("match",), ("far",))
    )
    assert prior.p_matters(with_match) > 0.8
    assert prior.p_matters(without) < 0.2


def test_rare_facts_get_no_weight() -> None:
    """Neither one that few items have, nor one that many items of few tasks have."""
    items, kept = _items({"match": 1.0})
    items = [
        replace(item, evidence=(*item.evidence, *["few"] * (at < LEAST_SEEN - 1), *["local"] * (task < 3)))
        for at, (item, task) in enumerate(zip(items, TASKS, strict=True))
    ]
    prior = fit_prior(Examples(features=FeatureTable.of(items, TASKS), kept=kept, tasks=TASKS))
    assert prior is not None
    assert set(prior.weights) == {"match", "kind:function"}


def test_a_part_of_the_tasks_chooses_its_own_facts() -> None:
    """As if the rest had never been counted: what is common in the part alone has a column, what is rare there none."""
    items, kept = _items({"match": 1.0})
    items = [
        replace(item, evidence=(*item.evidence, *["early"] * (task < 3), *["late"] * (task >= 25)))
        for item, task in zip(items, TASKS, strict=True)
    ]
    table, tasks = FeatureTable.of(items, TASKS, KEPT_SHARE), np.array(TASKS)
    assert set(table.common(tasks).names) == {"match", "late", "kind:function"}
    part = tasks < 20
    chosen = table.take(part).common(tasks[part])
    alone = FeatureTable.of([item for item, is_in in zip(items, part, strict=True) if is_in], tasks[part].tolist())
    assert chosen.names == alone.names == ("early", "kind:function", "match")
    np.testing.assert_array_equal(chosen.counts, alone.counts)
    prior = fit_prior(Examples(features=chosen, kept=np.array(kept)[part], tasks=tasks[part]))
    assert prior is not None
    known = [prior.p_matters(item) if prior.knows(item) else math.nan for item in items]
    assert table.p_matters(prior) == pytest.approx(known, nan_ok=True)
    assert np.isnan(table.p_matters(prior)).sum() > (~table.is_known).sum()


def test_one_kind_of_example_teaches_nothing() -> None:
    """Where all are kept there is no prior, and no ranking to measure."""
    one = replace(_examples({"match": 1.0}), kept=[True] * N_TASKS * N_ITEMS)
    assert fit_prior(one) is None
    assert math.isnan(prior_auc(one))


def test_the_ranking_is_measured_on_other_tasks() -> None:
    """Facts that tell items apart rank well, facts that say nothing do not, and one task cannot be measured."""
    assert prior_auc(_examples({"match": 4.0, "far": -4.0})) > 0.85
    assert prior_auc(_examples({"noise": 0.0})) == pytest.approx(0.5, abs=0.05)
    alone = _examples({"match": 4.0})
    assert math.isnan(prior_auc(replace(alone, tasks=[0] * len(TASKS))))


def test_an_item_that_was_passed_on_keeps_a_label_that_is_still_open() -> None:
    """Most that pass a low threshold do not matter, yet an item that passed it does not count as excluded."""
    label_shares = {"primary": {"excluded": 0.5, "primary": 0.1, "supporting": 0.3, "type_context": 0.1}}
    cascade = replace(PRECISION, profile=Profile(label_shares=label_shares))
    assert OnlineProfile(cascade).likeliest(cascade.stage("primary")) == ("supporting", 0.3)
    backend = ScriptedBackend({"relevant": 0.9, "primary": 0.9, "supporting": 0.9}, frozenset(cascade.adapters()))
    with Engine(backend, {"precision": cascade}) as engine:
        report = engine.classify("a task", plain_items(3), budget=Budget(depth=1))
    assert {(entry.label, entry.status, entry.p_label) for entry in report.decisions} == {
        ("supporting", Status.DEPTH_CAP, 0.3)
    }


def test_a_report_sums_what_was_foretold_of_its_batches() -> None:
    """The prediction of a request that was alone is that of all its batches."""
    backend = ScriptedBackend({"relevant": 0.9, "primary": 0.1, "supporting": 0.9}, frozenset(PRECISION.adapters()))
    with Engine(backend, {"precision": PRECISION}) as engine:
        report = engine.classify("a task", plain_items(9))
    assert report.stats.predicted_ms == pytest.approx(sum(batch.predicted_ms for batch in backend.batches))
    assert report.stats.predicted_ms > 0


def test_batches_leave_some_of_the_time() -> None:
    """Where time is short, no batch is planned to take all of it, since one that is late has no answers."""
    script = {"relevant": 0.1, "primary": 0.1, "supporting": 0.1}
    backend = ScriptedBackend(script, frozenset(PRECISION.adapters()), slowdown=1.0)
    with Engine(backend, {"precision": PRECISION}) as engine:
        engine.classify("a task", plain_items(40))
        n_free = len(backend.batches)
        engine.classify("a task", plain_items(40), budget=2_000)
    assert max(batch.predicted_ms for batch in backend.batches[:n_free]) > 2_000
    assert max(batch.predicted_ms for batch in backend.batches[n_free:]) < 2_000
