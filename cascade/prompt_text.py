"""Tasks, groups and items in words, each in one line. Pure."""

from __future__ import annotations

import re

from cascade.items import Group, Item, Task


def one_line(text: str) -> str:
    """A text with each run of white space, control characters and lone surrogates (no UTF-8 has them) one space."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).split())


def item_text(item: Item) -> str:
    """An item in one line: what it is, its evidence, its signature, its documentation.

    The most telling parts come first, so that a cut takes the least.
    """
    return _joined(f"{item.kind} {item.name}", " ".join(item.evidence), item.signature, item.doc)


def group_text(group: Group) -> str:
    """A group in one line: its name and its evidence."""
    return _joined(group.name, " ".join(group.evidence))


def seeds_text(task: Task) -> str:
    """A task's seed files in one line; empty without any."""
    return ", ".join(one_line(seed) for seed in task.seeds)


def _joined(*parts: str) -> str:
    return " | ".join(line for part in parts if (line := one_line(part)))
