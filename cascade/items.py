"""What is judged: tasks, groups and items. Pure values, no behaviour beyond checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from cascade import arguments
from cascade.errors import ItemError


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What somebody wants done.

    Attributes:
        text: The task in plain words.
        seeds: Paths of the files the work starts from; empty when none is known.

    Raises:
        InputError: A value is no text.
    """

    text: str
    seeds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arguments.text("The text of a task", self.text)
        object.__setattr__(self, "seeds", arguments.texts("The seeds of a task", self.seeds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What several items have in common, most often the file that holds them.

    Items whose groups are equal share one header in the prompt, computed once.

    Attributes:
        name: The file's path, or any other name of the group.
        evidence: Short facts about the group, each a few plain words.

    Raises:
        InputError: A value is no text.
    """

    name: str
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        arguments.text("The name of a group", self.name)
        object.__setattr__(self, "evidence", arguments.texts(f"The evidence of group {self.name!r}", self.evidence))


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
        ItemError: The id is empty, a tier is named twice, the priority is not finite, the prior outside [0, 1], or a
            value of another type.
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
        if arguments.text("The id of an item", self.id, ItemError) == "":
            msg = f"An item named {self.name!r} has an empty id; give every item a unique id."
            raise ItemError(msg)
        for name in ("kind", "name", "signature", "doc"):
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
