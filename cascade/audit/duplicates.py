"""The same item under the same task, labelled twice: where the labels differ, one of them is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cascade.rows import Labelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicates:
    """Items that stand more than once in the data.

    Attributes:
        n: (task text, seeds, item id) that stand more than once.
        n_differing: Those whose labels differ.
        n_wrong: Labels that must be wrong, whatever is true: all but the commonest of each.
    """

    n: int
    n_differing: int
    n_wrong: int


def duplicates(tasks: Sequence[Labelled]) -> Duplicates:
    """Count them."""
    labels: dict[tuple[str, tuple[str, ...], str], list[str]] = defaultdict(list)
    for labelled in tasks:
        for item, label in zip(labelled.items, labelled.labels, strict=True):
            labels[labelled.task.text, labelled.task.seeds, item.id].append(label)
    again = [found for found in labels.values() if len(found) > 1]
    wrong = [len(found) - max(found.count(label) for label in set(found)) for found in again]
    return Duplicates(n=len(again), n_differing=sum(n > 0 for n in wrong), n_wrong=sum(wrong))
