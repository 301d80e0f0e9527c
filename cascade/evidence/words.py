"""Words of tasks, names and paths, compared by their stems. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[^\W\d_]+")
_IDENTIFIER = re.compile(r"[^\W\d]\w*")
_SUFFIX = re.compile(
    r"(?:i[sz]ations?|ations?|i[sz]ing|i[sz]ers?|i[sz]e[sd]?|ings?|ions?|ors?|ers?|ies|ed|ly|es|s|e|y)$"
)
_MIN_STEM = 3

# Words that commit messages and issues use about any change; they tell no file from another.
STOP_WORDS = frozenset(
    """a about above add added adding adds after again all allow allows also always an and any are as
    at avoid be because been before being better both bug but by call called calls can cannot change
    changed changes check code correct correctly could current currently did do does doing don done
    during each either ensure error errors even every existing fix fixed fixes fixing for from get
    gets getting give had handle handled handles handling has have having here how if implement
    improve improved improves in instead into is issue it its just keep let like made make makes
    making may method might missing more most move moved must need needed needs new no nor not now of
    off old on once one only onto or other our out over own pass prevent previously proper properly
    py raise raised raises remove removed removes removing rename replace replaced return returned
    returns same set sets should simplify since so some still such support supported supports test
    tests than that the their them then there these they this those to too under until update updated
    updates up upon us use used uses using value values very via want was way we were what when where
    whether which while who why will with within without work working works would yet you""".split()
)


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A lower-case word without its ending: ``handlers``, ``handling`` and ``handle`` meet.

    A light suffix stripper in the manner of Porter's first steps; it only has to make words of one
    family meet, so over-stripping does no harm as long as it is the same on both sides.
    """
    cut = _SUFFIX.sub("", word)
    if len(cut) >= _MIN_STEM:
        word = cut
    doubled = len(word) > _MIN_STEM and word[-1] == word[-2]
    return word[:-1] if doubled else word


@lru_cache(maxsize=100_000)
def stems(text: str) -> frozenset[str]:
    """Stems of the telling words of a text, with snake_case and camelCase taken apart."""
    return frozenset(telling_words(text))


def telling_words(text: str) -> dict[str, str]:
    """Stem -> the first word that has it, in order of appearance, stop words left out."""
    found: dict[str, str] = {}
    for part in _PART.findall(text):
        word = part.lower()
        if len(word) > 1 and word not in STOP_WORDS:
            found.setdefault(stem(word), word)
    return found


def identifiers(text: str) -> frozenset[str]:
    """The identifiers of a text as written, such as ``make_response`` or ``Flask``."""
    return frozenset(_IDENTIFIER.findall(text))
