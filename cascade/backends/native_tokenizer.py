"""A llama.cpp vocabulary behind the library's ``Tokenizer`` protocol."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from cascade.backends.llama_library import llama_cpp
from cascade.errors import ModelFileError

_USER_DEFINED = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_PARSED = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | _USER_DEFINED
_LONGEST = 64  # bytes that a token's text is given room for at first


class LlamaTokenizer:
    """A model's tokenizer behind the ``Tokenizer`` protocol; safe to call from any thread."""

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self._parsed_anyway = self._user_defined()

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; see ``cascade.prompt.Tokenizer``."""
        if special:
            return self._tokenize(text, parse=True)
        return [token for part in self._apart(text) for token in self._tokenize(part, parse=False)]

    def is_special(self, token: int) -> bool:
        """Whether a token stands for more than its text, so that only a prompt format may write it."""
        return bool(llama_cpp.llama_vocab_get_attr(self._vocab, token) & _PARSED)

    def text(self, token: int) -> str:
        """How the vocabulary writes a token.

        Raises:
            ModelFileError: There is no such token.
        """
        if not 0 <= token < self.n_vocab:
            msg = f"Token {token} is not in the vocabulary of {self.n_vocab} tokens."
            raise ModelFileError(msg)
        return str(llama_cpp.llama_vocab_get_text(self._vocab, token).decode("utf-8", "replace"))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of token ids, for a server that takes no token ids and finds special tokens in a text.

        Where text that is not special would be read as such, a space breaks it up.
        """
        parts = []
        for is_special, run in groupby(tokens, self.is_special):
            part = self._detokenize(list(run))
            if not is_special:
                for token in filter(self.is_special, self._tokenize(part, parse=True)):
                    text = self._detokenize([token])
                    part = part.replace(text, f"{text[:1]} {text[1:]}")
            parts.append(part)
        return "".join(parts)

    def _detokenize(self, tokens: list[int]) -> str:
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        buffer = ctypes.create_string_buffer(_LONGEST * len(tokens))
        n = llama_cpp.llama_detokenize(self._vocab, given, len(tokens), buffer, len(buffer), False, True)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = llama_cpp.llama_detokenize(self._vocab, given, len(tokens), buffer, -n, False, True)
        return buffer.raw[:n].decode("utf-8", "replace")

    def _apart(self, text: str) -> list[str]:
        """A text cut so that llama.cpp finds no user-defined token in any part.

        With parse_special off it still parses those, such as Qwen3's <think>; a cut after the first
        character of each leaves nothing to find.
        """
        if self._parsed_anyway is None:
            return [text]
        parts = []
        while found := self._parsed_anyway.search(text):
            parts.append(text[: found.start() + 1])
            text = text[found.start() + 1 :]
        return [*parts, text]

    def _tokenize(self, text: str, *, parse: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, False, parse)
        if n < 0:
            buffer = (llama_cpp.llama_token * -n)()
            n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, -n, False, parse)
        return list(buffer[:n])

    def _user_defined(self) -> re.Pattern[str] | None:
        texts = [
            self.text(token)
            for token in range(self.n_vocab)
            if llama_cpp.llama_vocab_get_attr(self._vocab, token) & _USER_DEFINED
        ]
        long = sorted((text for text in texts if len(text) > 1), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, long))) if long else None
