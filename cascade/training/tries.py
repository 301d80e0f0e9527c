"""Tries flattened into one row of tokens, with what each of them sees. Pure numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.probability import Array, Bools, Ints
from cascade.training.draws import Draw
from cascade.training.examples import Ask, Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Tries of some tasks side by side; all spans that no adapter's question is in come first.

    Attributes:
        tokens: (n,) token ids.
        positions: (n,) position of each along its path.
        sees: (n, n) whether the token of a row sees that of a column: those above it, and its own and those before it
            in its span.
        n_shared: How many tokens come before the first question.
        active: (n,) whether an activated adapter acts on a token.
        ends: (q,) index of the last token of each question.
        questions: (q,) its place among the questions of the lesson.
        targets: (q, most labels) what its label tokens should get; 0 behind those that it has.
        weights: (q,) what it weighs.
    """

    tokens: Ints
    positions: Ints
    sees: Bools
    n_shared: int
    active: Bools
    ends: Ints
    questions: Ints
    targets: Array
    weights: Array


def packs(draw: Draw, most: int) -> Iterator[Packed]:
    """A draw in packs of about so many tokens; a task that has more by itself is divided among several.

    Args:
        draw: Tasks with questions.
        most: Most tokens of a pack, as far as a single question lets it.
    """
    waiting: Draw = []
    n_waiting = 0
    for example, asks in draw:
        for part in _divided(example, asks, most):
            n = _n_tokens(example, part)
            if waiting and n_waiting + n > most:
                yield pack(waiting)
                waiting, n_waiting = [], 0
            waiting.append((example, part))
            n_waiting += n
    if waiting:
        yield pack(waiting)


def _divided(example: Example, asks: Sequence[tuple[Ask, float]], most: int) -> Iterator[list[tuple[Ask, float]]]:
    """The questions of a task in parts that each fit into a pack, with all that they see."""
    part: list[tuple[Ask, float]] = []
    for each in asks:
        if part and _n_tokens(example, [*part, each]) > most:
            yield part
            part = []
        part.append(each)
    if part:
        yield part


def _n_tokens(example: Example, asks: Sequence[tuple[Ask, float]]) -> int:
    spans = {place for ask, _ in asks for place in _path(example, ask.span)}
    return sum(len(example.spans[place].tokens) for place in spans) + sum(len(ask.tokens) for ask, _ in asks)


def _path(example: Example, span: int) -> list[int]:
    """A span and all above it, from below."""
    found = []
    while span >= 0:
        found.append(span)
        span = example.spans[span].above
    return found


def pack(draw: Draw) -> Packed:
    """All of a draw in one pack."""
    layout = _Layout()
    places: list[dict[int, int]] = []
    for example, asks in draw:
        needed = sorted({place for ask, _ in asks for place in _path(example, ask.span)})  # those above come first
        known: dict[int, int] = {}
        for place in needed:
            span = example.spans[place]
            known[place] = layout.add(span.tokens, span.start, known.get(span.above, -1))
        places.append(known)
    n_shared = len(layout.tokens)
    asked: list[tuple[int, Ask, float]] = []
    active: list[bool] = [False] * n_shared
    for (example, asks), known in zip(draw, places, strict=True):
        for ask, weight in asks:
            above = example.spans[ask.span]
            layout.add(ask.tokens, above.start + len(above.tokens), known[ask.span])
            active += [at >= ask.active_from for at in range(len(ask.tokens))]
            asked.append((len(layout.tokens) - 1, ask, weight))
    targets = np.zeros((len(asked), max(len(ask.target) for _, ask, _ in asked)))
    for row, (_, ask, _) in enumerate(asked):
        targets[row, : len(ask.target)] = ask.target
    return Packed(
        tokens=np.array(layout.tokens, np.int64),
        positions=np.array(layout.positions, np.int64),
        sees=layout.sees(),
        n_shared=n_shared,
        active=np.array(active, np.bool_),
        ends=np.array([end for end, _, _ in asked], np.int64),
        questions=np.array([ask.question for _, ask, _ in asked], np.int64),
        targets=targets,
        weights=np.array([weight for _, _, weight in asked]),
    )


class _Layout:
    """Spans laid one behind the other."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self._above: list[int] = []
        self._lengths: list[int] = []

    def add(self, tokens: Sequence[int], start: int, above: int) -> int:
        """Lay a span below another that is there already; returns its number."""
        self.tokens += tokens
        self.positions += range(start, start + len(tokens))
        self._above.append(above)
        self._lengths.append(len(tokens))
        return len(self._above) - 1

    def sees(self) -> Bools:
        """Whether each token sees each other."""
        n = len(self._above)
        is_above: NDArray[np.bool_] = np.zeros((n, n), np.bool_)
        for span, above in enumerate(self._above):
            if above >= 0:
                is_above[span] = is_above[above]
                is_above[span, above] = True
        of = np.repeat(np.arange(n), self._lengths)
        order = np.arange(of.size)
        own = (of[:, None] == of) & (order[:, None] >= order)
        return np.asarray(is_above[of][:, of] | own)
