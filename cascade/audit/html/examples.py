"""The items that a cascade was surest of and wrong about, with every step of their way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cascade.audit.html.subject import Subject
from cascade.engine.item_state import ItemState
from cascade.engine.online_profile import OnlineProfile
from cascade.probability import Array, finite_logit, logit
from cascade.report import Step
from cascade.stages import Answer, Stage, joined_p

_EACH = 3  # of one confusion of labels


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleStep:
    """A step of an item's way.

    Attributes:
        stage: The stage.
        step: What was asked, and said.
        truth: The stage's true answer; None where the true label does not decide it.
    """

    stage: Stage
    step: Step
    truth: Answer

    @property
    def cells(self) -> tuple[str, ...]:
        """What was said, in numbers: p(yes), confidence or score; no below; yes from, or the least confidence."""
        step = self.step
        if not step.probabilities:
            return f"{step.p_yes:.3f}", *(f"{limit:.3g}" for limit in step.limits)
        score = "" if step.score is None else f"score {step.score:.2f}, "
        return f"{score}confidence {step.confidence or 0.0:.3f}", "-", f"{step.threshold:.3g}"

    @property
    def answer(self) -> str:
        """The answer in words."""
        return self.stage.in_words(self.step.answer)

    @property
    def true_answer(self) -> str:
        """The true answer in words; a dash where the true label does not decide it."""
        return "-" if self.truth is None else self.stage.in_words(self.truth)

    @property
    def is_wrong(self) -> bool:
        """Whether this is a wrong answer."""
        return self.truth is not None and self.step.answer is not None and self.truth != self.step.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An item with a wrong label.

    Attributes:
        task: First line of the task's text.
        repository: Where the task comes from; empty where nobody says.
        item: Id of the item.
        kind: What it is.
        truth: Its true label.
        given: The label that it was given.
        steps: Its way.
    """

    task: str
    repository: str
    item: str
    kind: str
    truth: str
    given: str
    steps: tuple[ExampleStep, ...]


def worst_examples(subject: Subject) -> list[Example]:
    """Up to three of every confusion of labels, of different tasks; the commonest confusion first, then the surest.

    An item that is handed on as uncertain was not answered, so it is none.
    """
    sure = _sureness(subject)
    truths, given = subject.scored.labels, subject.replayed.labels
    n_labels = len(subject.cascade.labels)
    wrong = (truths != given) & ~subject.run.is_handed_on[given]
    pairs, counts = np.unique((truths * n_labels + given)[wrong], return_counts=True)
    found = []
    for pair in pairs[np.argsort(-counts, kind="stable")]:
        rows = np.flatnonzero(truths * n_labels + given == pair)
        ordered = rows[np.argsort(-sure[rows], kind="stable")]
        _, firsts = np.unique(subject.scored.tasks[ordered], return_index=True)
        found += [_example(subject, int(row)) for row in ordered[np.sort(firsts)[:_EACH]]]
    return found


def _sureness(subject: Subject) -> Array:
    """How far beyond the threshold, in log odds, each row's surest wrong answer lies.

    Where its true label leaves open which answer was wrong, the least sure of all its answers counts.
    """
    n = subject.scored.tasks.size
    wrong, weakest = np.full(n, -np.inf), np.full(n, np.inf)
    for stage in subject.cascade.stages:
        truths = subject.scored.truths(subject.cascade, stage.name)
        reached, answers = subject.replayed.reached[stage.name], subject.replayed.answers[stage.name]
        far = np.abs(_beyond(subject, stage))
        true = np.zeros(n, np.bool_)
        for place, answer in enumerate(stage.sure_ways if stage.has_values else (False, True)):
            true |= answers.of(answer) & (truths == place)
        errs = reached & (truths >= 0) & ~answers.uncertain & ~true
        wrong[errs] = np.maximum(wrong[errs], far[errs])
        weakest[reached] = np.minimum(weakest[reached], far[reached])
    return np.where(np.isneginf(wrong), weakest, wrong)


def _beyond(subject: Subject, stage: Stage) -> Array:
    """Log odds of p(yes) over those of the threshold that it is compared with; 0 where nothing was asked.

    Of a choice or score they are those of the likeliest value.
    """
    if stage.has_values:
        return finite_logit(subject.run.p[stage.name].max(axis=1))
    yes_from = np.array([limits.yes_from for limits in stage.limits.values()])
    p, thresholds = joined_p(stage.combine, subject.run.p[stage.name], yes_from)
    return np.nan_to_num(finite_logit(p) - logit(thresholds))


def _example(subject: Subject, row: int) -> Example:
    task = subject.tasks[subject.scored.tasks[row]]
    labels, item = subject.cascade.labels, subject.items[row]
    truth = labels[subject.scored.labels[row]]
    true_answers = subject.cascade.true_answers()[truth]
    return Example(
        task=task.headline,
        repository=task.repository,
        item=item.id,
        kind=item.kind,
        truth=truth,
        given=labels[subject.replayed.labels[row]],
        steps=tuple(
            ExampleStep(stage=subject.stage(step.stage), step=step, truth=true_answers.get(step.stage))
            for step in _steps(subject, row)
        ),
    )


def _steps(subject: Subject, row: int) -> Iterator[Step]:
    """The way of a row, as the engine goes it."""
    way = ItemState(item=subject.items[row], expected=OnlineProfile(subject.cascade), stage=subject.cascade.first)
    way.enter()
    while (stage := way.stage) is not None:
        for tier, _ in way.pending():
            p = [float(subject.scored.p[stage.name, column][row]) for column in stage.columns]
            way.take(stage, tier, p if stage.has_values else p[stage.columns.index(tier)])
    return iter(way.steps)
