"""Metrics of scores: ranking, calibration and labels. Pure numpy.

Arrays are one-dimensional and of one length: ``scores`` floats (higher means yes), ``truths``
bools, ``tasks`` the id of the task that each row belongs to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade.config.figures import Figure
from cascade.probability import TINY, Array, Ints

_LOWEST_THRESHOLD = 1e-6


QUALITY = {"accuracy": "accuracy"} | {
    figure: figure.words for figure in (Figure.MACRO_F1_OVER_ROWS, Figure.RECALL_OVER_ROWS)
}
"""What answers are judged by at a depth, or under a budget -> the same in words; accuracy is over rows alone."""


def auc(scores: ArrayLike, truths: ArrayLike) -> float:
    """Area under the ROC curve, ties counted half; NaN without both classes.

    Source: Mann and Whitney (1947), U / (n_yes * n_no) with mid-ranks.
    """
    values, is_yes = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
    n_yes = int(is_yes.sum())
    n_no = is_yes.size - n_yes
    if not n_yes or not n_no:
        return float("nan")
    return float((ranks(values)[is_yes].sum() - n_yes * (n_yes + 1) / 2) / (n_yes * n_no))


def ranks(values: Array) -> Array:
    """Ranks from 1 on; equal values get the mean of their ranks; (n,)."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def auc_per_task(scores: ArrayLike, truths: ArrayLike, tasks: ArrayLike) -> float:
    """Mean of the AUCs of the tasks that have both classes; NaN if none has."""
    values, is_yes = np.asarray(scores, dtype=float), np.asarray(truths, dtype=bool)
    found = [auc(values[rows], is_yes[rows]) for rows in rows_by_task(tasks)]
    known = [value for value in found if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")


def rows_by_task(tasks: ArrayLike) -> list[NDArray[np.intp]]:
    """Row numbers of each task, tasks in sorted order."""
    _, inverse = np.unique(np.asarray(tasks), return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(inverse[order])) + 1) if order.size else []


def calibration_error(p_yes: ArrayLike, truths: ArrayLike, n_bins: int = 10) -> float:
    """Expected calibration error over bins of equal mass, in [0, 1]; NaN without rows.

    Equal p share a bin, so that the order of the rows does not matter.

    Source: Naeini, Cooper and Hauskrecht (2015), with quantile bins.
    """
    p, is_yes = np.asarray(p_yes, dtype=float), np.asarray(truths, dtype=float)
    if not p.size:
        return float("nan")
    return float(np.abs(np.bincount(equal_mass_bins(p, n_bins), weights=p - is_yes)).sum() / p.size)


def calibration_error_beyond_chance(p_yes: ArrayLike, truths: ArrayLike, tasks: ArrayLike, n_bins: int = 10) -> float:
    """The calibration error less what true probabilities would show by chance, in [0, 1]; NaN without rows.

    A bin's squared gap is too large by its variance, which is estimated from the gaps of its tasks, as rows of one task
    depend on each other; it is taken off, and where nothing is left the gap counts as 0. The root of what is left is a
    little too small on average, so that the truth lies between this and the calibration error.

    Source: Kumar, Liang and Ma (2019), Verified uncertainty calibration, for the squared error of independent rows.
    """
    p, is_yes = np.asarray(p_yes, dtype=float), np.asarray(truths, dtype=float)
    if not p.size:
        return float("nan")
    _, numbers = np.unique(np.asarray(tasks), return_inverse=True)
    n_tasks = int(numbers.max()) + 1
    by_task = np.bincount(equal_mass_bins(p, n_bins) * n_tasks + numbers, p - is_yes, n_bins * n_tasks)
    gaps = by_task.reshape(n_bins, n_tasks)
    return float(np.sqrt(np.maximum(gaps.sum(axis=1) ** 2 - (gaps**2).sum(axis=1), 0)).sum() / p.size)


