"""Thresholds of a whole cascade at once, the cheapest that carry a promise on recall. Pure numpy.

On one half of the tasks a path is searched: from thresholds that keep everything, each step raises the one threshold
that saves most for what it loses. On the other half the path is tested from its safe end on; the last vector that
passes is chosen. The path was laid before the second half was looked at, and its order is fixed, so the promise holds
whatever the search did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from cascade.errors import InputError
from cascade.stage import Stage
from cascade.tree import Cascade
from cascade.tuning.outcome import Outcome, Replay, Thresholds, deciding
from cascade.tuning.risk import betting_p, fixed_sequence, tasks_needed
from cascade.tuning.scored import Key, ScoredTasks

_SHARES = np.unique(np.concatenate((np.linspace(0, 0.3, 121), np.linspace(0.3, 1, 36))))
_JUMPS = (1, 2, 4, 8, 16)
_LEAST = 1e-6
_TIE = 1e-3  # what the other cost counts where the first does not change
_SEED = 20210930
_N_HALVINGS = 20


class Cost(StrEnum):
    """What is made small."""

    CALLS = "calls"
    FALSE_POSITIVES = "false_positives"

    def of(self, outcome: Outcome) -> float:
        """The cost per item; the other cost breaks ties."""
        pair = (outcome.calls, outcome.false_positives)
        first, second = pair if self is Cost.CALLS else pair[::-1]
        return first + _TIE * second


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What thresholds are asked to do.

    Attributes:
        recall: The mean recall per task that is promised, in (0, 1).
        delta: The chance that the promise may be wrong, in (0, 1).
        cost: What is made small under it.

    Raises:
        InputError: A number is outside its range.
    """

    recall: float
    delta: float = 0.05
    cost: Cost = Cost.CALLS

    def __post_init__(self) -> None:
        for name, value in (("recall", self.recall), ("delta", self.delta)):
            if not 0 < value < 1:
                msg = f"A {name} of {value} was given; it must lie between 0 and 1. Give one such as 0.95 or 0.05."
                raise InputError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """Thresholds that carry a promise.

    Attributes:
        thresholds: Of every question.
        fixed: Stages that recall does not depend on; they keep their thresholds.
        p_value: Of "the mean recall is below what is promised", at these thresholds.
        n_searched: Tasks with something to find in the half that was searched.
        n_held_out: The same of the half that was tested.
        n_left_out: Tasks with nothing to find, which have no recall.
        held_out: What the thresholds come to on the half that was tested.
        per_stage: Stages tuned one by one to the same recall on that half; None where none reaches it.
    """

    thresholds: Thresholds
    fixed: tuple[str, ...]
    p_value: float
    n_searched: int
    n_held_out: int
    n_left_out: int
    held_out: Outcome
    per_stage: Outcome | None


def tune(cascade: Cascade, scored: ScoredTasks, wish: Wish, seed: int = _SEED) -> Tuned:
    """The cheapest certified thresholds.

    Args:
        cascade: Its own thresholds stay where recall does not depend on them.
        scored: Labelled tasks.
        wish: The promise.
        seed: Decides which tasks fall into which half, and their order.

    Raises:
        InputError: There are too few tasks for the promise (it says how many are needed), nothing can be tuned, or
            no thresholds pass.
    """
    matters = np.unique(scored.tasks[scored.kept(cascade)])
    n_needed = tasks_needed(wish.recall, wish.delta)
    order = np.random.default_rng(seed).permutation(matters)
    half = order.size // 2
    if half < n_needed:
        msg = (
            f"{matters.size} tasks have something to find; a recall of {wish.recall:g} at delta {wish.delta:g} needs "
            f"at least {2 * n_needed}: half of them are searched, and {n_needed} must be tested even if nothing is "
            "missed. Give more labelled tasks, or a lower recall, or a larger delta; or choose without a guarantee "
            "by `cascade tune --fallback`."
        )
        raise InputError(msg)
    # Tasks with nothing to find cost calls as well, so they are shared out, but never tested.
    rest = np.setdiff1d(np.arange(scored.n_tasks), matters)
    searched = scored.take(np.concatenate((order[:half], rest[::2])))
    tested = scored.take(np.concatenate((order[half:], rest[1::2])))
    path = find_path(cascade, searched, wish)
    replay = Replay(cascade, tested)
    at, p_value = _certified(path, replay, wish)
    held_out = replay.outcome(path[at])
    return Tuned(
        thresholds=path[at],
        fixed=tuple(stage.name for stage in cascade.stages if stage not in deciding(cascade)),
        p_value=p_value,
        n_searched=half,
        n_held_out=replay.n_tasks,
        n_left_out=int(rest.size),
        held_out=held_out,
        per_stage=_per_stage(cascade, searched, replay, held_out.recall),
    )


