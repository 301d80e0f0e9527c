"""Labelled tasks that are given more than once, each of which must count once: copies make no new evidence.

Two tasks are the same where the model reads the same of them: their text, their starting files, and their items, in any
order. What only programs read is left aside: ids, repositories, priorities and the caller's priors. Two that are the
same are equal where their items have equal labels, and contradict each other where they do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cascade.evaluation.dataset import Labelled
from cascade.items import Item, Task
from cascade.prompt import group_text, item_text, one_line, seeds_text

Pair = tuple[Labelled, Labelled]
"""A task, and an earlier one that it is held against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distinct:
    """Labelled tasks, each once.

    Attributes:
        tasks: The first of those that are equal, and all others, in their order.
        repeated: Tasks that are left out, each with the one that it is equal to.
        contradicting: Tasks that are the same as an earlier one, with other labels; they are among ``tasks``.
        overlapping: Tasks with the text and the starting files of an earlier one and some of its items; likewise.
    """

    tasks: tuple[Labelled, ...]
    repeated: tuple[Pair, ...] = ()
    contradicting: tuple[Pair, ...] = ()
    overlapping: tuple[Pair, ...] = ()


def distinct(tasks: Sequence[Labelled]) -> Distinct:
    """Labelled tasks without copies; tasks without items are left as they are."""
    kept: list[Labelled] = []
    repeated, contradicting, overlapping = list[Pair](), list[Pair](), list[Pair]()
    equal, same, alike = dict[str, Labelled](), dict[str, Labelled](), dict[str, Labelled]()
    for labelled in tasks:
        if not labelled.items:
            kept.append(labelled)
            continue
        whole = _digest(labelled, is_labelled=True)
        if whole in equal:
            repeated.append((labelled, equal[whole]))
            continue
        equal[whole] = labelled
        kept.append(labelled)
        first, like = (
            same.setdefault(_digest(labelled), labelled),
            alike.setdefault(read_of_task(labelled.task), labelled),
        )
        if first is not labelled:
            contradicting.append((labelled, first))
        elif like is not labelled and set(map(read_of_item, labelled.items)) & set(map(read_of_item, like.items)):
            overlapping.append((labelled, like))
    return Distinct(
        tasks=tuple(kept),
        repeated=tuple(repeated),
        contradicting=tuple(contradicting),
        overlapping=tuple(overlapping),
    )


def fingerprint(labelled: Labelled) -> str:
    """16 hex digits that are alike for tasks that are the same, whatever their labels."""
    return _digest(labelled)[:16]


def contradiction(pair: Pair) -> tuple[Item, str, str]:
    """An item of two tasks that contradict each other: its label in the later one, and in the earlier one."""
    later, earlier = (sorted(_rows(labelled), key=lambda row: row[:2]) for labelled in pair)
    for (_, label, item), (_, other, _) in zip(later, earlier, strict=True):
        if label != other:
            return item, label, other
    msg = "the two tasks do not contradict each other"
    raise ValueError(msg)


def _digest(labelled: Labelled, *, is_labelled: bool = False) -> str:
    items = sorted([text, label if is_labelled else ""] for text, label, _ in _rows(labelled))
    return hashlib.sha256(json.dumps([read_of_task(labelled.task), items]).encode()).hexdigest()


def _rows(labelled: Labelled) -> list[tuple[str, str, Item]]:
    """What the model reads of each item, its label, and the item."""
    return [(read_of_item(item), label, item) for item, label in zip(labelled.items, labelled.labels, strict=True)]


def read_of_task(task: Task) -> str:
    """What the model reads of a task before its items."""
    return json.dumps([one_line(task.text), seeds_text(task)])


def read_of_item(item: Item) -> str:
    """What the model reads of an item, and the tiers that decide what it is asked."""
    text = [one_line(item.text)] if item.text else []
    return json.dumps([item_text(item), group_text(item.group) if item.group else "", sorted(item.tiers), *text])
