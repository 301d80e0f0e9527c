"""What every item of scored tasks is given and asked, at a cascade's own thresholds. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.expectation import Expectation
from cascade.stage import Target
from cascade.tuning.outcome import Bools, Replay, own_thresholds

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """Rows as a cascade leaves them.

    Attributes:
        labels: The label given, as its place in the cascade's labels; (n,).
        calls: Probes; (n,).
        answers: Stage -> its answer to each row; (n,).
        reached: Stage -> whether each row was asked it; (n,).
    """

    labels: Ints
    calls: Ints
    answers: dict[str, Bools]
    reached: dict[str, Bools]

    def confusion(self, truths: Ints, n_labels: int) -> Ints:
        """Rows are truths, columns answers; (n_labels, n_labels)."""
        counts = np.bincount(truths * n_labels + self.labels, minlength=n_labels**2)
        return np.asarray(counts.reshape(n_labels, n_labels), np.int64)


def replay(run: Replay, depth: int | None = None) -> Replayed:
    """Run a cascade on scores that are there already, at its own thresholds.

    Args:
        run: The cascade with its scores, and what its prior stage goes by for each row.
        depth: Stages after which items stop, with the label that is likeliest where they stand; None for no limit.
    """
    cascade, n = run.cascade, run.scored.tasks.size
    stages, places = cascade.in_order(), {label: at for at, label in enumerate(cascade.labels)}
    thresholds, cost = own_thresholds(cascade), run.calls()
    expected, settled, prior = Expectation(cascade), run.settled(thresholds), cascade.prior_stage
    here = {stage.name: np.zeros(n, np.bool_) for stage in stages}
    labels, calls, n_passed = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)

    def lead(rows: Bools, target: Target) -> None:
        if target.is_label:
            labels[rows] = places[target.name]
        else:
            here[target.name] |= rows

    here[cascade.first.name][:] = True
    if prior is not None and settled is not None:
        here[cascade.first.name] &= ~(settled[0] | settled[1])
        for rows, target in zip(settled, (prior.no, prior.yes), strict=True):
            lead(rows, target)
    answers = {}
    for stage in stages:
        if depth is not None:
            stops = here[stage.name] & (n_passed >= depth)
            labels[stops] = places[expected.likeliest(stage)[0]]
            here[stage.name] &= ~stops
        rows, yes = here[stage.name], run.answers(stage, thresholds)
        calls[rows] += cost[stage.name][rows].astype(np.int64)
        n_passed[rows] += 1
        answers[stage.name] = yes
        lead(rows & yes, stage.yes)
        lead(rows & ~yes, stage.no)
    return Replayed(labels=labels, calls=calls, answers=answers, reached=here)
