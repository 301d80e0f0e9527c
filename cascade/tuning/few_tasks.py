"""Thresholds of a whole cascade from few labelled tasks: the best under a model of their labels. Pure numpy.

Too few tasks to test on carry no guarantee. What can be done is to choose all thresholds at once and not to follow the
accidents of few rows: they are chosen on what ``LabelModel`` says of the rows' labels, not on the labels themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cascade.config.figures import Metric
from cascade.errors import InputError, counted
from cascade.evaluation.metrics import macro_f1
from cascade.evaluation.replay import Outcome, Prices, Replay, Thresholds, known_priors, own_thresholds, parting
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.evaluation.targets import Labels, TaskMetric
from cascade.probability import Array, Bools
from cascade.tree import Cascade
from cascade.tuning.label_model import LabelModel, with_drawn_labels
from cascade.tuning.pareto import Advance, best_of_each_level
from cascade.tuning.search import TuningTarget
from cascade.tuning.threshold_grid import ThresholdGrid, free_keys, safest

_N_SWEEPS = 8
_LEAST = 1e-6
_N_PLACES = 48
_GAIN = 1e-9


class LabelReplay:
    """Labels and macro F1 of scored rows under any thresholds.

    Args:
        cascade: The cascade. A prior stage of it keeps its own thresholds, and is passed over without ``priors``.
        scored: Its scores.
        p_labels: What each row counts towards each label as truth, (n_rows, n_labels); None for its own label alone.
        priors: What its prior stage goes by for each row, NaN where nothing is known.
    """

    def __init__(
        self, cascade: Cascade, scored: ScoredTasks, p_labels: Array | None = None, priors: Array | None = None
    ) -> None:
        self._cascade, self._scored = cascade, scored
        self._replay = Replay(cascade, scored, priors)
        self._settled = self._replay.settled(own_thresholds(cascade)) if priors is not None else None
        self._n_rows, self._n_labels = scored.labels.size, len(cascade.labels)
        self._truths = p_labels

    def labels(self, thresholds: Thresholds) -> Labels:
        """The label of each row, as its place in the cascade's labels."""
        return self._end(self._replay.all_answers(thresholds))

    def macro_f1(self, thresholds: Thresholds) -> float:
        """Over all rows, in [0, 1]."""
        return self._score(self.labels(thresholds))

    def best(self, start: Thresholds) -> Thresholds:
        """Thresholds of the highest macro F1 found, one question after the other until none gains.

        Args:
            start: Where one of two climbs begins, the other begins in the middle of all scores; questions that no row
                is asked, or on which nothing depends, keep theirs.
        """
        stages = {stage.name for stage in parting(self._cascade)}
        grids = {key: grid for key in self._scored.p if key[0] in stages and (grid := self._grid(key)).size}
        middle = dict(start) | {key: float(np.median(grid)) for key, grid in grids.items()}
        return max((self._climb(place, grids) for place in (dict(start), middle)), key=self.macro_f1)

    def _climb(self, start: dict[Key, float], grids: Mapping[Key, Array]) -> Thresholds:
        here, level = start, self.macro_f1(start)
        for _ in range(_N_SWEEPS):
            before = level
            for key, grid in grids.items():
                scores = self._along(key, grid, here)
                at = int(scores.argmax())
                if scores[at] > level + _GAIN:
                    here, level = here | {key: float(grid[at])}, float(scores[at])
            if level == before:
                break
        return here

    def _along(self, key: Key, grid: Array, here: Thresholds) -> Array:
        """Macro F1 at each threshold of one question, all others held."""
        name, stage = key[0], self._cascade.stage(key[0])
        says = self._replay.all_answers(here)
        yes, no = (self._end(says | {name: np.full(self._n_rows, answer)}) for answer in (True, False))
        moved = (self._replay.answers(stage, {**here, key: float(value)}) for value in grid)
        return np.array([self._score(np.where(answers, yes, no)) for answers in moved])

    def _end(self, says: Mapping[str, Bools]) -> Labels:
        """The label that each row ends with."""
        return self._replay.walk(says, self._settled, {}).labels

    def _score(self, labels: Labels) -> float:
        if self._truths is None:
            flat = np.bincount(self._scored.labels * self._n_labels + labels, minlength=self._n_labels**2)
            return macro_f1(flat.reshape(self._n_labels, -1))
        rows = [np.bincount(labels, weights=column, minlength=self._n_labels) for column in self._truths.T]
        return macro_f1(np.array(rows))

    def _grid(self, key: Key) -> Array:
        """Scores at even shares of all rows and of those that matter."""
        p = self._scored.p[key]
        asked = ~np.isnan(p)
        parts = [p[rows] for rows in (asked, asked & self._scored.is_positive(self._cascade)) if rows.any()]
        shares = np.linspace(0, 1, _N_PLACES)
        values = [np.quantile(part, shares) for part in parts]
        return np.unique(np.clip(np.concatenate(values), _LEAST, 1 - _LEAST)) if values else np.empty(0)


LEAST_TASKS = 5
"""Tasks with something to find below which even thresholds without a guarantee are refused."""

_N_DRAWS = 20  # of every task's labels; another seed moves a recall by less than a point
_SPREAD = 0.02  # how finely levels are searched


