"""Answers to typed questions, from the steps of what was asked."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.items import Group, Item, Task
from cascade.report import Report, Statistics, Step
from cascade.service.settings import ServiceSettings
from cascade.service.states import given_state, read_state
from cascade.service.typed import Answered
from cascade.service.work import StageWork, TreeWork, label_probabilities
from cascade.stages import ANY_TIER, Combine, Question, Stage, Target, Value
from cascade.tree import Cascade
from tests.helpers.decisions import PROVENANCE, decided

TASK, ITEM = Task(text="t"), Item(id="1", name="a")


def tiered(combine: Combine) -> Cascade:
    """One stage with thresholds of 0.2 and 0.8."""
    questions = {
        tier: Question(marker=tier, wording="q", adapter="a", threshold=threshold)
        for tier, threshold in (("low", 0.2), ("high", 0.8))
    }
    yes, no = Target("keep", is_label=True), Target("drop", is_label=True)
    stage = Stage(name="s", questions=questions, yes=yes, no=no, combine=combine)
    return Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))


def report_of(*steps: Step, label: str = "keep") -> Report:
    """What the engine says of one item."""
    return Report(
        cascade="c",
        decisions=(decided(*steps, label=label),),
        stats=Statistics(calls=len(steps)),
        provenance=PROVENANCE,
    )


@pytest.mark.parametrize(("combine", "p"), [(Combine.ANY, 0.3), (Combine.MAX, 0.7), (Combine.MEAN, 0.5)])
def test_a_tiered_stage_has_the_p_that_its_rule_goes_by(combine: Combine, p: float) -> None:
    """0.3 passes its threshold of 0.2, and 0.7 misses one of 0.8: the stage says yes by the first under ``any``."""
    steps = [
        Step(stage="s", tier="low", adapter="a", p_yes=0.3, threshold=0.2, answer=True),
        Step(stage="s", tier="high", adapter="a", p_yes=0.7, threshold=0.8, answer=False),
    ]
    cascade = tiered(combine)
    work = StageWork(TASK, ITEM, cascade, {3: (cascade.first, ("low", "high"))})
    ((place, answered),) = work.read(report_of(*steps))
    assert place == 3
    assert answered.p_yes == pytest.approx(p)
    assert label_probabilities(cascade, decided(*steps)) == {"drop": pytest.approx(1 - p), "keep": pytest.approx(p)}


def chain() -> Cascade:
    """Does it matter, and then which of two: the first says yes from 0.1 on and no below 0.05."""
    first = Question(marker="m", wording="does it matter?", adapter="a", threshold=0.1, no_below=0.05)
    values = (Value("red"), Value("blue"))
    second = Question(marker="c", wording="which?", adapter="a", threshold=0.2, values=values)
    review = Target("review", is_label=True)
    stages = (
        Stage(
            name="first",
            questions={ANY_TIER: first},
            yes=Target("second", is_label=False),
            no=Target("none", is_label=True),
            uncertain=review,
        ),
        Stage(
            name="second",
            questions={ANY_TIER: second},
            next={name: Target(name, is_label=True) for name in ("red", "blue")},
            uncertain=review,
        ),
    )
    return Cascade(name="c", instructions="i", labels=("none", "red", "blue", "review"), stages=stages)


def yes_no(p: float) -> Step:
    """The first stage's answer."""
    return Step(stage="first", tier="", adapter="a", p_yes=p, threshold=0.1, no_below=0.05, answer=p >= 0.1 or None)


def choice(red: float) -> Step:
    """The second stage's answer."""
    p, answer = {"red": red, "blue": 1 - red}, None if abs(2 * red - 1) < 0.2 else "red" if red > 0.5 else "blue"
    return Step(
        stage="second",
        tier="",
        adapter="a",
        p_yes=np.nan,
        threshold=0.2,
        answer=answer,
        probabilities=p,
        confidence=0.0,
    )


