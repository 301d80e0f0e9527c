"""What is judged: tasks, groups and items. Pure values, no behaviour beyond checks."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cascade.errors import ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What somebody wants done.

    Attributes:
        text: The task in plain words.
        seeds: Paths of the files the work starts from; empty when none is known.
    """

    text: str
    seeds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What several items have in common, most often the file that holds them.

    Items whose groups are equal share one header in the prompt, computed once.

    Attributes:
        name: The file's path, or any other name of the group.
        evidence: Short facts about the group, each a few plain words.
    """

    name: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One candidate that a cascade labels.

    Attributes:
        id: Unique within a request; comes back in the decision.
        kind: What it is, in a word or two, such as ``method``, ``class`` or ``type alias``.
        name: Qualified name or path.
        signature: One line: parameters of a function, bases of a class, symbols of a file.
        doc: First line of its documentation.
        evidence: Short facts that tie the item to the task, most telling first.
        group: The file it stands in; None when it stands alone.
        tiers: The retrieval tiers that found it; a stage with adapters by tier asks once per tier.
        priority: Order when time is short, higher first; any finite number.
        prior: Probability in [0, 1] that it matters, from the caller's own ranking; None where there is none.

    Raises:
        ItemError: The id is empty, a tier is named twice, the priority is not finite or the prior outside [0, 1].
    """

    id: str
    kind: str = "item"
    name: str
    signature: str = ""
    doc: str = ""
    evidence: tuple[str, ...] = ()
    group: Group | None = None
    tiers: tuple[str, ...] = ()
    priority: float = 0.0
    prior: float | None = None

    def __post_init__(self) -> None:
        if not self.id:
            msg = f"An item named {self.name!r} has an empty id; give every item a unique id."
            raise ItemError(msg)
        if len(set(self.tiers)) != len(self.tiers):
            msg = f"Item {self.id!r} names a tier twice: {list(self.tiers)}; name each tier once."
            raise ItemError(msg)
        if not math.isfinite(self.priority):
            msg = f"Item {self.id!r} has priority {self.priority}; a finite number is needed."
            raise ItemError(msg)
        if self.prior is not None and not 0 <= self.prior <= 1:
            msg = f"Item {self.id!r} has prior {self.prior}; a probability in [0, 1] is needed, or None."
            raise ItemError(msg)
