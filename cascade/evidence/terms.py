"""Words of code and prose as numbers: identifiers taken apart, stemmed, hashed. Pure."""

from __future__ import annotations

import re
from zlib import crc32

_PART = re.compile(
    r"(?<![A-Za-z])[A-Za-z]*+[^\W\d_A-Za-z][^\W\d_]*+"  # a word with letters beyond ASCII stays whole
    r"|[A-Z]{2,}[a-z](?![a-z])"  # URLs, IPv6
    r"|[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+"
)
_IDENTIFIER = re.compile(r"[^\W\d]\w{2,}")
_SUFFIX = re.compile(r"(?:ations?|ings?|ions?|ers?|ors?|ies|ied|ed|es|s|ly|e|y)$")
_LEAST_STEM = 3
_MOST_KNOWN = 1_000_000
_LONGEST = 40  # characters of a word that count; more is data

# Words that tell nothing in any text. What commit messages use about any change, such as "fix", is left to rarity.
_STOP_WORDS = frozenset(
    """a about above after again against all am an and any are as at be because been before being below between both
    but by can cannot could did do does doing down during each few for from further had has have having he her here
    hers him his how i if in into is it its itself just me more most my no nor not now of off on once only or other our
    out over own s same she should so some such t than that the their them then there these they this those through to
    too under until up very was we were what when where which while who whom why will with would you your""".split()
)

NONE = 0
"""The number of what is no word."""


class _Terms(dict[str, int]):
    """Word as written -> its number, worked out when it is first asked for."""

    def __missing__(self, part: str) -> int:
        if len(self) >= _MOST_KNOWN:
            self.clear()
        self[part] = number = _term(part.lower()[:_LONGEST])
        return number


def _term(word: str) -> int:
    if word in _STOP_WORDS or (len(word) == 1 and word.isalpha()):
        return NONE
    cut = word if word.isdigit() else _SUFFIX.sub("", word)
    return name_term(cut if len(cut) >= _LEAST_STEM else word)


_known = _Terms()


def terms(text: str) -> list[int]:
    """The words of a text in order, each as the CRC-32 of its stem; stop words and single letters are left out.

    Two words of one tree have the same number with a probability of about one in four billion.
    """
    known = _known
    return [number for part in _PART.findall(text) if (number := known[part])]


def name_term(name: str) -> int:
    """The number of a name as written, never ``NONE``; in [1, 2**32)."""
    return crc32(name.encode("utf-8", "surrogatepass")) or 1


def name_terms(text: str) -> list[int]:
    """The identifiers of a text as written, of three characters or more, in order."""
    return [name_term(name) for name in _IDENTIFIER.findall(text)]


def written(text: str) -> dict[int, str]:
    """The number of each word of a text -> the word as it is first written there, in lower case."""
    found: dict[int, str] = {}
    for part in _PART.findall(text):
        if number := _known[part]:
            found.setdefault(number, part.lower())
    return found
