"""Checks whether p(X) and p(not X) of the same items sum to 1, for questions that have a negated form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cascade.audit.rates import Mean, mean
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.stages import Stage
from cascade.tree import Cascade

N_TASKS, N_ITEMS = 50, 20
"""Most tasks of the sample, and most items of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coherence:
    """Coherence of one question, over the items of a sample.

    Attributes:
        gap: p(X) + p(not X) - 1; above 0 the model says yes too readily to both, below it no.
        size: The gap without its sign; 0 is coherent.
        n: Items.
        n_tasks: Their tasks.
    """

    gap: Mean
    size: Mean
    n: int
    n_tasks: int


def opposite(cascade: Cascade) -> Cascade | None:
    """The cascade with every question in its negated form; None where none has one. Questions without it stay."""
    if not any(question.negated for question in cascade.questions()):
        return None
    return replace(cascade, stages=tuple(_opposite(stage) for stage in cascade.stages))


def _opposite(stage: Stage) -> Stage:
    questions = {
        tier: replace(question, wording=question.negated or question.wording)
        for tier, question in stage.questions.items()
    }
    return replace(stage, questions=questions)


def coherence(
    engine: Engine,
    cascade: Cascade,
    scored: ScoredTasks,
    tasks: Sequence[Labelled],
    seed: int = 0,
    advance: Callable[[], object] = lambda: None,
) -> dict[Key, Coherence]:
    """Put the negated forms to a sample of the items.

    Args:
        engine: One whose cascade of the same name is the ``opposite`` one.
        cascade: The cascade that was scored.
        scored: What its questions say.
        tasks: The tasks that were scored.
        seed: Of the sample.
        advance: Told of each task that is done; there are at most ``N_TASKS``.

    Raises:
        BackendError: Scoring failed.
    """
    rng = np.random.default_rng(seed)
    stages = [stage.name for stage in cascade.stages if any(asked.negated for asked in stage.questions.values())]
    first = np.cumsum([0, *(len(labelled.items) for labelled in tasks)])
    gaps: dict[Key, list[tuple[int, float]]] = {}
    for number in sorted(rng.permutation([at for at, labelled in enumerate(tasks) if labelled.items])[:N_TASKS]):
        labelled = tasks[number]
        places = np.sort(rng.permutation(len(labelled.items))[:N_ITEMS])
        asked = engine.score(labelled.task, [labelled.items[place] for place in places], cascade.name, *stages)
        for place, steps in zip(places, asked, strict=True):
            for step in steps:
                if cascade.stage(step.stage).question(step.tier).negated:
                    p = float(scored.p[step.stage, step.tier][first[number] + place])
                    gaps.setdefault((step.stage, step.tier), []).append((int(number), p + step.p_yes - 1))
        advance()
    return {key: _coherence(found) for key, found in gaps.items()}


def _coherence(gaps: list[tuple[int, float]]) -> Coherence:
    tasks = np.array([task for task, _ in gaps], np.int64)
    values = np.array([gap for _, gap in gaps])
    return Coherence(
        gap=mean(values, tasks), size=mean(np.abs(values), tasks), n=values.size, n_tasks=np.unique(tasks).size
    )
