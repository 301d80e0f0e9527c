"""An audit of a cascade on labelled tasks: how often each question errs, where, how sure that is, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from cascade.audit.advice import Advice, what_needs_data, what_to_drop, what_to_merge, where_it_errs
from cascade.audit.coherence import Coherence
from cascade.audit.errors import Errors, PriorAudit, SliceErrors, errors_of, prior_audit, slices, slices_of
from cascade.audit.handed_on import HandedOnAudit, handed_on_audit
from cascade.audit.label_noise import LabelNoise, cross_fitted_p, label_noise
from cascade.audit.learning_curve import LearningCurve, learning_curves
from cascade.audit.likeness import Likeness, likenesses
from cascade.audit.questions import Duplicates, Example, duplicates, question_rows, worst
from cascade.audit.stage_value import StageValue, stage_values
from cascade.audit.values import ValueAudit, value_audits
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.prior_fit import priors_of
from cascade.evaluation.replay import Replay
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditOptions:
    """Options of an audit.

    Attributes:
        within: Half-width of an error rate's interval that is narrow enough, in (0, 1/2).
        n_worst: Examples of confident and wrong answers, for each question; at least 0.
        seed: Of sub-samples and resamples.
        coherence: (stage, tier) -> what was found of it; see ``coherence``.

    Raises:
        InputError: A value is not allowed.
    """

    within: float = 0.02
    n_worst: int = 5
    seed: int = 0
    coherence: Mapping[Key, Coherence] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.within < 1 / 2:
            msg = f"An error rate within {self.within}; allowed is a half-width above 0 and below 0.5, such as 0.02."
            raise InputError(msg)
        if self.n_worst < 0:
            msg = f"{self.n_worst} examples; allowed is 0 or more."
            raise InputError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAudit:
    """One question.

    Attributes:
        stage: Name of its stage.
        tier: Its tier; empty where the stage does not ask by tier.
        adapter: What answers it.
        threshold: Where it says yes.
        no_below: Below which p it says no; None for the same as ``threshold``.
        uncertain: Of its rows, the share between the two, which is no error.
        errors: How often that is wrong.
        worst: Where it is surest and wrong.
        noise: How many of its labels may be wrong; None where both answers do not occur.
        curve: What fewer tasks would have told.
        coherence: With its negated form; None where it has none.
    """

    stage: str
    tier: str
    adapter: str
    threshold: float
    no_below: float | None
    uncertain: float
    errors: Errors
    worst: tuple[Example, ...]
    noise: LabelNoise | None
    curve: LearningCurve
    coherence: Coherence | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Result of an audit.

    Attributes:
        cascade: Name of the cascade.
        n_tasks: Tasks with at least one item.
        n_items: Their items.
        within: The wanted half-width of an error rate's interval.
        advice: Recommended actions.
        questions: Every yes/no question, in order of stages and tiers.
        values: Every choice and score.
        slices: Every yes/no question by kind and repository; stages by tier.
        stages: What each gains.
        prior: What the prior stage settles; None without one.
        handed_on: What is handed on as uncertain; None where nothing can be.
        pairs: Questions of different adapters that share rows.
        duplicates: Items that stand more than once in the data.
    """

    cascade: str
    n_tasks: int
    n_items: int
    within: float
    advice: tuple[Advice, ...]
    questions: tuple[QuestionAudit, ...]
    values: tuple[ValueAudit, ...]
    slices: tuple[SliceErrors, ...]
    stages: tuple[StageValue, ...]
    prior: PriorAudit | None
    handed_on: HandedOnAudit | None
    pairs: tuple[Likeness, ...]
    duplicates: Duplicates

    def as_dict(self) -> dict[str, Any]:
        """JSON form; None where a figure cannot be had from these tasks."""
        return asdict(self)


def audit(
    cascade: Cascade,
    scored: ScoredTasks,
    tasks: Sequence[Labelled],
    options: AuditOptions | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Audit:
    """Audit every question of a cascade, at its thresholds.

    Args:
        cascade: The cascade. Its questions are put to every item, also to those that its prior stage settles.
        scored: Scores of all its questions for every item.
        tasks: The tasks that were scored, in their order.
        options: Options; None for the defaults.
        advance: Called after each of ``learning_curve.n_audits`` sub-samples.

    Raises:
        InputError: No task has an item.
    """
    options = options or AuditOptions()
    if not scored.tasks.size:
        msg = "No task has an item, so nothing can be audited. Give labelled tasks with items."
        raise InputError(msg)
    scored = scored.take(np.unique(scored.tasks))
    tasks = [labelled for labelled in tasks if labelled.items]
    questions = question_rows(cascade, scored)
    curves = learning_curves(cascade, scored, options.within, options.seed, advance)
    cross_fitted = cross_fitted_p(cascade, scored, options.seed)
    sliced = slices_of(questions, slices(scored, tasks))
    items = [item for labelled in tasks for item in labelled.items]
    replay = Replay(cascade, scored, priors_of(cascade, items))
    values, pairs = stage_values(replay, options.seed), likenesses(questions)
    advice = (
        *where_it_errs(cascade, sliced),
        *what_needs_data(curves, options.within),
        *what_to_drop(values),
        *what_to_merge(pairs),
    )
    return Audit(
        cascade=cascade.name,
        n_tasks=scored.n_tasks,
        n_items=scored.tasks.size,
        within=options.within,
        advice=advice,
        questions=tuple(
            QuestionAudit(
                stage=rows.stage,
                tier=rows.tier,
                adapter=rows.question.adapter,
                threshold=rows.question.threshold,
                no_below=rows.question.no_below,
                uncertain=float(rows.answers.uncertain.mean()) if rows.p.size else 0.0,
                errors=errors_of(rows.wrong, rows.truths, rows.tasks),
                worst=worst(rows, tasks, options.n_worst),
                noise=label_noise(rows, cross_fitted[rows.key][rows.rows]),
                curve=curves[rows.key],
                coherence=options.coherence.get(rows.key),
            )
            for rows in questions
        ),
        values=tuple(value_audits(replay)),
        slices=tuple(sliced),
        stages=tuple(values),
        prior=prior_audit(replay),
        handed_on=handed_on_audit(replay),
        pairs=tuple(pairs),
        duplicates=duplicates(tasks),
    )
