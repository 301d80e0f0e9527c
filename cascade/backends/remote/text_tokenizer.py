"""Prompts as text, for servers whose model is not at hand: a "token" is three characters, and can be read back."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LENGTH = 3
_BITS = 21  # of a code point


class TextTokenizer:
    """Behind the ``Tokenizer`` protocol.

    Special tokens are not known here. In the models of our prompt formats their texts begin with "<", so text from
    outside gets a space behind each "<" that has none.
    """

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``cascade.prompt.Tokenizer``."""
        if not special:
            text = re.sub(r"<(?=\S)", "< ", text)
        return [_packed(text[at : at + _LENGTH]) for at in range(0, len(text), _LENGTH)]

    @staticmethod
    def decode(tokens: Sequence[int]) -> str:
        """The text of token ids."""
        return "".join(_unpacked(token) for token in tokens)


def _packed(part: str) -> int:
    return sum((ord(char) + 1) << _BITS * at for at, char in enumerate(part))


def _unpacked(token: int) -> str:
    chars = []
    while token:
        chars.append(chr(token % (1 << _BITS) - 1))
        token >>= _BITS
    return "".join(chars)
