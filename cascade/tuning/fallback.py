"""Thresholds of a whole cascade from few labelled tasks: the best under a model of their labels. Pure numpy.

Too few tasks to test on carry no promise. What can be done is to choose all thresholds at once and not to follow the
accidents of few rows: they are chosen on what ``LabelModel`` says of the rows' labels, not on the labels themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.errors import InputError
from cascade.tree import Cascade
from cascade.tuning.label_model import LabelModel, with_drawn_labels
from cascade.tuning.label_search import LabelReplay
from cascade.tuning.outcome import Outcome, Replay, Thresholds, deciding
from cascade.tuning.scored import Key, ScoredTasks

LEAST_TASKS = 5
"""Tasks with something to find below which even a fallback is refused."""

_N_ROWS = 20_000  # rows with drawn labels; another seed moves a recall by less than a point
_SHARES = np.linspace(0, 1, 121)
_JUMPS = (1, 2, 4, 8, 16)
_LEAST = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """A recall to aim for.

    Attributes:
        recall: The mean recall per task that the model of labels is to expect, in (0, 1).
        cost: What is made small under it, such as ``Cost.CALLS.of``.

    Raises:
        InputError: The recall is out of its range.
    """

    recall: float
    cost: Callable[[Outcome], float]

    def __post_init__(self) -> None:
        if not 0 < self.recall < 1:
            msg = f"A recall of {self.recall} was given; it must lie between 0 and 1. Give one such as 0.9."
            raise InputError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Thresholds without a guarantee.

    Attributes:
        thresholds: Of every question.
        kept: Stages whose thresholds are those of before, since what was asked for does not depend on them.
        n_tasks: Tasks with something to find.
        expected: What the model expects of them; it was fitted to the same tasks.
        macro_f1: The macro F1 over all items that it expects, in [0, 1].
    """

    thresholds: Thresholds
    kept: tuple[str, ...]
    n_tasks: int
    expected: Outcome
    macro_f1: float


def fallback(cascade: Cascade, scored: ScoredTasks, aim: Aim | None = None) -> Fallback:
    """The best thresholds under a model of labels.

    Args:
        cascade: Its own thresholds stay where nothing depends on them. It has no prior stage.
        scored: Labelled tasks.
        aim: A recall at the least cost; None for the highest macro F1.

    Raises:
        InputError: Fewer than ``LEAST_TASKS`` tasks have something to find, or recall depends on no threshold.
    """
    n_tasks = np.unique(scored.tasks[scored.kept(cascade)]).size
    if n_tasks < LEAST_TASKS:
        msg = (
            f"{n_tasks} tasks have something to find; even without a guarantee {LEAST_TASKS} are needed. Give more "
            "labelled tasks."
        )
        raise InputError(msg)
    own = {(stage.name, tier): asked.threshold for stage in cascade.stages for tier, asked in stage.questions.items()}
    p_labels = LabelModel.fit(cascade, scored).p_labels(cascade, scored)
    drawn = with_drawn_labels(scored, p_labels, max(1, _N_ROWS // scored.labels.size))
    labels, replay = LabelReplay(cascade, scored, p_labels), Replay(cascade, drawn)
    free = deciding(cascade) if aim else cascade.stages
    thresholds = _cheapest(replay, _grids(cascade, drawn, replay, own), own, aim) if aim else labels.best(own)
    return Fallback(
        thresholds=thresholds,
        kept=tuple(stage.name for stage in cascade.stages if stage not in free),
        n_tasks=n_tasks,
        expected=replay.outcome(thresholds),
        macro_f1=labels.macro_f1(thresholds),
    )


def _grids(cascade: Cascade, drawn: ScoredTasks, replay: Replay, own: Thresholds) -> dict[Key, NDArray[np.float64]]:
    """Thresholds of each question that recall depends on, from the safest on: scores of what matters."""
    found = {}
    for key in [(stage.name, tier) for stage in deciding(cascade) for tier in stage.questions]:
        p = drawn.p[key]
        known = p[drawn.kept(cascade) & ~np.isnan(p)]
        if known.size:
            inner = np.quantile(known, _SHARES, method="lower")
            grid = np.unique(np.clip(np.concatenate(([0.0], inner, [1.0])), _LEAST, 1 - _LEAST))
            low, high = (replay.outcome({**own, key: float(end)}).recall for end in (grid[0], grid[-1]))
            found[key] = grid if low >= high else grid[::-1]
    if not found:
        msg = f"Cascade {cascade.name!r} drops nothing, so its recall is 1 at any thresholds. Nothing can be tuned."
        raise InputError(msg)
    return found


def _cheapest(replay: Replay, grids: dict[Key, NDArray[np.float64]], own: Thresholds, aim: Aim) -> Thresholds:
    """From the safest thresholds on, each step moves the one that saves most for what it loses, down to the recall."""
    places = dict.fromkeys(grids, 0)

    def at(where: dict[Key, int]) -> Thresholds:
        return {**own, **{key: float(grids[key][place]) for key, place in where.items()}}

    here = replay.outcome(at(places))
    while True:
        best: tuple[float, dict[Key, int], Outcome] | None = None
        for key, jump in [(key, jump) for key in grids for jump in _JUMPS if places[key] + jump < grids[key].size]:
            moved = places | {key: places[key] + jump}
            there = replay.outcome(at(moved))
            saved = aim.cost(here) - aim.cost(there)
            worth = saved / max(here.recall - there.recall, _LEAST)
            if saved > 0 and there.recall >= aim.recall and (best is None or worth > best[0]):
                best = (worth, moved, there)
        if best is None:
            return at(places)
        _, places, here = best
