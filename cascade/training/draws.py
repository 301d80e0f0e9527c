"""Which questions of which tasks a step of a training takes; they hang on the seed and the step alone. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cascade.training.examples import Ask, Example

Draw = list[tuple[Example, list[tuple[Ask, float]]]]
"""Tasks, each with some of its questions and what they weigh."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The draws of a training.

    Attributes:
        examples: What there is.
        n_tasks: Tasks of a step.
        n_asks: Most questions of a task. Of more, half the places go to the rarer answers, and weights make up for it,
            so that a probability stays one.
        seed: The seed.
    """

    examples: Sequence[Example]
    n_tasks: int
    n_asks: int
    seed: int

    def at(self, step: int) -> Draw:
        """What step 0, 1, ... takes: all tasks once before any for a second time, each time in another order."""
        rng = random.Random(f"{self.seed}:{step}")  # noqa: S311 - a repeatable order, no secret
        return [(example, drawn(example.asks, self.n_asks, rng)) for example in self._tasks(step)]

    def _tasks(self, step: int) -> Iterator[Example]:
        n = len(self.examples)
        for place in range(step * self.n_tasks, (step + 1) * self.n_tasks):
            order = list(range(n))
            random.Random(f"{self.seed}:round {place // n}").shuffle(order)  # noqa: S311 - as above
            yield self.examples[order[place % n]]


def drawn(asks: Sequence[Ask], most: int, rng: random.Random) -> list[tuple[Ask, float]]:
    """At most so many questions, weighted to stand for all."""
    if len(asks) <= most:
        return [(ask, ask.weight) for ask in asks]
    counts = Counter(_answer(ask) for ask in asks)
    common = max(counts, key=lambda answer: (counts[answer], answer))
    rare = [ask for ask in asks if _answer(ask) != common]
    often = [ask for ask in asks if _answer(ask) == common]
    n_rare = min(len(rare), max(most // 2, most - len(often)))
    return [
        (ask, ask.weight * len(some) / n)
        for some, n in ((rare, n_rare), (often, most - n_rare))
        for ask in rng.sample(some, min(n, len(some)))
    ]


def _answer(ask: Ask) -> int:
    """The likeliest answer by its target."""
    return ask.target.index(max(ask.target))
