"""A tokenizer for tests: one token a character, and a few special tokens, those of facts among them on demand."""

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


class CharTokenizer:
    """Encodes a special token as its place in ``SPECIALS`` and any other character behind them.

    Attributes:
        words: Texts that are one token each, as the labels of a real model are.
        facts: Words of evidence that are special tokens, such as ``<|seed|>``.
    """

    def __init__(self, words: Sequence[str] = ("yes", "no"), facts: Sequence[str] = ()) -> None:
        self.words = tuple(words)
        self.facts = tuple(facts)
        self._table = (*SPECIALS, *self.words, *(f"<|{fact}|>" for fact in facts))
        self._special = frozenset(self._table) - frozenset(words)
        self._first_char = len(self._table)
        self._parts = re.compile(f"({'|'.join(map(re.escape, self._special))})")

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``Tokenizer.encode``."""
        if text in self.words:
            return [len(SPECIALS) + self.words.index(text)]
        parts = self._parts.split(text) if special else [text]
        tokens: list[int] = []
        for part in parts:
            if special and part in self._special:
                tokens.append(self._table.index(part))
            else:
                tokens += [self._first_char + ord(char) for char in part]
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of token ids, those of special tokens included."""
        first = self._first_char
        return "".join(self._table[token] if token < first else chr(token - first) for token in tokens)

    def said(self, tokens: Iterable[int]) -> list[str]:
        """The facts among token ids that are tokens of their own, in order."""
        first = len(SPECIALS) + len(self.words)
        return [self.facts[token - first] for token in tokens if first <= token < self._first_char]

    @staticmethod
    def specials(tokens: Iterable[int]) -> list[str]:
        """The special tokens among token ids, in order."""
        return [SPECIALS[token] for token in tokens if token < len(SPECIALS)]
