"""Tunes a whole cascade on few labelled tasks, without a guarantee. Pure numpy.

Few tasks cannot be tested on, so nothing is guaranteed. All thresholds are chosen at once, and on the label
probabilities that ``LabelModel`` gives each row, because the labels of a few rows vary too much by chance.
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
from cascade.stages import Answers, Stage, StageAnswers, Threshold, limits_of
from cascade.tree import Cascade
from cascade.tuning.free_thresholds import End, FreeKey, ends_of, free_keys, nothing_to_tune, placed, starts
from cascade.tuning.label_model import LabelModel, gone_further, with_drawn_labels
from cascade.tuning.pareto import Advance, best_of_each_level
from cascade.tuning.target import TuningTarget
from cascade.tuning.threshold_grid import ThresholdGrid

_N_SWEEPS = 8
_LEAST = 1e-6
_N_PLACES = 48
_GAIN = 1e-9


class LabelReplay:
    """Labels and macro F1 of scored rows under any thresholds.

    Args:
        cascade: The cascade. Its prior stage keeps its thresholds, and is skipped if there are no ``priors``.
        scored: Its scores.
        p_labels: P of each true label for each row, (n_rows, n_labels); None: its given label has P 1.
        priors: Prior probability of each row for the prior stage, NaN if a row has none; (n_rows,).
    """

    def __init__(
        self, cascade: Cascade, scored: ScoredTasks, p_labels: Array | None = None, priors: Array | None = None
    ) -> None:
        self._cascade, self._scored = cascade, scored
        self._replay = Replay(cascade, scored, priors)
        self._n_rows, self._n_labels = scored.labels.size, len(cascade.labels)
        prior = cascade.prior_stage
        skipped = prior is not None and priors is None
        self._prior = {prior.name: Answers.none(self._n_rows)} if prior is not None and skipped else {}
        self._truths = p_labels

    def labels(self, thresholds: Thresholds) -> Labels:
        """The label of each row, as its index in the cascade's labels; (n_rows,)."""
        return self._end(self._replay.all_answers(thresholds))

    def macro_f1(self, thresholds: Thresholds) -> float:
        """Macro F1 over all rows, in [0, 1]."""
        return self._score(self.labels(thresholds))

    def best(self, start: Thresholds) -> Thresholds:
        """Coordinate ascent on macro F1 over rows: one threshold at a time, until none gains.

        Args:
            start: Thresholds to start from. A second ascent starts from the median scores, and the better result
                counts. Questions that no row is asked, or that no result depends on, keep their thresholds.
        """
        stages = {stage.name: stage for stage in parting(self._cascade)}
        of_questions = {key: grid for key in self._scored.p if key[0] in stages and (grid := self._grid(key)).size}
        grids = {
            FreeKey(*key, end): grid
            for key, grid in of_questions.items()
            for end in dict.fromkeys((*ends_of(stages[key[0]]), End.BOTH))
        }
        middle = placed(start, {FreeKey(*key): float(np.median(grid)) for key, grid in of_questions.items()})
        return max((self._climb(place, grids) for place in (dict(start), middle)), key=self.macro_f1)

    def _climb(self, start: dict[Key, Threshold], grids: Mapping[FreeKey, Array]) -> Thresholds:
        here, level = start, self.macro_f1(start)
        for _ in range(_N_SWEEPS):
            before = level
            for key, grid in grids.items():
                scores = self._along(key, grid, here)
                at = int(scores.argmax())
                if scores[at] > level + _GAIN:
                    here, level = placed(here, {key: float(grid[at])}), float(scores[at])
            if level == before:
                break
        return here

    def _along(self, key: FreeKey, grid: Array, here: Thresholds) -> Array:
        """Macro F1 at each threshold of one question, all others held; below 0 where the two are not in order."""
        stage, says = self._cascade.stage(key.stage), self._replay.all_answers(here)
        yes, no = (
            self._end(says | {stage.name: Answers.sure(np.full(self._n_rows, answer))}) for answer in (True, False)
        )
        doubt = no if stage.uncertain is None else self._end(says | {stage.name: Answers.none(self._n_rows)})
        found = np.full(grid.size, -1.0)
        for at, value in enumerate(grid):
            moved = placed(here, {key: float(value)})
            no_below, yes_from = limits_of(moved[key.key])
            if no_below <= yes_from:
                answers = self._replay.answers(stage, moved)
                found[at] = self._score(np.where(answers.of(True), yes, np.where(answers.of(False), no, doubt)))
        return found

    def _end(self, says: Mapping[str, StageAnswers]) -> Labels:
        """The label of each row, from every stage's answers; (n_rows,)."""
        return self._replay.walk({**says, **self._prior}, {}).labels

    def _score(self, labels: Labels) -> float:
        if self._truths is None:
            flat = np.bincount(self._scored.labels * self._n_labels + labels, minlength=self._n_labels**2)
            return macro_f1(flat.reshape(self._n_labels, -1))
        rows = [np.bincount(labels, weights=column, minlength=self._n_labels) for column in self._truths.T]
        return macro_f1(np.array(rows))

    def _grid(self, key: Key) -> Array:
        """Candidate thresholds: quantiles of the scores of all rows, and of the positives."""
        p = self._scored.p[key]
        asked = ~np.isnan(p)
        parts = [p[rows] for rows in (asked, asked & self._scored.is_positive(self._cascade)) if rows.any()]
        shares = np.linspace(0, 1, _N_PLACES)
        values = [np.quantile(part, shares) for part in parts]
        return np.unique(np.clip(np.concatenate(values), _LEAST, 1 - _LEAST)) if values else np.empty(0)


