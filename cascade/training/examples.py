"""Labelled tasks as tries of token ids with what each question should be answered. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from cascade.errors import ItemError
from cascade.evaluation.dataset import Labelled
from cascade.items import Group, Item
from cascade.probability import TINY
from cascade.prompt import Node
from cascade.stages import Answer, Kind
from cascade.training.lesson import Asked, Lesson
from cascade.training.parts import Balance
from cascade.training.sizes import Amount
from cascade.tree import text_limits

Target = tuple[float, ...]
"""What each label token of a question should get; at least 0, sums to 1."""

Teacher = Mapping[tuple[str, str, str], Target]
"""(id of the task, id of the item, marker) -> what somebody else says of it."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a trie, whose tokens see those above it and one another.

    Attributes:
        above: Index of the span above it; -1 for the task.
        start: Position of its first token.
        tokens: Its token ids.
    """

    above: int
    start: int
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """One question put to one item.

    Attributes:
        item: Id of the item.
        question: Its place among the questions of the lesson.
        span: Its span: the item's, or that of the item's text.
        tokens: Its tokens; behind the last one it is answered.
        active_from: Index of the first of them on which the adapter acts.
        true: The true answer as shares of the label tokens; empty where it is unknown.
        target: What is to be learned.
        weight: How much that counts; above 0.
        balance: How many times as much that is as it would be if nobody had balanced the classes.
    """

    item: str
    question: int
    span: int
    tokens: tuple[int, ...]
    active_from: int
    true: Target
    target: Target
    weight: float
    balance: float = 1.0

    @property
    def own_weight(self) -> float:
        """How much it counts where classes are left as they are."""
        return self.weight / self.balance


@dataclass(frozen=True, slots=True)
class Example:
    """A task with the questions that are put to its items.

    Attributes:
        task: Id of the task.
        spans: The trie down to items and their texts.
        asks: The questions.
    """

    task: str
    spans: tuple[Span, ...]
    asks: tuple[Ask, ...]


def examples(
    lesson: Lesson,
    tasks: Iterable[Labelled],
    teacher: Teacher | None = None,
    trust: float = 0.0,
    balance: Balance | None = None,
) -> list[Example]:
    """Tasks as tries; those of whose items nothing is known are left out.

    Args:
        lesson: What is asked.
        tasks: Labelled tasks.
        teacher: What somebody else says of items.
        trust: Weight of that in a target, in [0, 1]; the truth has the rest. Where the truth is unknown the teacher has
            it all.
        balance: How a dataset weighed classes; None for weights that balance nothing.

    Raises:
        ItemError: An encoder cannot read an item with its task: the pair is too long.
    """
    truths = lesson.cascade.true_answers()
    found = []
    for labelled in tasks:
        trie = _Trie(lesson, labelled)
        weights = labelled.weights or (1.0,) * len(labelled.items)
        for item, label, weight in zip(labelled.items, labelled.labels, weights, strict=True):
            if not weight:
                continue
            own = [place for place, asked in enumerate(lesson.asked) if asked.tier in asked.stage.tiers_of(item)]
            answers = {place: truths.get(label, {}).get(lesson.asked[place].stage.name) for place in own}
            factor = balance.of(label, answers.values()) if balance is not None else 1.0
            for place, answer in answers.items():
                asked = lesson.asked[place]
                true = truth_target(asked, answer)
                taught = (teacher or {}).get((labelled.task.id, item.id, asked.question.marker))
                target = blend(true, taught, trust)
                if target is not None:
                    trie.ask(item, Ask(item.id, place, -1, (), 0, true or (), target, float(weight), factor))
        if trie.asks:
            found.append(Example(labelled.task.id, tuple(trie.spans), tuple(trie.asks)))
    return found


def truth_target(asked: Asked, answer: Answer) -> Target | None:
    """A true answer as shares of the label tokens; None where the label decides nothing.

    That of a score is a part of its scale, whose levels then share alike.
    """
    question = asked.question
    if answer is None:
        return None
    if question.kind is Kind.YES_NO:
        return (1.0, 0.0) if answer else (0.0, 1.0)
    if question.kind is Kind.CHOICE:
        return tuple(float(value.name == answer) for value in question.values)
    levels = np.searchsorted(asked.stage.cuts, np.arange(len(question.values)), side="right") == int(str(answer))
    return tuple((levels / levels.sum()).tolist())


def blend(truth: Target | None, taught: Target | None, trust: float) -> Target | None:
    """What truth and teacher say together; None where neither says anything."""
    if truth is None or taught is None:
        return taught if truth is None else truth
    return tuple(trust * its + (1 - trust) * own for own, its in zip(truth, taught, strict=True))


def offsets(found: Sequence[Example], n_labels: Sequence[int]) -> list[Target]:
    """Of each question what balanced classes add to the log odds of its label tokens.

    With weights that let an answer count f times as much, the likeliest p(yes) has f times the odds. A training that
    adds log f to what the model says learns the odds of the tasks as they came. Source: Menon et al. (2021), Long-tail
    learning via logit adjustment.

    Args:
        found: All that is learned.
        n_labels: Of each question of the lesson, how many label tokens it has.
    """
    totals = [np.full((2, n), TINY) for n in n_labels]
    for ask in (ask for example in found for ask in example.asks):
        target = np.array(ask.target)
        totals[ask.question][:, : target.size] += np.outer((ask.weight, ask.own_weight), target)
    return [tuple((np.log(weighed) - np.log(own)).tolist()) for weighed, own in totals]


def amount(found: Sequence[Example]) -> Amount:
    """How much there is to learn or to be judged by: the questions whose true answer is known."""
    counts = Counter((ask.question, ask.true) for example in found for ask in example.asks if ask.true)
    most = {
        question: max(n for (of, _), n in counts.items() if of == question) for question in {key[0] for key in counts}
    }
    return Amount(
        tasks=sum(any(ask.true for ask in example.asks) for example in found),
        items=counts.total(),
        rare=counts.total() - sum(most.values()),
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in the error of an item which line it is of: each task may have an item of that id."""
    try:
        yield
    except ItemError as error:
        raise ItemError(f"{where}: {error}" if where else str(error)) from None


