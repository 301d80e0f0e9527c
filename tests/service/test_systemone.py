"""Answers to typed questions, from the steps of what was asked."""

from __future__ import annotations

import pytest

from cascade.items import Group
from cascade.report import Step
from cascade.service.settings import ServiceSettings
from cascade.service.systemone import Answer
from cascade.service.systemone_schemas import read_state
from cascade.stages import Combine, Question, Stage, Target
from cascade.tree import Cascade


def answers(combine: Combine) -> tuple[Answer, Answer]:
    """A noul and a choice of one stage with thresholds of 0.2 and 0.8."""
    questions = {
        tier: Question(marker=tier, wording="q", adapter="a", threshold=threshold)
        for tier, threshold in (("low", 0.2), ("high", 0.8))
    }
    yes, no = Target("keep", is_label=True), Target("drop", is_label=True)
    stage = Stage(name="s", questions=questions, yes=yes, no=no, combine=combine)
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    return Answer(stage=stage, tiers=("low", "high")), Answer(cascade=cascade, tiers=("low", "high"))


@pytest.mark.parametrize(("combine", "p"), [(Combine.ANY, 0.3), (Combine.MAX, 0.7), (Combine.MEAN, 0.5)])
def test_a_tiered_stage_has_the_p_that_its_rule_goes_by(combine: Combine, p: float) -> None:
    """0.3 passes its threshold of 0.2, and 0.7 misses one of 0.8: the stage says yes by the first under ``any``."""
    steps = [
        Step(stage="s", tier="low", adapter="a", p_yes=0.3, threshold=0.2, answer=True),
        Step(stage="s", tier="high", adapter="a", p_yes=0.7, threshold=0.8, answer=False),
    ]
    noul, choice = answers(combine)
    assert noul.read(steps) == {"type": "noul", "noul": pytest.approx(p)}
    assert choice.read(steps)["probabilities"] == {"drop": pytest.approx(1 - p), "keep": pytest.approx(p)}


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
