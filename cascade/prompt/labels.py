"""By which tokens of a vocabulary one position of a prompt tells the values of a question apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, product
from string import ascii_uppercase

from cascade.errors import ConfigError
from cascade.prompt.tokenizer import Tokenizer
from cascade.stages import Question, Value


@dataclass(frozen=True, slots=True)
class Labels:
    """By which tokens one position of a prompt tells the values of a question apart.

    Attributes:
        texts: The label of each value, as the prompt lists it.
        tokens: Its token id; each stands there once.
        values: The values.
        is_scale: Whether they are the levels of a score.
    """

    texts: tuple[str, ...]
    tokens: tuple[int, ...]
    values: tuple[Value, ...]
    is_scale: bool = False


def labels_for(question: Question, tokenizer: Tokenizer) -> Labels:
    """Labels of a question's values: the values themselves where they are single tokens, or else letters or numbers.

    A scale has numbers from 0 on before letters. Where the capital letters do not suffice, pairs of them that are
    single tokens follow, and then small letters.

    Raises:
        ConfigError: The vocabulary has not so many single tokens.
    """
    names = [value.name for value in question.values]
    letters = [*ascii_uppercase, *map("".join, product(ascii_uppercase, repeat=2))]
    letters += [text.lower() for text in letters]
    first = 0 if question.is_scale else 1
    numbers = [str(number) for number in range(first, len(names) + first)]
    most = 0
    for texts in (names, *((numbers, letters) if question.is_scale else (letters, numbers))):
        found = dict(islice(_single_tokens(texts, tokenizer), len(names)))
        if len(found) == len(names):
            return Labels(tuple(found), tuple(found.values()), question.values, question.is_scale)
        most = max(most, len(found))
    msg = (
        f"The {len(names)} values of question {question.marker!r} cannot be told apart by single tokens of this model: "
        f"neither they nor letters or numbers are {len(names)} different single tokens; at most {most} are. Give the "
        "question fewer values, or ask it in two stages."
    )
    raise ConfigError(msg)


def _single_tokens(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[str, int]]:
    """Those texts that are one token each, with that token; of several with one token the first."""
    taken: set[int] = set()
    for text in texts:
        tokens = tokenizer.encode(text, special=False)
        if len(tokens) == 1 and tokens[0] not in taken:
            yield text, tokens[0]
            taken.add(tokens[0])


def listed(question: Question, labels: Labels) -> str:
    """The values of a question with their labels and descriptions, as the task's prefix lists them."""
    found = []
    for label, value in zip(labels.texts, question.values, strict=True):
        words = [value.description] if label == value.name else [value.name, value.description]
        found.append(": ".join(filter(None, (label, ", ".join(filter(None, words))))))
    return "; ".join(found)
