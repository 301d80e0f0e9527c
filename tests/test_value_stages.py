"""Choices and scores as stages of a cascade: what they answer, where that leads, and what is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cascade.errors import ConfigError, InputError
from cascade.profile import Profile
from cascade.stages import ANY_TIER, Answer, Kind, Limits, Stage, Target, Value
from cascade.tree import Cascade
from tests.helpers.values import KINDS, label, tickets

TICKETS = tickets()


def test_a_choice_answers_with_its_likeliest_value() -> None:
    """Below the least confidence it is uncertain, from there on it is not."""
    stage = tickets(least=0.4).first
    assert stage.kind is Kind.CHOICE
    assert stage.answer({"none": 0.2, "bug": 0.7, "wish": 0.1}) == "bug"
    assert stage.answer({"none": 0.25, "bug": 0.5, "wish": 0.25}) is None  # (1/2 - 1/3) / (2/3) = 1/4
    p = np.array([[0.2, 0.7, 0.1], [0.25, 0.5, 0.25], [0.7, 0.0, 0.3]])
    answers = stage.answers(p)
    assert answers.of("bug").tolist() == [True, False, False]
    assert answers.of("none").tolist() == [False, False, True]
    assert answers.uncertain.tolist() == answers.of(None).tolist() == [False, True, False]
    assert not stage.answers(p, {ANY_TIER: Limits(0.2, 0.2)}).uncertain.any()


def test_a_score_answers_with_the_part_of_the_scale() -> None:
    """A score of just a cut point lies above it."""
    stage = TICKETS.stage("urgency")
    assert stage.kind is Kind.SCORE
    p = np.array([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.0, 0.6, 0.4], [0.1, 0.1, 0.8]])
    answers = stage.answers(p)
    assert [part for row in range(4) for part in "012" if answers.of(part)[row]] == ["0", "1", "1", "2"]
    assert [float(own[2]) for own in stage.p_of_answers(p).values()] == [0.0, 0.6, 0.4]


def test_what_nobody_asked_is_uncertain() -> None:
    """Rows without probabilities have no answer."""
    assert TICKETS.first.answers(np.full((2, 3), np.nan)).uncertain.all()


def test_a_true_label_decides_the_values_on_its_way() -> None:
    """A label below a score decides the choice above it as well; where two values lead to one label, none is true."""
    truths = {
        name: [(stage.name, answer) for stage, answer in TICKETS.truths(name)] for name in ("dropped", "wish", "now")
    }
    assert truths == {
        "dropped": [("kind", "none")],
        "wish": [("kind", "wish")],
        "now": [("kind", "bug"), ("urgency", "2")],
    }
    both = replace(TICKETS.first, next={name: label("a" if name == "none" else "b") for name in KINDS})
    tree = Cascade(name="c", instructions="", labels=("a", "b"), stages=(both,))
    assert tree.truths("b") == []
    assert [(stage.name, answer) for stage, answer in tree.truths("a")] == [("kind", "none")]


def test_the_probability_of_a_label_is_that_of_its_ways() -> None:
    """Values and parts multiply along the tree, and all labels sum to 1."""
    kinds: dict[Answer, float] = {"none": 0.2, "bug": 0.5, "wish": 0.3}
    parts: dict[Answer, float] = {"0": 0.1, "1": 0.3, "2": 0.6}
    found = TICKETS.p_labels({"kind": kinds, "urgency": parts})
    assert found == pytest.approx({"dropped": 0.2, "wish": 0.3, "later": 0.05, "soon": 0.15, "now": 0.3})
    assert [name for _, _, name in TICKETS.ends()] == ["dropped", "later", "soon", "now", "wish"]
    assert TICKETS.n_ways("now")[Target("kind", is_label=False)] == 1


def test_its_json_form_names_values_and_where_they_lead() -> None:
    """Levels and cut points of a score, values and descriptions of a choice, and the least confidence."""
    kind, urgency = tickets(least=0.3).as_dict()["stages"]
    assert (kind["kind"], kind["uncertain"]) == ("choice", {"label": "review"})
    assert kind["next"] == {"none": {"label": "dropped"}, "bug": {"stage": "urgency"}, "wish": {"label": "wish"}}
    assert kind["questions"][0]["values"] == [{"name": name} for name in KINDS]
    assert kind["questions"][0]["least_confidence"] == 0.3
    assert (urgency["kind"], urgency["cuts"]) == ("score", [0.5, 1.5])
    assert [level["name"] for level in urgency["questions"][0]["levels"]] == ["can wait", "this week", "today"]


def _with_question(**changes: Any) -> Stage:
    first = TICKETS.first
    return replace(first, questions={ANY_TIER: replace(first.question(ANY_TIER), **changes)})


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (_with_question(values=(Value("none"),)), r"stages\.kind\.values: 1 were given, and a choice has 2 to 255"),
        (_with_question(values=tuple(Value(str(at)) for at in range(256))), "256 were given"),
        (_with_question(values=(Value("bug"), Value("bug"))), "'bug' stands there twice"),
        (_with_question(threshold=1.0), r"least_confidence: 1\.0 is outside \[0, 1\)"),
        (_with_question(threshold=0.3), r"stages\.kind\.uncertain: there is none"),
        (_with_question(negated="what is it not?"), "a choice has no opposite"),
        (_with_question(is_scale=True), r"stages\.kind\.next: there is no 'none'; n cut points"),
        (replace(TICKETS.first, next={"none": label("dropped")}), r"stages\.kind\.next: 'bug' leads nowhere"),
        (replace(TICKETS.first, next={**TICKETS.first.next, "idea": label("wish")}), "there is no 'idea'"),
        (replace(TICKETS.first, next={**TICKETS.first.next, "wish": label("gone")}), "unknown label 'gone'"),
        (replace(TICKETS.first, cuts=(1.0,)), r"stages\.kind\.cuts: only a score has cut points"),
        (replace(TICKETS.first, yes=label("wish")), "a choice has neither tiers nor yes nor no"),
        (replace(TICKETS.first, questions={"a": TICKETS.first.question(ANY_TIER)}), "neither tiers"),
    ],
)
def test_what_is_no_choice_is_refused(stage: Stage, words: str) -> None:
    """The message names the stage, the key and what is allowed."""
    with pytest.raises(ConfigError, match=words):
        replace(TICKETS, stages=(stage, TICKETS.stages[1]))


@pytest.mark.parametrize("cuts", [(1.5, 0.5), (0.5, 0.5), (0.0, 1.0), (1.0, 2.0), (1.0,), (0.5, 1.0, 1.5)])
def test_cut_points_rise_within_the_scale(cuts: tuple[float, ...]) -> None:
    """And there are as many parts as ways."""
    with pytest.raises(ConfigError, match=r"stages\.urgency\.(cuts|next)"):
        tickets(cuts=cuts)


def test_values_of_another_type_are_refused() -> None:
    """Where a question is made."""
    with pytest.raises(InputError, match=r"values\[0\] of question 'kind' is 'bug'; a Value is needed"):
        _with_question(values=("bug", "docs"))


def test_a_profile_knows_how_often_each_value_is_answered() -> None:
    """Shares of answers go with their names, whatever does not belong to the cascade is refused."""
    rates = {"none": 0.8, "bug": 0.15, "wish": 0.05}
    assert Profile(answer_rates={"kind": rates}).answer_shares("kind", KINDS) == pytest.approx(rates)
    assert Profile().answer_shares("kind", KINDS) == pytest.approx(dict.fromkeys(KINDS, 1 / 3))
    with pytest.raises(ConfigError, match=r"profile\.answer_rates: there is no stage 'size'"):
        replace(TICKETS, profile=Profile(answer_rates={"size": rates}))