LEAST_TASKS = 5
"""Tasks with something to find below which even thresholds without a guarantee are refused."""

_N_DRAWS = 20  # draws of the labels; another seed moves a recall by less than a point
_SPREAD = 0.02  # distance from the target within which the search is finest


@dataclass(frozen=True, slots=True, kw_only=True)
class FewTasksResult:
    """Thresholds without a guarantee.

    Attributes:
        thresholds: Thresholds of every question; those of the prior stage are not changed.
        kept: Stages whose thresholds are not changed because the target does not depend on them.
        n_tasks: Tasks with at least one positive.
        expected: Metrics and costs that the model of labels expects; it was fitted to the same tasks.
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
        cascade: The cascade. Thresholds that the target does not depend on, and those of the prior stage, stay as they
            are; items that the prior stage settles count in all figures.
        scored: Labelled tasks.
        target: The expected metric to reach, and the cost to make small; its delta is not used. None for the highest
            macro F1 over rows.
        prices: Predicted costs of an item, if latency is made small.
        advance: Called with the share of the work that is done.
        priors: Prior probability of each row for the prior stage, NaN if a row has none; None for ``known_priors``.

    Raises:
        InputError: Fewer than ``LEAST_TASKS`` tasks have something to find, nothing can be tuned, or no thresholds are
            expected to reach the target.
    """
    chosen = next((stage for stage in cascade.stages if stage.has_values), None)
    if chosen is not None:
        msg = (
            f"Stage {chosen.name!r} of cascade {cascade.name!r} is a {chosen.kind}, and without a guarantee thresholds "
            f"are chosen for yes/no questions alone. {_with_a_guarantee(cascade, chosen)}"
        )
        raise InputError(msg)
    n_tasks = np.unique(scored.tasks[scored.is_positive(cascade)]).size
    if n_tasks < LEAST_TASKS:
        msg = (
            f"{counted(n_tasks, 'task has', 'tasks have')} something to find; even without a guarantee {LEAST_TASKS} "
            "are needed. Give more labelled tasks."
        )
        raise InputError(msg)
    target = target.of(cascade) if target is not None else None
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
    named = {key.stage for key in free}
    return FewTasksResult(
        thresholds=thresholds,
        kept=tuple(stage.name for stage in cascade.stages if stage.name not in named),
        n_tasks=n_tasks,
        expected=replay.outcome(thresholds),
        level=level,
    )


