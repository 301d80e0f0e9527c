"""A tokenizer for tests: one token a character, and a few special tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

SPECIALS = (
    "<|task|>",
    "<|group|>",
    "<|item|>",
    "<|ask|>",
    "<|im_start|>",
    "<|im_end|>",
    "<think>",
    "</think>",
)
"""Texts of the special tokens; a special token's id is its place here."""

_PARTS = re.compile(f"({'|'.join(map(re.escape, SPECIALS))})")


class CharTokenizer:
    """Encodes a special token as its place in ``SPECIALS`` and any other character behind them.

    Attributes:
        words: Texts that are one token each, as the labels of a real model are.
    """

    def __init__(self, words: Sequence[str] = ("yes", "no")) -> None:
        self.words = tuple(words)
        self._first_char = len(SPECIALS) + len(self.words)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``Tokenizer.encode``."""
        if text in self.words:
            return [len(SPECIALS) + self.words.index(text)]
        parts = _PARTS.split(text) if special else [text]
        tokens: list[int] = []
        for part in parts:
            if special and part in SPECIALS:
                tokens.append(SPECIALS.index(part))
            else:
                tokens += [self._first_char + ord(char) for char in part]
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, those of special tokens included."""
        table = (*SPECIALS, *self.words)
        return "".join(table[token] if token < self._first_char else chr(token - self._first_char) for token in tokens)

    @staticmethod
    def specials(tokens: Iterable[int]) -> list[str]:
        """The special tokens among token ids, in order."""
        return [SPECIALS[token] for token in tokens if token < len(SPECIALS)]
