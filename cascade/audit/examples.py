"""The rows that a question is surest of and wrong about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.audit.question_rows import QuestionRows
from cascade.rows import Labelled
from cascade.scoring import finite_logit, logit


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A confident and wrong answer.

    Attributes:
        task: First line of the task's text.
        repository: Where the task comes from; empty where nobody says.
        item: Id of the item.
        kind: What the item is.
        name: Its name.
        p_yes: Raw p(yes), in [0, 1].
        truth: Whether yes is true.
        label: The true label.
    """

    task: str
    repository: str
    item: str
    kind: str
    name: str
    p_yes: float
    truth: bool
    label: str


def worst(rows: QuestionRows, tasks: Sequence[Labelled], n: int) -> tuple[Example, ...]:
    """Up to ``n`` wrong rows, those first whose p lies farthest beyond the threshold in log odds."""
    far = np.abs(finite_logit(rows.p) - logit(rows.question.threshold))
    order = np.argsort(np.where(rows.wrong, -far, np.inf), kind="stable")[: min(n, int(rows.wrong.sum()))]
    first = np.cumsum([0, *(len(labelled.items) for labelled in tasks)])
    found = []
    for at in order:
        labelled = tasks[rows.tasks[at]]
        place = int(rows.rows[at] - first[rows.tasks[at]])
        item = labelled.items[place]
        found.append(
            Example(
                task=labelled.headline,
                repository=labelled.repository,
                item=item.id,
                kind=item.kind,
                name=item.name,
                p_yes=float(rows.p[at]),
                truth=bool(rows.truths[at]),
                label=labelled.labels[place],
            )
        )
    return tuple(found)
