"""How long texts from outside may be in a prompt. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cascade.arguments import refuse, whole

LONGEST_TOKEN = 512  # characters, with room to spare


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most tokens of each text from outside; longer texts are cut at their end.

    A text is first cut to 512 characters for each of these tokens, so that a text of megabytes costs no more than its
    beginning. The longest tokens of a vocabulary have about 128 characters.

    Attributes:
        task: Most tokens of the task's text.
        seed: Most tokens of the seed files' paths.
        group: Most tokens of a group's name and evidence.
        item: Most tokens of an item's text.

    Raises:
        InputError: A value is not a whole number of at least 1.
    """

    task: int = 128
    seed: int = 32
    group: int = 48
    item: int = 72

    def __post_init__(self) -> None:
        for name in ("task", "seed", "group", "item"):
            value = getattr(self, name)
            if whole(value) is None:
                refuse(f"Limits: {name}", value, "a whole number of tokens from 1 on is needed")

    def characters(self, slot: str) -> int:
        """Most characters of what fills a slot."""
        return LONGEST_TOKEN * int(getattr(self, slot))