@dataclass(slots=True)
class _Trie:
    """A task's trie while it grows, each node once."""

    lesson: Lesson
    labelled: Labelled
    spans: list[Span] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    _groups: dict[Group, Node] = field(default_factory=dict)
    _items: dict[str, tuple[Node, dict[int, Node]]] = field(default_factory=dict)
    _places: dict[int, int] = field(default_factory=dict)  # id of a node -> its span; nodes live as long as the trie
    _root: Node | None = None

    def ask(self, item: Item, ask: Ask) -> None:
        """Put a question to an item; its tokens and where they stand are found here."""
        question = self.lesson.asked[ask.question].question
        if item.id not in self._items:
            self._items[item.id] = self._grown(item)
        node, texts = self._items[item.id]
        above = texts.get(question.max_text_tokens, node)
        tokens = self.lesson.builder.question(above, question.marker).tokens
        active_from = self.lesson.active_from(tokens)
        self.asks.append(replace(ask, span=self._span(above), tokens=tokens, active_from=active_from))

    def _grown(self, item: Item) -> tuple[Node, dict[int, Node]]:
        """An item's node, and below it those of the beginnings of its text that questions read."""
        build, lesson = self.lesson.builder, self.lesson
        if self._root is None:
            self._root = build.task(lesson.cascade.instructions, lesson.listed, self.labelled.task)
        parent = self._root
        if item.group is not None:
            if item.group not in self._groups:
                self._groups[item.group] = build.group(parent, item.group)
            parent = self._groups[item.group]
        node = build.item(parent, item)
        if lesson.room is not None:
            with _named(self.labelled.where):
                lesson.room.check(node, item)
        limits = text_limits(lesson.listed)
        return node, dict(zip(limits, build.text(node, item, limits), strict=True)) if limits else {}

    def _span(self, node: Node) -> int:
        """The place of a node's span, made with those above it where it is new."""
        if id(node) not in self._places:
            above = self._span(node.parent) if node.parent is not None else -1
            self._places[id(node)] = len(self.spans)
            self.spans.append(Span(above, node.start, node.tokens))
        return self._places[id(node)]
