"""What a page is about: a cascade, labelled tasks, their scores, and what the cascade makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from cascade.audit.questions import QuestionRows, question_rows
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import counted
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import Bools, Replay, Replayed, replay
from cascade.evaluation.scored import ScoredTasks
from cascade.items import Item
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Labelled tasks as a cascade leaves them.

    Attributes:
        cascade: The cascade.
        scored: Its scores; a row is an item.
        tasks: The tasks, each with at least one item.
        items: Their items, one a row.
        questions: What each question says of which rows.
        run: The cascade on these scores, at any thresholds.
        replayed: What the rows are given and asked at its own.
        matters: Whether each row does.
    """

    cascade: Cascade
    scored: ScoredTasks
    tasks: tuple[Labelled, ...]
    items: tuple[Item, ...]
    questions: tuple[QuestionRows, ...]
    run: Replay
    replayed: Replayed
    matters: Bools

    @classmethod
    def of(cls, cascade: Cascade, scored: ScoredTasks, tasks: Sequence[Labelled]) -> Self:
        """From scores and the tasks that were scored, in their order.

        Raises:
            InputError: No task has an item, or the scores are not of these tasks.
        """
        if len(tasks) != scored.n_tasks or sum(len(labelled.items) for labelled in tasks) != scored.tasks.size:
            msg = (
                f"Scored: {counted(scored.n_tasks, 'task')} with {counted(scored.tasks.size, 'item')}; given: "
                f"{counted(len(tasks), 'task')}, and not the same. Give the tasks that were scored, in their order."
            )
            raise InputError(msg)
        if not scored.tasks.size:
            msg = "No task has an item, so there is nothing to show. Give labelled tasks with items."
            raise InputError(msg)
        scored = scored.take(np.unique(scored.tasks))
        filled = tuple(labelled for labelled in tasks if labelled.items)
        items = tuple(item for labelled in filled for item in labelled.items)
        run = Replay(cascade, scored, priors_of(cascade, items))
        return cls(
            cascade=cascade,
            scored=scored,
            tasks=filled,
            items=items,
            questions=tuple(question_rows(cascade, scored)),
            run=run,
            replayed=replay(run),
            matters=run.matters,
        )

    @property
    def kept(self) -> Bools:
        """Whether each row is kept."""
        return np.asarray(self.replayed.labels != self.cascade.labels.index(self.cascade.dropped))

    def recall(self, found: Bools) -> float | None:
        """Mean over tasks of the share of what matters that was found; None where nothing matters."""
        if not self.matters.any():
            return None
        _, numbers = np.unique(self.scored.tasks[self.matters], return_inverse=True)
        return float((np.bincount(numbers, found[self.matters]) / np.bincount(numbers)).mean())
