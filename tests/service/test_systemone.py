"""Answers to typed questions, from the steps of what was asked."""

from __future__ import annotations

import pytest

from cascade.report import Step
from cascade.service.systemone import Answer
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
