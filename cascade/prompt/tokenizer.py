"""What a model turns text into tokens with, and what of a vocabulary prompts need. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from cascade.evidence.facts import FACTS


class Tokenizer(Protocol):
    """What a model turns text into; a backend brings one."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; with ``special`` the texts of special tokens become those tokens.

        Without it no special token may come out, whatever the text holds.
        """


def fact_tokens(template: str, tokenizer: Tokenizer) -> dict[str, int]:
    """The words of evidence that are special tokens of a vocabulary, with those tokens."""
    found = {}
    for fact in FACTS if template else ():
        text = template.format(fact=fact)
        tokens = tokenizer.encode(text, special=True)
        if len(tokens) == 1 and tokenizer.encode(text, special=False) != tokens:
            found[fact] = tokens[0]
    return found


def last_place(sought: Sequence[int], tokens: Sequence[int]) -> int | None:
    """Index in ``tokens`` at which ``sought`` stands for the last time; None where it does not."""
    starts = range(len(tokens) - len(sought), -1, -1)
    return next((start for start in starts if tuple(tokens[start : start + len(sought)]) == tuple(sought)), None)
