"""Which question of an audit errs most."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.guarantee import question
from cascade import Item, Task
from cascade.audit.audit import Audit, AuditOptions, audit
from cascade.audit.weakest import weakest
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scored import ScoredTasks
from cascade.stages import ANY_TIER, Stage, Target
from cascade.tree import Cascade

N_TASKS, N_ITEMS = 40, 12
LABELS = np.arange(N_TASKS * N_ITEMS) % 3


def _cascade() -> Cascade:
    """Stage a drops or hands to stage b, which tells the other two labels apart."""
    drop, keep, other = (Target(name, is_label=True) for name in ("drop", "keep", "other"))
    first = replace(question("a"), adapter="one")
    second = replace(question("b"), adapter="two")
    return Cascade(
        name="three",
        instructions="i",
        labels=("drop", "keep", "other"),
        stages=(
            Stage(name="a", questions={ANY_TIER: first}, yes=Target("b", is_label=False), no=drop),
            Stage(name="b", questions={ANY_TIER: second}, yes=keep, no=other),
        ),
    )


def _audit(wrong_a: float, wrong_b: float) -> Audit:
    """An audit of stages that give a share of wrong answers."""
    rng, n = np.random.default_rng(1), LABELS.size
    p = {}
    for stage, wrong, truth in (("a", wrong_a, LABELS > 0), ("b", wrong_b, LABELS == 1)):
        p[stage, ANY_TIER] = np.where(truth != (rng.random(n) < wrong), 0.9, 0.1)
    tasks = [
        Labelled(
            task=Task(text=f"t{at}"),
            items=tuple(Item(id=str(row), kind="k", name=f"n{row}") for row in rows),
            labels=tuple(_cascade().labels[LABELS[row]] for row in rows),
        )
        for at in range(N_TASKS)
        for rows in [range(at * N_ITEMS, (at + 1) * N_ITEMS)]
    ]
    scored = ScoredTasks(tasks=np.repeat(np.arange(N_TASKS), N_ITEMS), labels=LABELS, p=p, n_tasks=N_TASKS)
    return audit(_cascade(), scored, tasks, AuditOptions(n_worst=0))


@pytest.mark.parametrize(("wrong", "stage"), [((0.3, 0.1), "a"), ((0.1, 0.3), "b")])
def test_the_question_that_errs_most_is_named(wrong: tuple[float, float], stage: str) -> None:
    """Of those whose adapter may be trained."""
    found = _audit(*wrong)
    named = [weakest(found, adapters) for adapters in ({"one", "two"}, {"one"}, {"two"}, set())]
    assert [each and each.stage for each in named] == [stage, "a", "b", None]


def test_a_question_that_is_always_right_is_not_named() -> None:
    """Where no answer is wrong there is nothing to train."""
    assert weakest(_audit(0.0, 0.0), {"one", "two"}) is None
    found = weakest(_audit(0.0, 0.2), {"one", "two"})
    assert found is not None
    assert found.stage == "b"