def _with_a_guarantee(cascade: Cascade, chosen: Stage) -> str:
    """What to do about a choice or score, which may have nothing to tune at all."""
    if chosen.may_be_uncertain:
        return "Tune its least confidence with a guarantee: leave --no-guarantee away."
    if chosen.cuts:
        return "Tune its cut points with a guarantee: leave --no-guarantee away."
    if not all(stage.has_values and not stage.cuts for stage in cascade.stages):
        return "Tune the others with a guarantee: leave --no-guarantee away."
    return (
        "It is never uncertain, so it has no threshold. Give it a `least_confidence` above 0 and an `uncertain`, and "
        "tune with a guarantee, without --no-guarantee."
    )


def _p_labels(cascade: Cascade, scored: ScoredTasks, priors: Array) -> Array:
    """P of each label for each row; (n_rows, n_labels).

    Rows that the prior stage labels keep their true labels: its thresholds are not chosen here, so these labels bias
    nothing. For all other rows the model of labels decides, and only those rows are used to fit it. Where uncertain
    answers lead to further stages, that is the model of the scores, theirs or those before, that tell labels better.
    """
    is_decided = decided(cascade, priors)
    asked = np.flatnonzero(~is_decided)
    if not asked.size:
        msg = "The prior stage settles every item, so nothing depends on other thresholds. Nothing can be tuned."
        raise InputError(msg)
    models = [(tree, LabelModel.fit(tree, scored.at(asked))) for tree in (cascade, *gone_further(cascade))]
    tree, model = min(models, key=lambda each: each[1].loss)
    own = np.eye(len(cascade.labels))[scored.labels]
    return np.where(is_decided[:, None], own, model.p_labels(tree, scored))


def decided(cascade: Cascade, priors: Array) -> Bools:
    """True for rows that the prior stage labels; (n_rows,).

    Args:
        cascade: The cascade.
        priors: Prior probability of each row, NaN if a row has none; (n_rows,).
    """
    stage = cascade.prior_stage
    if stage is None:
        return np.zeros(priors.size, np.bool_)
    settled = stage.answers(priors[:, None])
    return np.asarray((settled.of(False) & stage.no.is_label) | (settled.of(True) & stage.yes.is_label))


def _aimed(replay: Replay, target: TuningTarget, free: list[FreeKey], advance: Advance) -> tuple[Thresholds, float]:
    """The cheapest thresholds that reach the target on rows with drawn labels, and the metric that they reach."""
    cascade = replay.cascade
    own = own_thresholds(cascade)
    if not free:
        raise InputError(nothing_to_tune(cascade, target.metric))
    task_metric = TaskMetric(cascade, replay.scored, target.metric, target.unit)
    threshold_grid = ThresholdGrid(replay, task_metric, target.objective, own, free)
    begins = [threshold_grid.nearest(each) for each in starts(cascade, free, target.metric)]
    levels, places = best_of_each_level(threshold_grid, begins, target.level, _SPREAD, advance)
    reached = np.flatnonzero(levels >= target.level)
    thresholds = threshold_grid.at(places[int(reached[-1])]) if reached.size else own
    if not reached.size or target.is_idle(replay.outcome(thresholds)):
        prior = cascade.prior_stage
        beside = f" beside the prior stage {prior.name!r}, which is kept as it is" if prior is not None else ""
        msg = (
            f"No thresholds that keep anything are expected to reach {target.figure.one} of {target.level:g}"
            f"{beside}; the highest is {levels[0]:.3g}. Give a lower {target.figure.words}, or better questions"
            f"{', or take the prior stage away' if beside else ''}."
        )
        raise InputError(msg)
    return thresholds, float(levels[reached[-1]])