def find_path(cascade: Cascade, scored: ScoredTasks, wish: Wish) -> list[Thresholds]:
    """Vectors of thresholds from the safest on, each no dearer than the one before.

    It ends a little below the recall that is wished for, where the held-out half can be kinder than this one.

    Raises:
        InputError: No stage decides what is kept.
    """
    replay = Replay(cascade, scored)
    free = [(stage, tier) for stage in deciding(cascade) for tier in stage.questions]
    if not free:
        msg = f"Cascade {cascade.name!r} drops nothing, so its recall is 1 at any thresholds. Nothing can be tuned."
        raise InputError(msg)
    grids = {(stage.name, tier): _grid(cascade, scored, stage, tier) for stage, tier in free}
    places = dict.fromkeys(grids, 0)
    own = {
        (stage.name, tier): question.threshold for stage in cascade.stages for tier, question in stage.questions.items()
    }

    def at(where: dict[Key, int]) -> Thresholds:
        return own | {key: float(grids[key][place]) for key, place in where.items()}

    floor = wish.recall - (1 - wish.recall) / 2
    here, path = replay.outcome(at(places)), [at(places)]
    while True:
        best: tuple[float, Key, int, Outcome] | None = None
        for key, place in places.items():
            for jump in _JUMPS:
                if place + jump >= grids[key].size:
                    break
                where = places | {key: place + jump}
                there = replay.outcome(at(where))
                saved = wish.cost.of(here) - wish.cost.of(there)
                worth = saved / max(here.recall - there.recall, _LEAST)
                if saved > 0 and there.recall >= floor and (best is None or worth > best[0]):
                    best = (worth, key, jump, there)
        if best is None:
            return path
        _, key, jump, here = best
        path += [at(places | {key: places[key] + step}) for step in range(1, jump + 1)]
        places[key] += jump


def _grid(cascade: Cascade, scored: ScoredTasks, stage: Stage, tier: str) -> NDArray[np.float64]:
    """Thresholds of one question, from the safest on: scores of items that matter, at shares of them."""
    p = scored.p[stage.name, tier]
    known = p[scored.kept(cascade) & ~np.isnan(p)]
    if not known.size:
        return np.array([stage.questions[tier].threshold])
    values = np.quantile(known, _SHARES, method="lower")
    grid = np.unique(np.clip(np.concatenate(([0.0], values, [1.0])), _LEAST, 1 - _LEAST))
    return grid if _keeps_on_yes(cascade, stage) else grid[::-1]


def _keeps_on_yes(cascade: Cascade, stage: Stage) -> bool:
    """Whether yes is the side on which more of the leaves are kept."""
    shares = []
    for target in (stage.yes, stage.no):
        ends = [target.name] if target.is_label else [name for name, _ in cascade.paths(cascade.stage(target.name))]
        shares.append(sum(name != cascade.dropped for name in ends) / len(ends))
    return shares[0] >= shares[1]


def _certified(path: Sequence[Thresholds], replay: Replay, wish: Wish) -> tuple[int, float]:
    """Place in the path of the last vector that passes in a row, and its p-value."""
    p_values: list[float] = []
    for thresholds in path:
        p_values.append(betting_p(replay.losses(thresholds), 1 - wish.recall, wish.delta))
        if p_values[-1] > wish.delta:
            break
    n_passed = fixed_sequence(p_values, wish.delta)
    if not n_passed:
        msg = (
            f"Not even the lowest thresholds keep a recall of {wish.recall:g} on the {replay.n_tasks} tasks held out "
            f"(p-value {p_values[0]:.3g}, allowed {wish.delta:g}). Give more labelled tasks, or a lower recall."
        )
        raise InputError(msg)
    return n_passed - 1, p_values[n_passed - 1]


def _per_stage(cascade: Cascade, searched: ScoredTasks, replay: Replay, recall: float) -> Outcome | None:
    """What tuning stage by stage costs at the same recall on the half held out.

    Each question gets the threshold that keeps one same share of what matters and is asked there; the share is the
    lowest whose measured recall is no less.
    """
    own = {
        (stage.name, tier): question.threshold for stage in cascade.stages for tier, question in stage.questions.items()
    }
    free = [(stage, tier) for stage in deciding(cascade) for tier in stage.questions]
    kept, found = searched.kept(cascade), None
    low, high = 0.0, 1.0
    for _ in range(_N_HALVINGS):
        share = (low + high) / 2
        level = dict(own)
        for stage, tier in free:
            p = searched.p[stage.name, tier]
            known = p[kept & ~np.isnan(p)]
            if known.size:
                lost = share if _keeps_on_yes(cascade, stage) else 1 - share
                level[stage.name, tier] = float(np.clip(np.quantile(known, lost, method="lower"), _LEAST, 1 - _LEAST))
        outcome = replay.outcome(level)
        if outcome.recall >= recall:
            low, found = share, outcome
        else:
            high = share
    return found
