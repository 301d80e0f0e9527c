"""The value of each stage: the cascade with it, against its likelier answer without asking. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from cascade.audit.rates import LEVEL
from cascade.evaluation.metrics import macro_f1, recall_over_rows
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import Ints
from cascade.stages import Answer, Stage
from cascade.tree import Cascade

N_RESAMPLES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class StageValue:
    """One stage.

    Attributes:
        stage: Its name.
        likelier: The answer that is taken for every item where it is dropped: the commoner true one.
        macro_f1_over_rows: Of the whole cascade, in [0, 1].
        macro_f1_over_rows_without: With the stage dropped.
        gain: The difference.
        gain_low: Lower end of the gain's 95 % interval, from tasks drawn anew.
        gain_high: Upper end.
        recall_over_rows: Share of all that matters that the whole cascade keeps, in [0, 1]; None where nothing matters.
        recall_over_rows_without: With the stage dropped.
        handed_on: Share of all items that the whole cascade hands on, in [0, 1].
        handed_on_without: With the stage dropped.
        calls_per_item: Queries per item of the whole cascade.
        calls_per_item_without: With the stage dropped.
        n_tasks: Tasks with an item whose true answer to it is known.
    """

    stage: str
    likelier: Answer
    macro_f1_over_rows: float
    macro_f1_over_rows_without: float
    gain: float
    gain_low: float
    gain_high: float
    recall_over_rows: float | None
    recall_over_rows_without: float | None
    handed_on: float
    handed_on_without: float
    calls_per_item: float
    calls_per_item_without: float
    n_tasks: int


def stage_values(replay: Replay, seed: int) -> list[StageValue]:
    """The value of every stage whose true answer is known for some item, at the cascade's thresholds.

    Args:
        replay: The cascade on its scores, with the prior probabilities for its prior stage.
        seed: Seed of the bootstrap over tasks.
    """
    cascade, scored = replay.cascade, replay.scored
    weights, columns = _resamples(scored, seed), _Columns.of(cascade)
    whole, calls = _run(replay, {})
    found = []
    for stage in cascade.stages:
        truths = scored.truths(cascade, stage.name)
        if not (truths >= 0).any():
            continue
        likelier = _commonest(stage, truths[truths >= 0])
        without, calls_without = _run(replay, {stage.name: likelier})
        gains = [_f1(whole, row) - _f1(without, row) for row in weights]
        one = np.ones(scored.n_tasks, np.int64)
        low, high = np.quantile(gains, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        found.append(
            StageValue(
                stage=stage.name,
                likelier=likelier,
                macro_f1_over_rows=_f1(whole, one),
                macro_f1_over_rows_without=_f1(without, one),
                gain=_f1(whole, one) - _f1(without, one),
                gain_low=float(low),
                gain_high=float(high),
                recall_over_rows=_recall(whole, columns),
                recall_over_rows_without=_recall(without, columns),
                handed_on=_handed_on(whole, columns),
                handed_on_without=_handed_on(without, columns),
                calls_per_item=calls,
                calls_per_item_without=calls_without,
                n_tasks=np.unique(scored.tasks[truths >= 0]).size,
            )
        )
    return found


def _resamples(scored: ScoredTasks, seed: int) -> Ints:
    """The number of times that each task is drawn; (N_RESAMPLES, n_tasks)."""
    shares = np.full(scored.n_tasks, 1 / scored.n_tasks)
    return np.random.default_rng(seed).multinomial(scored.n_tasks, shares, N_RESAMPLES)


def _f1(confusions: Ints, weights: Ints) -> float:
    return macro_f1(np.asarray(np.tensordot(weights, confusions, 1), np.int64))


class _Columns(NamedTuple):
    """Places of labels: that of what is dropped, and those of what is handed on."""

    dropped: int
    handed_on: list[int]

    @classmethod
    def of(cls, cascade: Cascade) -> Self:
        place = cascade.labels.index
        return cls(place(cascade.dropped), [place(label) for label in cascade.handed_on])


def _recall(confusions: Ints, columns: _Columns) -> float | None:
    found = recall_over_rows(confusions.sum(axis=0), *columns)
    return None if np.isnan(found) else found


def _handed_on(confusions: Ints, columns: _Columns) -> float:
    return float(confusions[:, :, columns.handed_on].sum() / confusions.sum())


def _commonest(stage: Stage, truths: Ints) -> Answer:
    """The true answer of most rows; yes where as many are no."""
    if not stage.has_values:
        return bool(truths.mean() >= 1 / 2)
    return list(stage.sure_ways)[int(np.bincount(truths).argmax())]


def _run(replay: Replay, taken: Mapping[str, Answer]) -> tuple[Ints, float]:
    """Each task's confusion matrix, (n_tasks, labels, labels), and queries per item.

    Args:
        replay: Of the cascade and its scores.
        taken: Stage -> the answer that it gives to every item, unasked.
    """
    scored, size = replay.scored, len(replay.cascade.labels)
    thresholds = own_thresholds(replay.cascade)
    given = {name: replay.cascade.stage(name).always(answer, scored.tasks.size) for name, answer in taken.items()}
    calls = {name: cost for name, cost in replay.calls().items() if name not in taken}
    walk = replay.walk({**replay.all_answers(thresholds), **given}, calls)
    places = (scored.tasks * size + scored.labels) * size + walk.labels
    counts = np.bincount(places, minlength=scored.n_tasks * size * size)
    return counts.reshape(scored.n_tasks, size, size), float(walk.costs.mean())