def chosen(*steps: Step, label: str, options: tuple[str, ...] = ("none", "red", "blue", "review")) -> Answered:
    """The answer to a choice among labels."""
    ((_, answered),) = TreeWork(TASK, ITEM, chain(), {0: options}).read(report_of(*steps, label=label))
    assert sum(answered.shares) == pytest.approx(1)
    return answered


def test_a_label_that_thresholds_lead_to_is_no_less_likely_than_another() -> None:
    """The tree says red though its p(yes) is 0.2: red is held as likely as the likeliest label, and is the answer."""
    found = chosen(yes_no(0.2), choice(0.75), label="red")
    assert found.shares == pytest.approx([0.8 / 1.65, 0.8 / 1.65, 0.05 / 1.65, 0])
    assert (max(found.shares), found.chosen) == (found.shares[1], 1)
    sure = chosen(yes_no(0.9), choice(0.75), label="red")
    assert sure.shares == pytest.approx([0.1, 0.675, 0.225, 0])
    assert sure.more["x_label"] == "red"
    assert sure.more["x_calls"] == 2


def test_what_is_uncertain_widens_the_answer() -> None:
    """Between two thresholds yes and no are as likely; the label of what is handed on is an option like others."""
    found = chosen(yes_no(0.07), label="review")
    assert found.shares == pytest.approx([1 / 3, 1 / 6, 1 / 6, 1 / 3])
    among_answers = chosen(yes_no(0.07), label="review", options=("none", "red", "blue"))
    assert among_answers.shares == pytest.approx([0.5, 0.25, 0.25])
    second = chosen(yes_no(0.9), choice(0.55), label="review", options=("none", "red", "blue"))
    assert second.shares == pytest.approx([0.1, 0.45, 0.45])


def test_options_that_the_tree_left_out_share_what_is_left() -> None:
    """Of some labels only, each has its share of them; of labels that cannot come any more all are alike."""
    assert chosen(yes_no(0.9), choice(0.75), label="red", options=("red", "none")).shares == pytest.approx(
        [0.675 / 0.775, 0.1 / 0.775]
    )
    assert chosen(yes_no(1.0), choice(1.0), label="red", options=("none", "blue")).shares == [0.5, 0.5]


@pytest.mark.parametrize(
    ("candidate", "name", "evidence", "rest"),
    [
        ("method f | #size3 name x #body7 | (a) | Doc.", "f", ("size3", "name x", "body7"), "(a) | Doc."),
        ("method f | g | #size3", "f | g", ("size3",), ""),
        ("method f | # size3 | (a)", "f | # size3 | (a)", (), ""),
        ("method #size3 | (a)", "#size3 | (a)", (), ""),
        ("method f | #nothing", "f | #nothing", (), ""),
    ],
)
def test_marked_words_of_a_candidate_are_evidence(
    candidate: str, name: str, evidence: tuple[str, ...], rest: str
) -> None:
    """A candidate in words is read as prompts write it: evidence is a part of marked words behind the first one."""
    state = {"task": "t", "candidate": candidate, "file": "a.py | #seed best9"}
    _, item = read_state(state, "", ServiceSettings())
    assert (item.kind, item.name, item.evidence, item.signature) == ("method", name, evidence, rest)
    assert item.group == Group(name="a.py", evidence=("seed", "best9"))


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ('{"task": "t", "candidate": "c"}', {"task": "t", "candidate": "c"}),
        (' {"task": "t", "item": {"id": "1", "name": "a"}}', {"task": "t", "item": {"id": "1", "name": "a"}}),
        ('{"task": "t"}', '{"task": "t"}'),
        ('{"task": "t", "candidate": "c"', '{"task": "t", "candidate": "c"'),
        ("{" * 100_000, "{" * 100_000),
        ("[1]", "[1]"),
        ({"a": 1}, {"a": 1}),
    ],
    ids=["in words", "item", "no item", "cut off", "nested too deep", "list", "object"],
)
def test_a_text_of_json_is_a_task_with_an_item_if_it_is_one(given: object, meant: object) -> None:
    """As gateways write one where a format has no structured input; every other text stays a text."""
    assert given_state(given) == meant
