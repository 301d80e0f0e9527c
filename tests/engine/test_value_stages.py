"""Choices and scores on their way through the engine: answers, steps, statuses, budgets and expectations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cascade import Budget, Engine, Item, ScriptedBackend, Status
from cascade.engine.online_profile import OnlineProfile
from cascade.errors import BackendError
from cascade.stages import ANY_TIER
from cascade.tree import Cascade
from tests.helpers.shipped import SHIPPED
from tests.helpers.values import item, says, tickets

ITEMS = [
    item(0, "80_10_10"),
    item(1, "10_80_10", "0_10_90"),
    item(2, "10_80_10", "20_80_0"),
    item(3, "5_5_90"),
    item(4, "40_30_30"),
]


def _engine(cascade: Cascade) -> Engine:
    return Engine(ScriptedBackend(says, frozenset({"kinds"})), {"tickets": cascade})


def test_an_item_takes_the_way_of_its_value() -> None:
    """To a label, or to a score whose expected level lies in a part; below the least confidence it is handed on."""
    with _engine(tickets(least=0.3)) as engine:
        report = engine.classify("sort", ITEMS, "tickets")
    found = [(decision.label, decision.status) for decision in report.decisions]
    assert found == [
        ("dropped", Status.DECIDED),
        ("now", Status.DECIDED),
        ("soon", Status.DECIDED),
        ("wish", Status.DECIDED),
        ("review", Status.UNCERTAIN),
    ]
    assert report.stats.calls == 5 + 2


def test_steps_tell_probabilities_confidence_and_score() -> None:
    """As the wire formats define them; a choice has no p(yes)."""
    with _engine(tickets(least=0.3)) as engine:
        (decision, unsure) = engine.classify("sort", [ITEMS[1], ITEMS[4]], "tickets").decisions
    kind, urgency = decision.steps
    assert kind.as_dict() == {
        "stage": "kind",
        "adapter": "kinds",
        "choice": "bug",
        "probabilities": pytest.approx({"none": 0.1, "bug": 0.8, "wish": 0.1}),
        "confidence": pytest.approx((0.8 - 1 / 3) / (2 / 3)),
        "least_confidence": 0.3,
        "answer": "bug",
    }
    assert urgency.as_dict() == {
        "stage": "urgency",
        "adapter": "base",
        "score": pytest.approx(1.9),
        "probabilities": pytest.approx({"can wait": 0.0, "this week": 0.1, "today": 0.9}),
        "confidence": pytest.approx(1 - 0.1 / (2 / 3)),
        "answer": "2",
    }
    assert (unsure.steps[0].answer, unsure.steps[0].choice) == (None, "none")


def test_a_depth_cap_gives_a_label_that_the_value_can_still_lead_to() -> None:
    """One question deep, a bug stands before its score; what is handed on is never guessed."""
    with _engine(tickets(least=0.3)) as engine:
        report = engine.classify("sort", ITEMS, "tickets", budget=Budget(depth=1))
    cut = [decision for decision in report.decisions if decision.status is Status.DEPTH_CAP]
    assert [decision.id for decision in cut] == ["1", "2"]
    assert {decision.label for decision in cut} <= {"later", "soon", "now"}


def test_expectations_follow_the_values_that_were_answered() -> None:
    """After many bugs the score is expected of most items."""
    cascade = tickets()
    expected = OnlineProfile(cascade)
    before = {entry.stage.name: entry.probability for entry in expected.reach(cascade.first)}
    assert before["urgency"] == pytest.approx(1 / 3)
    assert sum(share for _, share in expected.shares(cascade.first)) == pytest.approx(1)
    for _ in range(500):
        expected.learn(cascade.first, answer="bug")
    after = {entry.stage.name: entry.probability for entry in expected.reach(cascade.first)}
    assert after["urgency"] > 0.9


def test_stages_are_scored_whatever_the_tree_would_skip() -> None:
    """The score is asked of an item that is no bug as well."""
    with _engine(tickets()) as engine:
        ((kind, urgency),) = engine.score("sort", [item(0, "80_10_10", "0_50_50")], "tickets")
    assert kind.choice == "none"
    assert urgency.score == pytest.approx(1.5)


def test_a_distribution_that_is_none_ends_the_request() -> None:
    """NaN for a value is an error that names stage and item."""
    script = {"kinds": (float("nan"), 0.5, 0.5), "base": (1.0, 0.0, 0.0)}
    backend = ScriptedBackend(script, frozenset({"kinds"}))
    with Engine(backend, {"tickets": tickets()}) as engine, pytest.raises(BackendError, match="stage 'kind'"):
        engine.classify("sort", [Item(id="1", name="x")], "tickets")


@pytest.mark.slow
def test_the_shipped_model_answers_choices_beside_yes_no_stages() -> None:
    """One engine, both kinds of cascades at once: probabilities sum to 1, and the label is the likeliest value's."""
    cascade = tickets()
    own = {"tickets": _with_adapter(cascade, "primary"), "precision": SHIPPED.cascades()["precision"]}
    items = [Item(id=str(at), kind="function", name=f"read_{at}") for at in range(6)]
    with Engine.open(SHIPPED, cascades=own) as engine:
        found = engine.classify("fix the reader", items, "tickets", budget=None).decisions
        engine.classify("fix the reader", items, "precision", budget=None)
        again = engine.classify("fix the reader", items, "tickets", budget=None).decisions
    for decision, other in zip(found, again, strict=True):
        assert sum(decision.steps[0].probabilities.values()) == pytest.approx(1)
        assert decision.steps[0].probabilities == pytest.approx(other.steps[0].probabilities, abs=1e-3)
        ways = {"none": {"dropped"}, "bug": {"later", "soon", "now"}, "wish": {"wish"}}
        assert decision.label in ways[str(decision.steps[0].choice)]


def _with_adapter(cascade: Cascade, adapter: str) -> Cascade:
    first = cascade.first
    question = replace(first.question(ANY_TIER), adapter=adapter)
    return replace(cascade, stages=(replace(first, questions={ANY_TIER: question}), *cascade.stages[1:]))