def equal_mass_bins(p_yes: ArrayLike, n_bins: int = 10) -> NDArray[np.intp]:
    """Number of each row's bin, 0..n_bins - 1, from the least p on; equal p share a bin, so some may be empty."""
    p = np.asarray(p_yes, dtype=float)
    _, inverse, counts = np.unique(p, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - counts / 2  # rows below the middle of each value's rows
    return np.asarray((middle * n_bins / p.size).astype(np.intp)[inverse])


def f1(answers: ArrayLike, truths: ArrayLike) -> float:
    """Harmonic mean of precision and recall of yes, in [0, 1]; NaN where yes is never true."""
    said, is_yes = np.asarray(answers, dtype=bool), np.asarray(truths, dtype=bool)
    if not is_yes.any():
        return float("nan")
    return 2 * int((said & is_yes).sum()) / int(said.sum() + is_yes.sum())


def best_f1_threshold(p_yes: ArrayLike, truths: ArrayLike) -> float:
    """The threshold in (0, 1) with the highest F1 on these rows; 0.5 without a yes."""
    p, is_yes = np.asarray(p_yes, dtype=float), np.asarray(truths, dtype=bool)
    if not is_yes.any():
        return 0.5
    order = np.argsort(-p, kind="stable")
    hits = np.cumsum(is_yes[order])
    scores = 2 * hits / (np.arange(1, p.size + 1) + is_yes.sum())
    last_of_tie = np.append(p[order][1:] != p[order][:-1], True)
    in_reach = p[order] >= _LOWEST_THRESHOLD
    at = int(np.argmax(np.where(last_of_tie & in_reach, scores, -1.0)))
    below = p[order][at + 1] if at + 1 < p.size else 0.0
    return float(np.clip((p[order][at] + below) / 2, _LOWEST_THRESHOLD, 1 - _LOWEST_THRESHOLD))


def accuracy(confusion: Ints) -> float:
    """Share of rows that got their true label; NaN without rows."""
    total = int(confusion.sum())
    return int(np.trace(confusion)) / total if total else float("nan")


def recall_over_rows(confusion: Ints, dropped: int, handed_on: Sequence[int] = ()) -> float:
    """Share of what matters that was kept, whatever its label became; NaN where nothing matters.

    Args:
        confusion: Rows are truths, columns answers.
        dropped: Row and column of the label of what does not matter.
        handed_on: Columns of the labels of what is handed on, which is not kept.
    """
    mattering = np.delete(confusion, dropped, axis=0)
    total = int(mattering.sum())
    return 1 - int(mattering[:, [dropped, *handed_on]].sum()) / total if total else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOn:
    """What is handed on as uncertain, and what is answered; shares in [0, 1].

    Attributes:
        share: Of all items, what is handed on; None without items.
        of_mattering: Of what matters, what is handed on; None where nothing matters.
        recall_or_handed_on_over_rows: Of what matters, what is kept or handed on; None where nothing matters.
        error_among_answered: Of what is not handed on, what has a wrong label; None where all is handed on.
    """

    share: float | None
    of_mattering: float | None
    recall_or_handed_on_over_rows: float | None
    error_among_answered: float | None

    @classmethod
    def of(cls, confusion: Ints, dropped: int, handed_on: Sequence[int]) -> Self:
        """Of a confusion matrix; the arguments are those of ``recall_over_rows``."""
        columns = list(handed_on)
        mattering, n_items = np.delete(confusion, dropped, axis=0), int(confusion.sum())
        n_mattering, n_handed_on = int(mattering.sum()), int(confusion[:, columns].sum())
        n_answered, n_right = n_items - n_handed_on, int(np.trace(confusion))
        kept = recall_over_rows(confusion, dropped)
        return cls(
            share=n_handed_on / n_items if n_items else None,
            of_mattering=int(mattering[:, columns].sum()) / n_mattering if n_mattering else None,
            recall_or_handed_on_over_rows=kept if n_mattering else None,
            error_among_answered=1 - n_right / n_answered if n_answered else None,
        )


def macro_f1(confusion: Ints | Array) -> float:
    """Mean F1 of the labels that occur as truth; rows of the matrix are truths, columns answers."""
    both = np.diag(confusion).astype(float)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    occurs = confusion.sum(axis=1) > 0
    each: NDArray[Any] = np.divide(2 * both, total, out=np.zeros_like(both), where=total > 0)
    return float(each[occurs].mean()) if occurs.any() else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationMetrics:
    """Figures of probabilities; each is better the lower.

    Attributes:
        ece: Expected calibration error over bins of equal mass, in [0, 1].
        ece_beyond_chance: The same less what perfectly calibrated probabilities would show by chance on so few tasks.
        brier: Mean squared error, in [0, 1].
        log_loss: Mean of -log p of what was true, in nats.
    """

    ece: float
    ece_beyond_chance: float
    brier: float
    log_loss: float

    @classmethod
    def of(cls, p: Array, truths: Array, tasks: Ints) -> Self:
        """Of at least one row."""
        return cls(
            ece=calibration_error(p, truths),
            ece_beyond_chance=calibration_error_beyond_chance(p, truths, tasks),
            brier=float(((p - truths) ** 2).mean()),
            log_loss=log_loss(p, truths),
        )

    @classmethod
    def mean(cls, parts: Sequence[Self], weights: Sequence[int]) -> Self:
        """The mean of several, by weight."""

        def over(name: str) -> float:
            return float(np.average([getattr(part, name) for part in parts], weights=weights))

        return cls(
            ece=over("ece"),
            ece_beyond_chance=over("ece_beyond_chance"),
            brier=over("brier"),
            log_loss=over("log_loss"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A part of a question's rows.

    Attributes:
        name: What divides them: "kind" or "repository".
        value: Which part this is.
        n: Its rows.
        before: Of the raw p(yes).
        after: Of the calibrated one, every task by curves of the other folds.
        unseen: Of a repository, by curves of the other repositories; None where there are too few, or for other slices.
    """

    name: str
    value: str
    n: int
    before: CalibrationMetrics
    after: CalibrationMetrics
    unseen: CalibrationMetrics | None = None


def log_loss(p: Array, truths: Array) -> float:
    """Mean of -log p of what was true, in nats; p is kept off 0 and 1."""
    low = np.clip(p, TINY, 1 - TINY)
    return float(-(truths * np.log(low) + (1 - truths) * np.log1p(-low)).mean())
