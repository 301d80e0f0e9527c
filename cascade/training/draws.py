"""Which questions of which tasks a step of a training takes; they hang on the seed and the step alone. Pure."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from cascade.training.examples import Ask, Example

Draw = list[tuple[Example, list[tuple[Ask, float]]]]
"""Tasks, each with some of its questions and what they weigh."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The draws of a training.

    Attributes:
        examples: What there is.
        n_tasks: Tasks of a step.
        n_asks: About how many questions of a task at most. Of more, half the places go to items with the rarer
            answers, and weights make up for it, so that a probability stays one.
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
    """About so many questions at most, weighted to stand for all; an item comes with all of its own, read once."""
    if len(asks) <= most:
        return [(ask, ask.weight) for ask in asks]
    items: dict[str, list[Ask]] = {}
    for ask in asks:
        items.setdefault(ask.item, []).append(ask)
    answers = {item: _answers(own) for item, own in items.items()}
    counts = Counter(answers.values())
    common = max(counts, key=lambda each: (counts[each], each))
    rare = [own for item, own in items.items() if answers[item] != common]
    often = [own for item, own in items.items() if answers[item] == common]
    of_rare = _fitting(rng.sample(rare, len(rare)), max(most // 2, most - sum(map(len, often))))
    of_often = _fitting(rng.sample(often, len(often)), most - sum(map(len, of_rare)))
    return [
        (ask, ask.weight * len(some) / len(chosen))
        for some, chosen in ((rare, of_rare), (often, of_often))
        for own in chosen
        for ask in own
    ]


def _fitting(items: Sequence[list[Ask]], most: int) -> list[list[Ask]]:
    """The first items that have at most so many questions together, one at least."""
    n_asks = accumulate(map(len, items))
    return [own for at, (own, n) in enumerate(zip(items, n_asks, strict=True)) if n <= most or not at]


def _answers(asks: Sequence[Ask]) -> tuple[tuple[int, int], ...]:
    """The likeliest answers to the questions of an item by their targets; where some are known, those alone."""
    known = [ask for ask in asks if ask.true] or asks
    return tuple((ask.question, ask.target.index(max(ask.target))) for ask in known)
