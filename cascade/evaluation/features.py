"""Table of item features, counted: what a prior is fitted to. Pure numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cascade.items import Item
from cascade.probability import Array, Bools, Ints, p_yes
from cascade.profile import WITHOUT_SOURCE, Prior, features_of, is_evidence

LEAST_SEEN = 20
"""Items that must have a feature for it to get a column; rarer ones say more of these items than of others."""

LEAST_SHARE = 0.1
"""Share of the tasks that must have it: the words of one project say little of another."""

KEPT_SHARE = LEAST_SHARE / 2
"""The same for a table of which a part will be taken: what is common in the part alone should have its column."""

_MOST_COUNT = 255  # of one feature in one item


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """Features of items, counted as ``Prior.p_matters`` adds them up.

    Attributes:
        names: The features that occur often enough.
        counts: Number of times that each item has each feature; (items, features).
    """

    names: tuple[str, ...]
    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, items: Sequence[Item], tasks: Sequence[int], least_share: float = LEAST_SHARE) -> Self:
        """The features of items.

        Args:
            items: The items.
            tasks: Number of the task that each belongs to.
            least_share: Share of the tasks that must have a feature, in [0, 1].
        """
        found = [Counter(features_of(item)) for item in items]
        n_items = Counter(feature for counted in found for feature in counted)
        in_tasks = {(feature, task) for features, task in zip(found, tasks, strict=True) for feature in features}
        n_tasks = Counter(feature for feature, _ in in_tasks)
        least = least_share * len(set(tasks))
        names = sorted(feature for feature in n_items if n_items[feature] >= LEAST_SEEN and n_tasks[feature] >= least)
        place = {name: at for at, name in enumerate(names)}
        counts = np.zeros((len(found), len(names)), np.uint8)
        for row, features in enumerate(found):
            for feature, n in features.items():
                if feature in place:
                    counts[row, place[feature]] = min(n, _MOST_COUNT)
        return cls(names=tuple(names), counts=counts)

    def take(self, rows: Ints | Bools) -> FeatureTable:
        """Some of the items, by place or mask."""
        return FeatureTable(names=self.names, counts=self.counts[rows])

    def common(self, tasks: Ints) -> FeatureTable:
        """The features that occur often enough among these items; see ``of``.

        Args:
            tasks: Number of the task of each.
        """
        has = self.counts > 0
        numbers = np.unique(tasks, return_inverse=True)[1].ravel()
        in_task = np.zeros((numbers.max(initial=-1) + 1, len(self.names)), np.bool_)
        np.logical_or.at(in_task, numbers, has)
        chosen = (has.sum(axis=0) >= LEAST_SEEN) & (in_task.sum(axis=0) >= LEAST_SHARE * len(in_task))
        names = tuple(name for name, is_chosen in zip(self.names, chosen, strict=True) if is_chosen)
        return FeatureTable(names=names, counts=self.counts[:, chosen])

    def p_matters(self, prior: Prior) -> Array:
        """Prior probability of each item by a prior that was fitted to some of these features, in (0, 1); (items,).

        NaN for items without weighted evidence; see ``Prior.knows``.
        """
        weights = np.array([prior.weights.get(name, 0.0) for name in self.names])
        is_known = self._has([name in prior.weights and is_evidence(name) for name in self.names])
        if WITHOUT_SOURCE not in prior.weights:
            is_known &= ~self._has([name == WITHOUT_SOURCE for name in self.names])
        return np.where(is_known, p_yes(np.clip(prior.bias + self.counts @ weights, -30, 30)), np.nan)

    @property
    def is_known(self) -> Bools:
        """True for items that have evidence among the features; (items,)."""
        return self._has([is_evidence(name) for name in self.names])

    def _has(self, chosen: list[bool]) -> Bools:
        return np.asarray(self.counts[:, np.array(chosen, np.bool_)].any(axis=1))
