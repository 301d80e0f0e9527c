"""A task, a group and an item as lines of text: cleaned, with words of evidence marked, cut to a length. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from cascade.evidence.facts import FACTS
from cascade.items import Group, Item, Task

MARK = "#"
"""Stands right before a word of evidence in a text; in text from outside a space follows it where a word would."""

BETWEEN = " | "
"""Stands between the parts of an item's or a group's line."""

_NO_TEXT = re.compile(r"(?:[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff] ?)+")
_FACTS = frozenset(FACTS)
_LONGEST_FACT = max(map(len, FACTS))


def one_line(text: str, most: int | None = None, mark: str = "") -> str:
    """A text with each run of white space, control characters and lone surrogates (no UTF-8 has them) one space.

    Args:
        text: The text.
        most: Characters after which the line is cut; None for all of it.
        mark: A character that is broken away from a word behind it; empty for none.
    """
    return _beginning(lambda n: _clean(text[:n], mark), len(text), most)


def item_text(item: Item, most: int | None = None, mark: str = MARK) -> str:
    """An item in one line: what it is, its evidence, its signature, its documentation.

    The most telling parts come first, so that a cut takes the least.

    Args:
        item: The item.
        most: Characters after which the line is cut; None for all of it.
        mark: What stands before each word of evidence, and before no word of other text; empty for nothing.
    """
    return joined(item_lines(item, item.evidence, most, mark))[:most]


def group_text(group: Group, most: int | None = None, mark: str = MARK) -> str:
    """A group in one line: its name and its evidence; see ``item_text``."""
    return joined(group_lines(group, group.evidence, most, mark))[:most]


def seeds_text(task: Task, most: int | None = None, mark: str = "") -> str:
    """A task's seed files in one line; empty without any."""
    seeds = task.seeds
    return _beginning(lambda n: ", ".join(one_line(seed, most, mark) for seed in seeds[:n]), len(seeds), most)


def is_fact(word: str) -> bool:
    """Whether a text is a word of evidence; see ``FACTS``."""
    return len(word) <= _LONGEST_FACT and word in _FACTS


def item_lines(item: Item, evidence: Iterable[str], most: int | None, mark: str) -> tuple[str, ...]:
    """The parts of an item's line, with this evidence: what it is, evidence, signature, documentation."""
    texts = (one_line(text, most, mark) for text in (item.signature, item.doc))
    return one_line(f"{item.kind} {item.name}", most, mark), _evidence(evidence, most, mark), *texts


def group_lines(group: Group, evidence: Iterable[str], most: int | None, mark: str) -> tuple[str, ...]:
    """The parts of a group's line, with this evidence: its name, evidence."""
    return one_line(group.name, most, mark), _evidence(evidence, most, mark)


def _evidence(evidence: Iterable[str], most: int | None, mark: str) -> str:
    found, length = [], 0
    for word in evidence:
        text = mark + word if is_fact(word) else one_line(word, most, mark)
        found += [text] if text else []
        length += len(text)
        if most is not None and length >= most:
            break
    return " ".join(found)[:most]


def joined(lines: Iterable[str]) -> str:
    """The parts of a line as one, without the empty ones."""
    return BETWEEN.join(filter(None, lines))


def _clean(text: str, mark: str) -> str:
    line = " ".join(text.split())  # first, since it is quick where a text is long and has little but white space
    line = " ".join(_NO_TEXT.sub(" ", line).split())
    return re.sub(rf"{re.escape(mark)}(?=\w)", f"{mark} ", line) if mark else line


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
