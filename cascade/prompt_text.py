"""Tasks, groups and items in words, each in one line. Pure.

The beginning of a text alone decides over the beginning of its line, so a line of ``most`` characters reads no more of
a long text than that takes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from cascade.items import Group, Item, Task


def one_line(text: str, most: int | None = None) -> str:
    """A text with each run of white space, control characters and lone surrogates (no UTF-8 has them) one space.

    Args:
        text: The text.
        most: Characters after which the line is cut; None for all of it.
    """
    return _beginning(lambda n: _clean(text[:n]), len(text), most)


def item_text(item: Item, most: int | None = None) -> str:
    """An item in one line: what it is, its evidence, its signature, its documentation.

    The most telling parts come first, so that a cut takes the least.
    """
    return _joined((f"{item.kind} {item.name}", _evidence(item.evidence, most), item.signature, item.doc), most)


def group_text(group: Group, most: int | None = None) -> str:
    """A group in one line: its name and its evidence."""
    return _joined((group.name, _evidence(group.evidence, most)), most)


def seeds_text(task: Task, most: int | None = None) -> str:
    """A task's seed files in one line; empty without any."""
    seeds = task.seeds
    return _beginning(lambda n: ", ".join(one_line(seed, most) for seed in seeds[:n]), len(seeds), most)


def _evidence(facts: Sequence[str], most: int | None) -> str:
    return _beginning(lambda n: one_line(" ".join(facts[:n]), most), len(facts), most)


def _joined(parts: Sequence[str], most: int | None) -> str:
    return " | ".join(line for part in parts if (line := one_line(part, most)))[:most]


def _clean(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).split())


def _beginning(line: Callable[[int], str], n_all: int, most: int | None) -> str:
    """The first ``most`` characters of a line.

    Args:
        line: What the first so many parts make: the beginning of what more of them make.
        n_all: How many parts there are.
        most: Characters after which the line is cut; None for all of it.
    """
    if most is None:
        return line(n_all)
    n = 2 * most
    while len(found := line(n)) < most and n < n_all:
        n *= 2
    return found[:most]
