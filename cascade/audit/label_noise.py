"""Estimates how many labels are wrong, from rows where the model is sure of the opposite. Pure numpy.

Two figures from p(yes) that is calibrated on other tasks, both under one assumption: a label is flipped with a chance
that depends on the true answer alone, not on the item. The estimate takes the model's sureness at its word, so what the
model gets wrong with confidence counts as noise too. The bound does not: among the rows that the model ranks highest,
at least the share of flipped yeses is labelled no, whatever the model is worth. The estimate is held below the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cascade.audit.questions import QuestionRows
from cascade.audit.rates import Rate, rate
from cascade.evaluation.calibration import N_FOLDS, calibrate
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.probability import Array, Bools
from cascade.tree import Cascade

_SUREST = 0.05
"""Share of a question's rows at either end of its ranking that the bound looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelNoise:
    """Estimated noise in one question's true answers.

    Attributes:
        yes_wrong: Share of those labelled yes of which no is held true, among the rows that the model is sure of.
        no_wrong: The same of those labelled no.
        joint: Given and true answer, such as ``yes_no`` -> share of all rows, bounded; sums to 1.
        wrong: Share of labels held wrong, bounded, in [0, 1].
        wrong_low: Lower end of its interval, in [0, 1]; shares of labels are taken as they are.
        wrong_high: Upper end.
        at_most: Share of labels that can be wrong at most, under the assumption alone, in [0, 1].
    """

    yes_wrong: Rate
    no_wrong: Rate
    joint: Mapping[str, float]
    wrong: float
    wrong_low: float
    wrong_high: float
    at_most: float


def cross_fitted_p(cascade: Cascade, scored: ScoredTasks, seed: int = 0) -> dict[Key, Array]:
    """Calibrated p(yes) of every row, each task by curves of the other folds; raw where no curve can be had."""
    found = {key: values.copy() for key, values in scored.p.items()}
    folds = np.random.default_rng(seed).permutation(scored.n_tasks) % N_FOLDS
    for fold in range(N_FOLDS):
        left = folds[scored.tasks] == fold
        others = scored.take(np.flatnonzero(folds != fold))
        for key, calibrated in (calibrate(cascade, others) if others.tasks.size else {}).items():
            found[key][left] = np.where(np.isnan(scored.p[key][left]), np.nan, calibrated.curve(scored.p[key][left]))
    return found


def label_noise(rows: QuestionRows, p: Array) -> LabelNoise | None:
    """Estimate the noise in a question's true answers; None unless both answers occur.

    Args:
        rows: The question's rows.
        p: Calibrated p(yes) of each, from curves that did not see its task.

    Source: Northcutt, Jiang and Chuang (2021), Confident learning, for the estimate; Liu and Tao (2016),
    Classification with noisy labels by importance reweighting, for the bound.
    """
    truths = rows.truths
    if truths.all() or not truths.any():
        return None
    held_yes = p >= p[truths].mean()
    held_no = (p <= p[~truths].mean()) & ~held_yes
    yes_wrong = _share(held_no, truths & (held_yes | held_no), rows)
    no_wrong = _share(held_yes, ~truths & (held_yes | held_no), rows)
    yes, no = float(truths.mean()), float((~truths).mean())
    most_from_yes, most_from_no = _most(rows)
    from_yes, from_no = _capped(yes, yes_wrong, most_from_yes), _capped(no, no_wrong, most_from_no)
    return LabelNoise(
        yes_wrong=yes_wrong,
        no_wrong=no_wrong,
        joint={"yes_yes": yes - from_yes[0], "yes_no": from_yes[0], "no_yes": from_no[0], "no_no": no - from_no[0]},
        wrong=from_yes[0] + from_no[0],
        wrong_low=from_yes[1] + from_no[1],
        wrong_high=from_yes[2] + from_no[2],
        at_most=min(1.0, most_from_yes + most_from_no),
    )


def _capped(share: float, wrong: Rate, most: float) -> tuple[float, float, float]:
    """Share of all rows that is labelled so and held wrong, with its interval.

    Where even the interval's lower end is above the bound, the bound is all that is known.
    """
    low = share * (wrong.low if wrong.n else 0.0)
    return min(most, share * (wrong.value or 0.0)), low if low <= most else 0.0, min(most, share * wrong.high)


def _share(hits: Bools, chosen: Bools, rows: QuestionRows) -> Rate:
    return rate(hits[chosen], rows.tasks[chosen])


def _most(rows: QuestionRows) -> tuple[float, float]:
    """The most of all rows that can be labelled yes where no is true, and labelled no where yes is.

    Where a share a of the yeses is flipped, those that keep the label are 1 - a of them.
    """
    low, high = np.quantile(rows.p, (_SUREST, 1 - _SUREST))
    of_no = _share(rows.truths, rows.p <= low, rows).high
    of_yes = _share(~rows.truths, rows.p >= high, rows).high
    yes = float(rows.truths.mean())
    return min(yes, of_no), min(1 - yes, of_yes / (1 - of_yes) * yes if of_yes < 1 else 1.0)
