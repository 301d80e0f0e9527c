"""Thresholds of a whole cascade from few labelled tasks: the best under a model of their labels. Pure numpy.

Too few tasks to test on carry no promise. What can be done is to choose all thresholds at once and not to follow the
accidents of few rows: they are chosen on what ``LabelModel`` says of the rows' labels, not on the labels themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.errors import InputError
from cascade.tree import Cascade
from cascade.tuning.label_model import LabelModel, with_drawn_labels
from cascade.tuning.label_search import LabelReplay
from cascade.tuning.outcome import Outcome, Replay, Thresholds, deciding
from cascade.tuning.scored import ScoredTasks
from cascade.tuning.search import Wish, find_path

LEAST_TASKS = 5
"""Tasks with something to find below which even a fallback is refused."""

_N_ROWS = 40_000  # rows with drawn labels; enough that another seed moves a recall by less than a point


@dataclass(frozen=True, slots=True, kw_only=True)
class Fallback:
    """Thresholds without a guarantee.

    Attributes:
        thresholds: Of every question.
        kept: Stages whose thresholds are those of before, since what was asked for does not depend on them.
        n_tasks: Tasks with something to find.
        expected: What the model expects of them; it was fitted to the same tasks.
        macro_f1: The macro F1 that it expects, in [0, 1].
    """

    thresholds: Thresholds
    kept: tuple[str, ...]
    n_tasks: int
    expected: Outcome
    macro_f1: float


def fallback(cascade: Cascade, scored: ScoredTasks, wish: Wish | None = None) -> Fallback:
    """The best thresholds under a model of labels; a prior stage is passed over.

    Args:
        cascade: Its own thresholds stay where nothing depends on them.
        scored: Labelled tasks.
        wish: The recall that the model is to expect, and what is made small under it; its delta means nothing here.
            None for the highest macro F1.

    Raises:
        InputError: Fewer than ``LEAST_TASKS`` tasks have something to find, or nothing can be tuned.
    """
    n_tasks = np.unique(scored.tasks[scored.kept(cascade)]).size
    if n_tasks < LEAST_TASKS:
        msg = (
            f"{n_tasks} tasks have something to find; even without a guarantee {LEAST_TASKS} are needed. Give more "
            "labelled tasks."
        )
        raise InputError(msg)
    p_labels = LabelModel.fit(cascade, scored).p_labels(cascade, scored)
    drawn = with_drawn_labels(scored, p_labels, max(1, _N_ROWS // scored.labels.size))
    labels = LabelReplay(cascade, scored, p_labels)
    replay = Replay(cascade, drawn)
    kept: tuple[str, ...] = ()
    if wish is None:
        thresholds = labels.best(_own(cascade))
    else:
        path = find_path(cascade, drawn, wish)
        enough = [at for at, level in enumerate(path) if replay.outcome(level).recall >= wish.recall]
        thresholds = path[enough[-1] if enough else 0]
        kept = tuple(stage.name for stage in cascade.stages if stage not in deciding(cascade))
    return Fallback(
        thresholds=thresholds,
        kept=kept,
        n_tasks=n_tasks,
        expected=replay.outcome(thresholds),
        macro_f1=labels.macro_f1(thresholds),
    )


def _own(cascade: Cascade) -> Thresholds:
    return {(stage.name, tier): asked.threshold for stage in cascade.stages for tier, asked in stage.questions.items()}
