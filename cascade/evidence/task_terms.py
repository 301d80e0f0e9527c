"""What a task says: its words, names, code, paths and tracebacks. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from cascade.evidence.postings import Terms
from cascade.evidence.terms import name_term, terms, written
from cascade.probability import Array

_NAME = re.compile(r"[^\W\d]\w*")
# A word is tried from its beginning alone and never given back in part: a megabyte without a blank is read once.
_WORD = r"(?<!\w)\d*+[^\W\d]\w*+"
_DOTTED = re.compile(_WORD + r"(?:(?:\.|::|#|->)[^\W\d]\w*+)+")
_TICKED = re.compile(r"`([^`\n]+)`")
_CALLED = re.compile(r"(?<!\w)\d*+([^\W\d]\w*+)\(")
_CODE_LIKE = re.compile(r"\b(?:\w*_\w+|[a-z]++[A-Z]\w*|[A-Z][^\Wa-z]*+[a-z][^\WA-Z]*+[A-Z]\w*)\b")
_QUOTED = re.compile(r"""["'\u201c\u2018]([^"'\u2018-\u201d\n]{12,300})["'\u2019\u201d]""")
_RAISED = re.compile(r"^[^\S\n]*+[A-Z]\w*(?:Error|Exception|Warning|Panic): (.{6,300})$", re.MULTILINE)
# The folders of a traced path above the last one tell of the machine where it was raised.
_TRACED_FOLDERS = re.compile(
    r"""(?<![\w.:/\\])(?:[A-Za-z]:)?[/\\](?:[^\s/\\"'`:()]++[/\\])*?"""
    r"""(?=[^\s/\\"'`:()]++[/\\][^\s/\\"'`:()]++(?:", line \d|:\d))"""
)
_CLOCK, _DAY = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d+)?", r"(?:\d{4}[-/]\d{2}[-/]\d{2}|\d{1,2}/[A-Z][a-z]{2}/\d{4})"
_LOGGED = re.compile(rf"{_DAY}[T :]{{0,2}}{_CLOCK}|^\W{{0,3}}{_CLOCK}\b")
"""What a line of a log has: a day with a time of day, or a time at its beginning."""
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_LEAST_NAME = 3


@dataclass(frozen=True, eq=False)
class TaskTerms:
    """The words and names of a task's text, of any length.

    Attributes:
        text: The text.
    """

    text: str

    @cached_property
    def words(self) -> Terms:
        """Its words, each once and rising; (k,)."""
        return _rising(self._counted)

    @cached_property
    def counts(self) -> Array:
        """How often each stands in it; (k,)."""
        return np.array([self._counted[word] for word in self.words.tolist()], np.float64)

    @cached_property
    def title(self) -> Array:
        """How often each of the words stands in its first line; (k,)."""
        first = Counter(terms(self.text.strip().partition("\n")[0]))
        return np.array([first[word] for word in self.words.tolist()], np.float64)

    @cached_property
    def quoted(self) -> Array:
        """1 for each of the words that stands in a quotation or in the message of an error; (k,)."""
        inside = set(terms(" ".join(self.messages)))
        return np.array([word in inside for word in self.words.tolist()], np.float64)

    @cached_property
    def messages(self) -> tuple[str, ...]:
        """Its quotations, and the messages of its errors."""
        return tuple(text for pattern in (_QUOTED, _RAISED) for text in pattern.findall(self.text))

    @cached_property
    def is_telling(self) -> bool:
        """Whether it has a word that is more than a short number."""
        return any(len(word) >= _LEAST_NAME or not word.isdigit() for word in self.written.values())

    @cached_property
    def written(self) -> dict[int, str]:
        """The number of each of its words -> the word as it is first written."""
        return written(self.text)

    @cached_property
    def names(self) -> frozenset[str]:
        """Names as written, such as ``make_response`` and every plain word."""
        return frozenset(_NAME.findall(self.text))

    @cached_property
    def code(self) -> frozenset[str]:
        """Names that are surely code: in backticks, in snake or camel case, called, or parts of dotted names."""
        text = self.text
        inside = [name for part in (*_TICKED.findall(text), *_DOTTED.findall(text)) for name in _NAME.findall(part)]
        return frozenset([*inside, *_CODE_LIKE.findall(text), *_CALLED.findall(text)])

    @cached_property
    def called(self) -> frozenset[str]:
        """Names before an opening bracket."""
        return frozenset(_CALLED.findall(self.text))

    @cached_property
    def qualified(self) -> frozenset[str]:
        """The last two parts of dotted names, such as ``Flask.make_response`` in any of its spellings."""
        return frozenset(
            f"{one}.{other}"
            for dotted in _DOTTED.findall(self.text)
            for parts in [_NAME.findall(dotted)]
            for one, other in pairwise(parts)
        )

    @cached_property
    def name_words(self) -> Terms:
        """Numbers of its names of three letters or more, each once and rising."""
        return _rising(name_term(name) for name in self.names if len(name) >= _LEAST_NAME)

    @cached_property
    def code_words(self) -> Terms:
        """Numbers of the names that are surely code, each once and rising."""
        return _rising(name_term(name) for name in self.code if len(name) >= _LEAST_NAME)

    @cached_property
    def _counted(self) -> Counter[int]:
        """Of what lines of a log say, each word counts once, and not at all if it stands elsewhere as well."""
        said, logged = list[str](), list[str]()
        for line in _TRACED_FOLDERS.sub("", self.text).splitlines():
            rest = _LOGGED.sub(" ", line)
            (said if rest == line else logged).append(rest)
        found = Counter(terms("\n".join(said)))
        for word in terms(_ADDRESS.sub(" ", "\n".join(logged))):
            found.setdefault(word, 1)
        return found


def _rising(numbers: Iterable[int]) -> Terms:
    return np.unique(np.fromiter(numbers, np.uint32))
