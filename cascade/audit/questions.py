"""The rows of one question: its scores and the true answers. Pure numpy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.probability import Array, Bools, Ints, finite_logit, logit
from cascade.stages import Answers, Question, Stage
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRows:
    """Scores of one question for all items whose true answer to it is known, including those it would not reach.

    Attributes:
        stage: Name of its stage.
        tier: Its tier; ``ANY_TIER`` where the stage does not ask by tier.
        question: The question, with its adapter and its threshold.
        rows: Where its rows are among all; (n,), and so are the rest.
        tasks: Number of the task.
        p: Raw p(yes).
        truths: Whether yes is true.
    """

    stage: str
    tier: str
    question: Question
    rows: Ints
    tasks: Ints
    p: Array
    truths: Bools

    @property
    def key(self) -> Key:
        """Stage and tier."""
        return self.stage, self.tier

    @property
    def answers(self) -> Answers:
        """Its answers at its thresholds."""
        no_below, yes_from = self.question.limits
        return Answers(self.p >= yes_from, self.p < no_below)

    @property
    def wrong(self) -> Bools:
        """Whether each answer is wrong, which an uncertain one is not; (n,)."""
        return np.asarray((self.answers.yes & ~self.truths) | (self.answers.no & self.truths))


def question_name(key: Key) -> str:
    """The stage, and the tier where it asks by tier."""
    return " ".join(key).strip()


def question_rows(cascade: Cascade, scored: ScoredTasks) -> list[QuestionRows]:
    """Every yes/no question's rows, in order of stages and tiers."""
    asked = (stage for stage in cascade.stages if not stage.has_values)
    return [_rows(cascade, scored, stage, tier) for stage in asked for tier in stage.questions]


def _rows(cascade: Cascade, scored: ScoredTasks, stage: Stage, tier: str) -> QuestionRows:
    truths, p = scored.truths(cascade, stage.name), scored.p[stage.name, tier]
    rows = np.flatnonzero((truths >= 0) & ~np.isnan(p))
    return QuestionRows(
        stage=stage.name,
        tier=tier,
        question=stage.question(tier),
        rows=rows,
        tasks=scored.tasks[rows],
        p=p[rows],
        truths=truths[rows] == 1,
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Items that stand more than once in the data.

    Attributes:
        n: (task text, seeds, item id) that stand more than once.
        n_differing: Those whose labels differ.
        n_wrong: Labels that must be wrong, whatever is true: all but the commonest of each.
    """

    n: int
    n_differing: int
    n_wrong: int


def duplicates(tasks: Sequence[Labelled]) -> Duplicates:
    """Count them."""
    labels: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for labelled in tasks:
        for item, label in zip(labelled.items, labelled.labels, strict=True):
            labels[labelled.task.text, labelled.task.seeds, item.id].append(label)
    again = [found for found in labels.values() if len(found) > 1]
    wrong = [len(found) - max(found.count(label) for label in set(found)) for found in again]
    return Duplicates(n=len(again), n_differing=sum(n > 0 for n in wrong), n_wrong=sum(wrong))
