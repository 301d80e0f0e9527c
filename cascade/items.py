"""What is judged: tasks, groups and items. Pure values, no behaviour beyond checks."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import NoReturn

from cascade import arguments
from cascade.errors import ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The task that items are judged for. Where only a text is at hand, a string does as well.

    Attributes:
        text: The task in plain words.
        seeds: Paths of the files that the work starts from, most important first; empty if none is known.

    Raises:
        InputError: A value is no string.
    """

    text: str
    seeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arguments.text("The text of a task", self.text)
        object.__setattr__(self, "seeds", arguments.texts("The seeds of a task", self.seeds))

    @property
    def id(self) -> str:
        """What the log knows it by: the first 32 hexadecimal digits of the SHA-256 of its text and seeds."""
        told = json.dumps([self.text, *self.seeds])
        return hashlib.sha256(told.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What several items have in common, usually the file that contains them.

    Items with equal groups share one header in the prompt, which is computed once.

    Attributes:
        name: The file's path, or any other name of the group.
        evidence: Short facts about the group, each a few plain words.

    Raises:
        InputError: A value is no string.
    """

    name: str
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arguments.text("The name of a group", self.name)
        object.__setattr__(self, "evidence", arguments.texts(f"The evidence of group {self.name!r}", self.evidence))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item that a cascade labels. Only ``id`` and ``name`` are required.

    Attributes:
        id: Unique within a request; comes back in the decision.
        kind: What it is, in a word or two, such as ``method``, ``class`` or ``type alias``.
        name: Qualified name or path.
        signature: One line: parameters of a function, bases of a class, symbols of a file.
        doc: First line of its documentation.
        text: Its source text, of any length. It is read for evidence, and by stages that say so.
        evidence: Short facts that link the item to the task, most telling first.
        group: The file that contains it; None if it stands alone.
        tiers: The retrieval tiers that found it; a stage that asks by tier asks once for each.
        priority: Order when time is short, higher first; any finite number.
        prior: Probability in [0, 1] that it matters, from the caller's own ranking; None if there is none.

    Raises:
        ItemError: The id is empty, a tier is named twice, the priority is not finite, the prior is outside [0, 1], or
            a value has another type.

    Examples:
        >>> from cascade import Group, Item
        >>> Item(
        ...     id="src/parse.py::Parser.feed",
        ...     kind="method",
        ...     name="Parser.feed",
        ...     signature="(self, text: str) -> None",
        ...     group=Group(name="src/parse.py"),
        ... ).name
        'Parser.feed'
    """

    id: str
    kind: str = "item"
    name: str
    signature: str = ""
    doc: str = ""
    text: str = field(default="", repr=False)
    evidence: tuple[str, ...] = ()
    group: Group | None = None
    tiers: tuple[str, ...] = ()
    priority: float = 0.0
    prior: float | None = None

    def __post_init__(self) -> None:
        if arguments.text("The id of an item", self.id, ItemError) == "":
            msg = f"An item named {self.name!r} has an empty id; give every item a unique id."
            raise ItemError(msg)
        for name in ("kind", "name", "signature", "doc", "text"):
            if not isinstance(getattr(self, name), str):
                self._refuse(name, "a text is needed")
        for name in ("evidence", "tiers"):
            found = arguments.texts(f"Item {self.id!r}: {name}", getattr(self, name), ItemError)
            object.__setattr__(self, name, found)
        if self.group is not None and not isinstance(self.group, Group):
            self._refuse("group", "a Group is needed, or None")
        if len(set(self.tiers)) != len(self.tiers):
            msg = f"Item {self.id!r} names a tier twice: {list(self.tiers)}; name each tier once."
            raise ItemError(msg)
        self._check_numbers()

    def _check_numbers(self) -> None:
        allowed = "a finite number is needed"
        object.__setattr__(self, "priority", arguments.number(self._of("priority"), self.priority, allowed, ItemError))
        if self.prior is not None:
            allowed = "a probability in [0, 1] is needed, or None"
            prior = arguments.number(self._of("prior"), self.prior, allowed, ItemError)
            if not 0 <= prior <= 1:
                self._refuse("prior", allowed)
            object.__setattr__(self, "prior", prior)

    def _of(self, name: str) -> str:
        return f"Item {self.id!r}: {name}"

    def _refuse(self, name: str, allowed: str) -> NoReturn:
        arguments.refuse(self._of(name), getattr(self, name), allowed, ItemError)
