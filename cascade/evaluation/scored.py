"""Labelled tasks with p(yes) of every stage for every item, as arrays. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.evaluation.features import FeatureTable
from cascade.probability import Array, Bools, Ints
from cascade.stages import Answer, Stage
from cascade.tree import Cascade

Key = tuple[str, str]
"""Name of a stage, and of a tier of it; ``ANY_TIER`` where it does not ask by tier. Probabilities of a choice or score
have the value in place of the tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTasks:
    """Items of labelled tasks; a row is an item, and all arrays have one entry a row.

    Attributes:
        tasks: Number of the task, 0..n_tasks - 1.
        labels: The true label, as its place in the cascade's labels.
        p: (stage, tier) -> raw p(yes) in [0, 1]; NaN where the item is not asked in that tier.
        n_tasks: How many tasks there are, those without items included.
        slices: "kind" or "repository" -> its value for each row; empty if unknown.
        priors: The caller's own p that the item matters, in [0, 1]; NaN where there is none. None for all NaN.
        features: Features of each item for a prior; None if there are none.
    """

    tasks: Ints
    labels: Ints
    p: Mapping[Key, Array]
    n_tasks: int
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    priors: Array | None = None
    features: FeatureTable | None = None

    def fits(self, cascade: Cascade) -> bool:
        """True if the arrays have matching shapes and types and belong to a cascade; arrays of a file may not."""
        n = self.tasks.size
        arrays: list[tuple[NDArray[Any], str]] = [(self.tasks, "i"), (self.labels, "i")]
        arrays += [(values, "f") for values in self.p.values()] + [(values, "U") for values in self.slices.values()]
        arrays += [(self.priors, "f")] if self.priors is not None else []
        features = self.features
        if any(array.shape != (n,) or array.dtype.kind != kind for array, kind in arrays):
            return False
        if features is not None and (
            features.counts.shape != (n, len(features.names)) or features.counts.dtype != np.uint8
        ):
            return False
        p = [*self.p.values(), *([self.priors] if self.priors is not None else [])]
        return (
            set(self.p) == {(stage.name, column) for stage in cascade.stages for column in stage.columns}
            and _are_below(self.tasks, self.n_tasks)
            and _are_below(self.labels, len(cascade.labels))
            and all(bool((np.isnan(values) | ((values >= 0) & (values <= 1))).all()) for values in p)
        )

    def take(self, chosen: Ints) -> ScoredTasks:
        """Some of the tasks, numbered anew in the order given."""
        numbers = np.full(self.n_tasks, -1, np.int64)
        numbers[chosen] = np.arange(chosen.size)
        found = self.at(np.flatnonzero(numbers[self.tasks] >= 0))
        return replace(found, tasks=numbers[found.tasks], n_tasks=chosen.size)

    def at(self, rows: Ints) -> ScoredTasks:
        """Some of the rows; tasks keep their numbers."""
        return replace(
            self,
            tasks=self.tasks[rows],
            labels=self.labels[rows],
            p={key: values[rows] for key, values in self.p.items()},
            slices={name: values[rows] for name, values in self.slices.items()},
            priors=self.priors[rows] if self.priors is not None else None,
            features=self.features.take(rows) if self.features is not None else None,
        )

    def is_positive(self, cascade: Cascade) -> Bools:
        """True for rows that matter: their true label is not the dropped one; (n,)."""
        return np.asarray(self.labels != cascade.labels.index(cascade.dropped))

    def of_stage(self, stage: Stage) -> Array:
        """The probabilities of a stage, by its ``columns``; (n, columns)."""
        return np.stack([self.p[stage.name, column] for column in stage.columns], axis=1)

    def truths(self, cascade: Cascade, stage: str) -> Ints:
        """A stage's true answer for each row: 1, 0, or -1 where the label does not decide it.

        Of a choice or score it is the answer's place among the sure ones.
        """
        true_answers = cascade.true_answers()
        sure = cascade.stage(stage)
        places: dict[Answer, int] = {True: 1, False: 0}
        if sure.has_values:
            places = {answer: at for at, answer in enumerate(sure.sure_ways)}
        by_label = [places.get(true_answers[label].get(stage), -1) for label in cascade.labels]
        return np.array(by_label, np.int64)[self.labels]


def _are_below(numbers: NDArray[Any], end: int) -> bool:
    """True if all numbers are in 0..end - 1."""
    return bool(((numbers >= 0) & (numbers < end)).all())
