"""How often each item has each fact, as an array: what a prior is fitted to. Pure numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cascade.items import Item
from cascade.outlook import Prior, facts_of, is_evidence
from cascade.scoring import p_yes

LEAST_SEEN = 20
"""Items that must have a fact for it to get a column; rarer ones say more of these items than of others."""

LEAST_SHARE = 0.1
"""Share of the tasks that must have it: the words of one project say little of another."""

_MOST_COUNT = 255  # of one fact in one item


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTable:
    """Facts of items, counted as ``Prior.p_matters`` adds them up.

    Attributes:
        names: The facts that are seen often enough.
        counts: How often each item has each; (items, facts).
    """

    names: tuple[str, ...]
    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, items: Sequence[Item], tasks: Sequence[int]) -> Self:
        """The facts of items.

        Args:
            items: The items.
            tasks: Number of the task that each belongs to.
        """
        found = [Counter(facts_of(item)) for item in items]
        n_items = Counter(fact for facts in found for fact in facts)
        in_tasks = {(fact, task) for facts, task in zip(found, tasks, strict=True) for fact in facts}
        n_tasks = Counter(fact for fact, _ in in_tasks)
        least = LEAST_SHARE * len(set(tasks))
        names = sorted(fact for fact in n_items if n_items[fact] >= LEAST_SEEN and n_tasks[fact] >= least)
        place = {name: at for at, name in enumerate(names)}
        counts = np.zeros((len(found), len(names)), np.uint8)
        for row, facts in enumerate(found):
            for fact, n in facts.items():
                if fact in place:
                    counts[row, place[fact]] = min(n, _MOST_COUNT)
        return cls(names=tuple(names), counts=counts)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> FactTable:
        """Some of the items, by place or mask."""
        return FactTable(names=self.names, counts=self.counts[rows])

    def p_matters(self, prior: Prior) -> NDArray[np.float64]:
        """What a prior that was fitted to these facts says of each item, in (0, 1); NaN where ``is_known`` is not."""
        weights = np.array([prior.weights.get(name, 0.0) for name in self.names])
        return np.where(self.is_known, p_yes(np.clip(prior.bias + self.counts @ weights, -30, 30)), np.nan)

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Whether each item has evidence among the facts, as ``Prior.knows`` says; (items,)."""
        return np.asarray(self.counts[:, [is_evidence(name) for name in self.names]].any(axis=1))
