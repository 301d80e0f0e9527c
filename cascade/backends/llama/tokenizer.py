"""A llama.cpp vocabulary behind the library's ``Tokenizer`` protocol."""

from __future__ import annotations

import ctypes
import os
import re
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cascade.backends.llama.library import llama_cpp
from cascade.backends.llama.log import native_log
from cascade.errors import ModelFileError

_USER_DEFINED = llama_cpp.LLAMA_TOKEN_ATTR_USER_DEFINED
_PARSED = llama_cpp.LLAMA_TOKEN_ATTR_CONTROL | _USER_DEFINED
_LONG_RUN = re.compile(r"[^ \t\n\r]{2048}(?=[^ \t\n\r])|\s{2048}(?=\s)")
_WITHOUT_REGEX = {llama_cpp.LLAMA_VOCAB_TYPE_SPM, llama_cpp.LLAMA_VOCAB_TYPE_WPM, llama_cpp.LLAMA_VOCAB_TYPE_UGM}
_LONGEST = 64  # bytes that a token's text is given room for at first


class LlamaTokenizer:
    """A model's tokenizer behind the ``Tokenizer`` protocol; safe to call from any thread."""

    def __init__(self, vocab: Any) -> None:
        self._vocab = vocab
        self.n_vocab: int = llama_cpp.llama_vocab_n_tokens(vocab)
        self._user_defined = self._texts(_USER_DEFINED)
        self._special = self._texts(_PARSED)
        self._cuts_runs = llama_cpp.llama_vocab_type(vocab) not in _WITHOUT_REGEX

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids; see ``cascade.prompt.Tokenizer``."""
        if special:
            return self._tokenize(text, parse=True)
        # With parse_special off llama.cpp still parses user-defined tokens, such as Qwen3's <think>: none may be whole.
        parts: Iterable[str] = self._user_defined.apart(text)
        if self._cuts_runs:
            parts = (part for apart in parts for part in _short_runs(apart))
        return [token for part in parts for token in self._tokenize(part, parse=False)]

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
            parts.append(part if is_special else " ".join(self._special.apart(part)))
        return "".join(parts)

    def _detokenize(self, tokens: list[int]) -> str:
        given = (llama_cpp.llama_token * len(tokens))(*tokens)
        buffer = ctypes.create_string_buffer(_LONGEST * len(tokens))
        n = llama_cpp.llama_detokenize(self._vocab, given, len(tokens), buffer, len(buffer), False, True)
        if n < 0:
            buffer = ctypes.create_string_buffer(-n)
            n = llama_cpp.llama_detokenize(self._vocab, given, len(tokens), buffer, -n, False, True)
        return buffer.raw[:n].decode("utf-8", "replace")

    def _tokenize(self, text: str, *, parse: bool) -> list[int]:
        data = text.encode("utf-8", "replace")
        room = len(data) + 8
        buffer = (llama_cpp.llama_token * room)()
        n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, room, False, parse)
        if n < 0:
            buffer = (llama_cpp.llama_token * -n)()
            n = llama_cpp.llama_tokenize(self._vocab, data, len(data), buffer, -n, False, parse)
        return list(buffer[:n])

    def _texts(self, kind: int) -> _Texts:
        kinds = (llama_cpp.llama_vocab_get_attr(self._vocab, token) for token in range(self.n_vocab))
        return _Texts(self.text(token) for token, its in enumerate(kinds) if its & kind)


def _short_runs(text: str) -> Iterator[str]:
    """A text cut where more than 2,048 characters stand without a space between them, or as many of white space.

    What Python counts as white space and llama.cpp does not, or the reverse, counts as both.

    Many pre-tokenizers of llama.cpp recurse for every character of a match (std::regex), and end the process where
    the stack does: at a word of about 20,000 characters in 8 MiB. No cut is near the tokens that a prompt takes. Other
    vocabularies than byte-pair ones have no such pattern; WordPiece would take a word that is cut for two.
    """
    start = 0
    for found in _LONG_RUN.finditer(text):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]


class _Texts:
    """Texts of two characters or more that are looked for in another, all in one pass."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts: set[str] = set()  # none begins with another: where the longer one is, the shorter one is too
        self._lengths = defaultdict[str, list[int]](list)  # of those that begin with a pair of characters
        for text in sorted(texts, key=len):
            if len(text) > 1 and not self._is_at(0, text):
                self._texts.add(text)
                if len(text) not in self._lengths[text[:2]]:
                    self._lengths[text[:2]].append(len(text))
        seconds = defaultdict[str, str](str)
        for pair in self._lengths:
            seconds[pair[0]] += pair[1]
        pairs = (f"{re.escape(first)}(?=[{re.escape(others)}])" for first, others in seconds.items())
        self._begins = re.compile("|".join(pairs) or "(?!)")

    def apart(self, text: str) -> Iterator[str]:
        """A text cut after the first character of each of them, so that none is in any part."""
        start = 0
        for found in self._begins.finditer(text):
            if self._is_at(found.start(), text):
                yield text[start : found.end()]
                start = found.end()
        yield text[start:]

    def _is_at(self, at: int, text: str) -> bool:
        return any(text[at : at + length] in self._texts for length in self._lengths.get(text[at : at + 2], ()))


def load_vocabulary(path: Path) -> LlamaTokenizer:
    """The tokenizer of a model file; what it holds of llama.cpp's is freed with it.

    Raises:
        ModelFileError: llama.cpp refused the file.
    """
    log = native_log()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(os.fsencode(path), params)
    if not model:
        msg = f"llama.cpp cannot load {path}: {log.last_error() or 'no reason given'}. Get or export it again."
        raise ModelFileError(msg)
    tokenizer = LlamaTokenizer(llama_cpp.llama_model_get_vocab(model))
    weakref.finalize(tokenizer, llama_cpp.llama_model_free, model)
    return tokenizer
