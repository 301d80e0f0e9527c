"""Error rates of questions, overall and in slices of their rows. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.audit.questions import QuestionRows
from cascade.audit.rates import Rate, contrast, rate
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import Bools, Ints
from cascade.stages import ANY_TIER

TIER, KIND, REPOSITORY = "tier", "kind", "repository"

_SMALLEST_P = 1e-9

Slices = Mapping[tuple[str, str], Bools]
"""(dimension, value), such as ("kind", "method") -> whether each row of all tasks is of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """Error rates of answers at the threshold.

    Attributes:
        error: Share of rows that are.
        false_yes: Share of those where no is true that were answered yes.
        false_no: Share of those where yes is true that were answered no.
        base_rate: Share of rows where yes is true; None without rows.
        balanced: Mean of ``false_yes`` and ``false_no``, which a lopsided base rate does not flatter; None without one
            of them.
    """

    error: Rate
    false_yes: Rate
    false_no: Rate
    base_rate: float | None
    balanced: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceErrors:
    """A slice of a question's rows.

    Attributes:
        stage: Name of the stage.
        tier: Of the question; empty where the slice is one of all of the stage's questions.
        dimension: ``tier``, ``kind`` or ``repository``.
        value: Which.
        errors: How often it is answered wrongly.
        rest: How often the rest of the rows is.
        p_value: Of "the rest errs as often", two-sided, in [0, 1]; None where there is too little to tell.
    """

    stage: str
    tier: str
    dimension: str
    value: str
    errors: Errors
    rest: Errors
    p_value: float | None

    @property
    def p_text(self) -> str:
        """The p-value in words, as far as rounding lets it be known."""
        if self.p_value is None:
            return "-"
        return f"{self.p_value:.2g}" if self.p_value >= _SMALLEST_P else f"< {_SMALLEST_P:g}"


def errors_of(wrong: Bools, truths: Bools, tasks: Ints) -> Errors:
    """Error rates of one question, split into false yes and false no.

    Args:
        wrong: Whether the answer to the row is wrong; (n,).
        truths: Whether yes is the true answer; (n,).
        tasks: Task of the row; (n,).
    """
    false_yes, false_no = rate(wrong[~truths], tasks[~truths]), rate(wrong[truths], tasks[truths])
    halves = [half.value for half in (false_yes, false_no) if half.value is not None]
    return Errors(
        error=rate(wrong, tasks),
        false_yes=false_yes,
        false_no=false_no,
        base_rate=float(truths.mean()) if truths.size else None,
        balanced=sum(halves) / 2 if len(halves) == len((false_yes, false_no)) else None,
    )


def slices_of(questions: Sequence[QuestionRows], slices: Slices) -> list[SliceErrors]:
    """Every slice of every question, and of stages that ask by tier the tiers against each other."""
    found = []
    for rows in questions:
        for (dimension, value), mask in slices.items():
            if dimension == TIER and rows.tier:  # its tier is its own; the stage's are held against each other below
                continue
            inside = mask[rows.rows]
            if inside.any() and not inside.all():
                found.append(_slice((rows.stage, rows.tier, dimension, value), [rows], inside))
    for stage in dict.fromkeys(rows.stage for rows in questions if rows.tier):
        siblings = [rows for rows in questions if rows.stage == stage and rows.tasks.size]
        owners = np.repeat(np.arange(len(siblings)), [rows.tasks.size for rows in siblings])
        for at, rows in enumerate(siblings if len(siblings) > 1 else ()):
            found.append(_slice((stage, ANY_TIER, TIER, rows.tier), siblings, owners == at))
    return found


def _slice(names: tuple[str, str, str, str], parts: Sequence[QuestionRows], inside: Bools) -> SliceErrors:
    wrong = np.concatenate([rows.wrong for rows in parts])
    truths = np.concatenate([rows.truths for rows in parts])
    tasks = np.concatenate([rows.tasks for rows in parts])
    stage, tier, dimension, value = names
    return SliceErrors(
        stage=stage,
        tier=tier,
        dimension=dimension,
        value=value,
        errors=errors_of(wrong[inside], truths[inside], tasks[inside]),
        rest=errors_of(wrong[~inside], truths[~inside], tasks[~inside]),
        p_value=contrast(wrong, tasks, inside),
    )


def slices(scored: ScoredTasks, tasks: Sequence[Labelled]) -> Slices:
    """Masks over all rows; an item that several tiers found is in each of their slices.

    Args:
        scored: The scores.
        tasks: The tasks that were scored.
    """
    tiers = [item.tiers for labelled in tasks for item in labelled.items]
    found = {
        (TIER, tier): np.array([tier in given for given in tiers])
        for tier in sorted({tier for given in tiers for tier in given})
    }
    for dimension, values in scored.slices.items():
        found |= {(dimension, value): np.asarray(values == value) for value in np.unique(values).tolist() if value}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorAudit:
    """Items that a prior stage settles at its thresholds, and how often it is wrong.

    Attributes:
        stage: Its name.
        settled: Share of all items.
        wrong_no: Of those that it answers with no, the share that matters.
        wrong_yes: Of those that it answers with yes, the share that does not matter.
    """

    stage: str
    settled: Rate
    wrong_no: Rate
    wrong_yes: Rate

    def __str__(self) -> str:
        """In words, with 95 % intervals."""
        no, yes = self.wrong_no, self.wrong_yes
        noes = f"{no} of its {no.n} noes matter" if no.n else "it says no to none"
        yeses = f"{yes} of its {yes.n} yeses do not" if yes.n else "it says yes to none"
        return (
            f"{self.stage}: settles {self.settled} of the items unasked; {noes}, and {yeses}. What is said of "
            "questions is of all items, those settled included."
        )


def prior_audit(replay: Replay) -> PriorAudit | None:
    """Audit of a cascade's prior stage, from its prior probability of each row; None if there is no such stage."""
    stage, tasks, matters = replay.cascade.prior_stage, replay.scored.tasks, replay.matters
    if stage is None:
        return None
    answers = replay.answers(stage, own_thresholds(replay.cascade))
    yes, no = answers.of(True), answers.of(False)
    return PriorAudit(
        stage=stage.name,
        settled=rate(no | yes, tasks),
        wrong_no=rate(matters[no], tasks[no]),
        wrong_yes=rate(~matters[yes], tasks[yes]),
    )
