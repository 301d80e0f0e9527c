"""What became of all that could have become an example: counted, so that nothing is left out silently."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """An item that was drawn at random, so that rates can be estimated.

    Attributes:
        p: The probability with which it was drawn, in (0, 1].
        given: The label that the cascade gave.
        label: The true label; empty where it is not known.
        source: Who says so.
    """

    p: float
    given: str
    label: str
    source: str


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counts over all sources.

    Attributes:
        sources: What each source has, as the manifest lists it.
        judged: Label that the cascade gave -> items of the log that got it.
        labelled: The same of items whose true label is known and that can be used.
        left_out: Reason -> items that it left out.
        strange: Label that the cascade does not have -> outcomes that name it.
        corrected: Outcomes that later ones of the same source took the place of.
        redacted: Examples from which a secret was taken out.
        conflicts: Where sources differ: task, item, what each says, and what counts.
        test_differs: Items of tasks in the test part that have another label now, or that it lacks.
        questions: How questions have changed since the log was written, in words.
        drawn: Items that were drawn at random.
    """

    sources: list[dict[str, Any]] = field(default_factory=list)
    judged: Counter[str] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    strange: Counter[str] = field(default_factory=Counter)
    corrected: int = 0
    redacted: int = 0
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    test_differs: int = 0
    questions: list[str] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
