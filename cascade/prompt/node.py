"""Nodes: the segments that prompts are paths of. Pure."""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from cascade.items import Group, Item, Task
from cascade.prompt.limits import Limits
from cascade.prompt.lines import MARK, group_text, item_text, one_line, seeds_text

_CHARACTERS = 4  # of a token, where a text is told in words


class Segment(StrEnum):
    """The levels of the trie, in order."""

    TASK = "task"
    GROUP = "group"
    ITEM = "item"
    TEXT = "text"
    QUESTION = "question"


@dataclass(frozen=True, eq=False)
class Node:
    """One segment of a prompt below its parent; two nodes are equal only if they are the same.

    Attributes:
        parent: The node above; None for a task.
        segment: Its level.
        tokens: Token ids of this segment alone, never empty.
        told: What it tells of; None for a question.
        limits: How long the texts of that may be.
        n_read: Tokens of its text, those that text nodes above it have of the same one included; 0 for a question.
        n_cut: Tokens of its text behind those, as far as they were counted.
        is_longer: Whether its text goes on behind what was counted.
    """

    parent: Node | None
    segment: Segment
    tokens: tuple[int, ...]
    told: Task | Group | Item | None = None
    limits: Limits | None = None
    n_read: int = 0
    n_cut: int = 0
    is_longer: bool = False

    @cached_property
    def start(self) -> int:
        """Position of the first token: the number of tokens on the path above."""
        return self.parent.end if self.parent else 0

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.tokens)

    @cached_property
    def text(self) -> str:
        """What it says in words, without the template, with ``MARK`` before words of evidence; empty for a question.

        Of an item's text that is cut it is the beginning, four characters for each token.
        """
        if self.segment is Segment.TEXT and isinstance(self.told, Item):
            return one_line(self.told.text, _CHARACTERS * self.n_read if self.n_cut else None, MARK)
        most = self.limits.characters(self.segment) if self.limits else None
        match self.told:
            case Item():
                return item_text(self.told, most)
            case Group():
                return group_text(self.told, most)
            case Task():
                return one_line(self.told.text, most, MARK)
        return ""

    @cached_property
    def seeds(self) -> str:
        """Of a task, its seed files in words, with ``MARK`` before no word; empty without any."""
        most = self.limits.characters("seed") if self.limits else None
        return seeds_text(self.told, most, MARK) if isinstance(self.told, Task) else ""

    @cached_property
    def path(self) -> tuple[Node, ...]:
        """From the task down to this node."""
        return (*self.parent.path, self) if self.parent else (self,)

    @property
    def is_path_cut(self) -> bool:
        """Whether a text on the path below the task is cut."""
        return any(node.n_cut for node in self.path[1:])

    @cached_property
    def digest(self) -> bytes:
        """Equal for two nodes only if all tokens from the start to their ends are, and divided alike; 32 bytes."""
        above = self.parent.digest if self.parent else b""
        return hashlib.blake2b(above + array("q", self.tokens).tobytes(), digest_size=32).digest()

    @property
    def prompt(self) -> tuple[int, ...]:
        """All token ids from the start to the end of this node."""
        return tuple(token for node in self.path for token in node.tokens)