@dataclass(frozen=True, slots=True, kw_only=True)
class FewTasksResult:
    """Thresholds without a guarantee.

    Attributes:
        thresholds: Of every question, and those of before of the prior stage.
        kept: Stages whose thresholds are those of before, since what was asked for does not depend on them.
        n_tasks: Tasks with something to find.
        expected: What the model expects of them; it was fitted to the same tasks.
        level: What it expects of what was asked for; without a target, the macro F1 over rows; in [0, 1].
    """

    thresholds: Thresholds
    kept: tuple[str, ...]
    n_tasks: int
    expected: Outcome
    level: float


def tune_few_tasks(
    cascade: Cascade,
    scored: ScoredTasks,
    target: TuningTarget | None = None,
    prices: Prices | None = None,
    advance: Advance = lambda _: None,
    priors: Array | None = None,
) -> FewTasksResult:
    """The best thresholds under a model of labels.

    Args:
        cascade: Its own thresholds stay where nothing depends on them, and those of its prior stage in any case. What
            that settles is counted in.
        scored: Labelled tasks.
        target: What the model is to expect, and what is made small under it; its delta means nothing here. None for the
            highest macro F1 over rows.
        prices: What an item costs, where latency is made small.
        advance: Told of the share of the work that is done.
        priors: What the prior stage goes by for each row, NaN where nothing is known; None for ``known_priors``.

    Raises:
        InputError: Fewer than ``LEAST_TASKS`` tasks have something to find, nothing can be tuned, or no thresholds are
            expected to do what is wished for.
    """
    n_tasks = np.unique(scored.tasks[scored.is_positive(cascade)]).size
    if n_tasks < LEAST_TASKS:
        msg = (
            f"{counted(n_tasks, 'task has', 'tasks have')} something to find; even without a guarantee {LEAST_TASKS} "
            "are needed. Give more labelled tasks."
        )
        raise InputError(msg)
    priors = known_priors(cascade, scored) if priors is None else priors
    p_labels = _p_labels(cascade, scored, priors)
    drawn = with_drawn_labels(scored, p_labels, _N_DRAWS)
    replay = Replay(cascade, drawn, np.tile(priors, _N_DRAWS), prices)
    free = free_keys(cascade.without_prior_stage(), target.metric if target else Metric.MACRO_F1)
    if target is None:
        labels = LabelReplay(cascade, scored, p_labels, priors)
        thresholds = labels.best(own_thresholds(cascade))
        level = labels.macro_f1(thresholds)
    else:
        thresholds, level = _aimed(replay, target, free, advance)
    named = {stage for stage, _ in free}
    return FewTasksResult(
        thresholds=thresholds,
        kept=tuple(stage.name for stage in cascade.stages if stage.name not in named),
        n_tasks=n_tasks,
        expected=replay.outcome(thresholds),
        level=level,
    )


def _p_labels(cascade: Cascade, scored: ScoredTasks, priors: Array) -> Array:
    """P of each label for each row: its own label where the prior stage gives it one, or else what the model says.

    What the prior stage decides is not chosen here, so the labels tell of it without bias; and the model learns from
    such rows alone as the questions are put to.
    """
    is_decided = decided(cascade, priors)
    asked = np.flatnonzero(~is_decided)
    if not asked.size:
        msg = "The prior stage settles every item, so nothing depends on other thresholds. Nothing can be tuned."
        raise InputError(msg)
    model = LabelModel.fit(cascade, scored.at(asked))
    own = np.eye(len(cascade.labels))[scored.labels]
    return np.where(is_decided[:, None], own, model.p_labels(cascade, scored))


def decided(cascade: Cascade, priors: Array) -> Bools:
    """Whether the prior stage gives each row its label.

    Args:
        cascade: The cascade.
        priors: What its prior stage goes by for each row, NaN where nothing is known.
    """
    stage = cascade.prior_stage
    if stage is None:
        return np.zeros(priors.size, np.bool_)
    return np.asarray(((priors < stage.lower) & stage.no.is_label) | ((priors >= stage.upper) & stage.yes.is_label))


def _aimed(replay: Replay, target: TuningTarget, free: list[Key], advance: Advance) -> tuple[Thresholds, float]:
    """The cheapest thresholds of those that come to what is wished for on rows with drawn labels, and to what."""
    cascade = replay.cascade
    own = own_thresholds(cascade)
    if not free:
        msg = f"Cascade {cascade.name!r} drops nothing, so its recall is 1 at any thresholds. Nothing can be tuned."
        raise InputError(msg)
    task_metric = TaskMetric(cascade, replay.scored, target.metric, target.unit)
    threshold_grid = ThresholdGrid(replay, task_metric, target.objective, own, free)
    safe = {**own, **{key: safest(cascade, key) for key in free}}
    starts = [threshold_grid.nearest(safe), threshold_grid.nearest(own)]
    levels, places = best_of_each_level(threshold_grid, starts, target.level, _SPREAD, advance)
    reached = np.flatnonzero(levels >= target.level)
    thresholds = threshold_grid.at(places[int(reached[-1])]) if reached.size else own
    if not reached.size or replay.outcome(thresholds).misses == 1:
        prior = cascade.prior_stage
        beside = f" beside the prior stage {prior.name!r}, which is kept as it is" if prior is not None else ""
        msg = (
            f"No thresholds that keep anything are expected to reach a {target.figure.words} of {target.level:g}"
            f"{beside}; the highest is {levels[0]:.3g}. Give a lower {target.figure.words}, or better questions"
            f"{', or take the prior stage away' if beside else ''}."
        )
        raise InputError(msg)
    return thresholds, float(levels[reached[-1]])
