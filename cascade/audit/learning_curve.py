"""Learning curves: audits of sub-samples, and how many tasks a wanted precision takes. Pure numpy."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cascade.audit.questions import question_rows
from cascade.audit.rates import rate
from cascade.evaluation.calibration import calibrate
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.tree import Cascade

SHARES = (1 / 8, 1 / 4, 1 / 2, 1.0)
"""Of the tasks, for each audit of a sub-sample."""

N_DRAWS = 3
"""Sub-samples of each share; of all tasks there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Audits of sub-samples of one size.

    Attributes:
        n_tasks: Tasks in each, those without a row of the question included.
        half_width: Of the error rate's 95 % interval, in [0, 1]; the mean of the draws.
        log_loss: Of calibrated p(yes) on tasks left out, in nats; the mean of the draws. None where no draw had both
            answers.
    """

    n_tasks: int
    half_width: float
    log_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningCurve:
    """One question's.

    Attributes:
        points: From few tasks to all.
        tasks_needed: How many tasks would bring the half-width to what is wanted, as it falls with the root of their
            number; at most ``n_tasks`` of the last point where it is narrow enough.
    """

    points: tuple[CurvePoint, ...]
    tasks_needed: int


def learning_curves(
    cascade: Cascade, scored: ScoredTasks, within: float, seed: int, advance: Callable[[], object] = lambda: None
) -> dict[Key, LearningCurve]:
    """Audits of sub-samples of the tasks, for every yes/no question.

    Args:
        cascade: The cascade.
        scored: Its scores.
        within: The half-width that is wanted, in (0, 1).
        seed: Of the sub-samples.
        advance: Called after each of ``n_audits`` audits.
    """
    rng = np.random.default_rng(seed)
    points: dict[Key, list[CurvePoint]] = {rows.key: [] for rows in question_rows(cascade, scored)}
    for share in SHARES:
        n = max(1, round(share * scored.n_tasks))
        draws: dict[Key, list[tuple[float, float | None]]] = {key: [] for key in points}
        for _ in range(N_DRAWS if share < 1 else 1):
            sample = scored.take(np.sort(rng.permutation(scored.n_tasks)[:n]))
            losses = {key: found.after.log_loss for key, found in calibrate(cascade, sample).items()}
            for rows in question_rows(cascade, sample):
                draws[rows.key].append((rate(rows.wrong, rows.tasks).half_width, losses.get(rows.key)))
            advance()
        for key, found in draws.items():
            points[key].append(_point(n, found))
    return {
        key: LearningCurve(points=tuple(found), tasks_needed=_needed(found[-1], within))
        for key, found in points.items()
    }


def n_audits() -> int:
    """Number of audits that ``learning_curves`` makes."""
    return sum(N_DRAWS if share < 1 else 1 for share in SHARES)


def _point(n: int, draws: list[tuple[float, float | None]]) -> CurvePoint:
    losses = [loss for _, loss in draws if loss is not None]
    half_width = float(np.mean([width for width, _ in draws]))
    return CurvePoint(n_tasks=n, half_width=half_width, log_loss=float(np.mean(losses)) if losses else None)


def _needed(last: CurvePoint, within: float) -> int:
    return math.ceil(last.n_tasks * (last.half_width / within) ** 2)
