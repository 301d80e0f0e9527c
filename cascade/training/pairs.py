"""Pairs of texts in rows of like length, as an encoder reads them. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.probability import Array, Bools, Ints
from cascade.training.draws import Draw
from cascade.training.examples import Ask, Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """Some pairs, each a row.

    Attributes:
        tokens: (q, n) token ids, 0 behind the end of a pair.
        is_token: (q, n) whether a token stands there.
        questions: (q,) its place among the questions of the lesson.
        places: (q,) the place of each pair among all that were given.
        targets: (q,) how much yes each should get, in [0, 1].
        weights: (q,) what it weighs.
    """

    tokens: Ints
    is_token: Bools
    questions: Ints
    places: Ints
    targets: Array
    weights: Array


def pairs(draw: Draw, most: int) -> Iterator[Pairs]:
    """The pairs of a draw, those of like length together.

    Args:
        draw: Tasks with questions, whose first label is yes.
        most: Most tokens of a part, with those that fill rows up; a longer pair is a part by itself.
    """
    found = [(path(example, ask), ask, weight) for example, asks in draw for ask, weight in asks]
    order = sorted(range(len(found)), key=lambda at: len(found[at][0]))
    part: list[int] = []
    for at in order:
        if part and (len(part) + 1) * len(found[at][0]) > most:
            yield _rows(found, part)
            part = []
        part.append(at)
    if part:
        yield _rows(found, part)


def path(example: Example, ask: Ask) -> tuple[int, ...]:
    """All tokens that a question sees, from the task on, and its own."""
    tokens, at = ask.tokens, ask.span
    while at >= 0:
        span = example.spans[at]
        tokens, at = span.tokens + tokens, span.above
    return tokens


def _rows(found: Sequence[tuple[tuple[int, ...], Ask, float]], part: Sequence[int]) -> Pairs:
    lengths = np.array([len(found[at][0]) for at in part])
    is_token = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.zeros(is_token.shape, np.int64)
    tokens[is_token] = np.concatenate([found[at][0] for at in part])
    return Pairs(
        tokens=tokens,
        is_token=is_token,
        questions=np.array([found[at][1].question for at in part], np.int64),
        places=np.array(part, np.int64),
        targets=np.array([found[at][1].target[0] for at in part]),
        weights=np.array([found[at][2] for at in part]),
    )
