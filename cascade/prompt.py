"""Prompts as a trie: task, then group, then item, then question; each segment tokenised once. Pure.

A prompt is never one string. It is a path of nodes, and two prompts that begin alike share the
nodes they begin with, so a backend can compute each node once. Text from outside (a task, a file
name, a docstring) is tokenised apart from the template around it, so that it can neither become a
special token nor break the layout, however it is cut. Words of evidence (``cascade.evidence.facts``) are special
tokens where the vocabulary has them, and otherwise plain words behind a mark that text from outside cannot write.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import groupby, islice
from string import Formatter
from typing import Protocol

from cascade.arguments import refuse, whole
from cascade.errors import ConfigError
from cascade.evidence.facts import FACTS
from cascade.items import Group, Item, Task
from cascade.stages import Question

MARK = "#"
"""Stands right before a word of evidence in a text; in text from outside a space follows it where a word would."""

BETWEEN = " | "
"""Stands between the parts of an item's or a group's line."""

_FACTS = frozenset(FACTS)
_LONGEST_FACT = max(map(len, FACTS))


def one_line(text: str, most: int | None = None, mark: str = "") -> str:
    """A text with each run of white space, control characters and lone surrogates (no UTF-8 has them) one space.

    Args:
        text: The text.
        most: Characters after which the line is cut; None for all of it.
        mark: A character that is broken away from a word behind it; empty for none.
    """
    return _beginning(lambda n: _clean(text[:n], mark), len(text), most)


def item_text(item: Item, most: int | None = None, mark: str = MARK) -> str:
    """An item in one line: what it is, its evidence, its signature, its documentation.

    The most telling parts come first, so that a cut takes the least.

    Args:
        item: The item.
        most: Characters after which the line is cut; None for all of it.
        mark: What stands before each word of evidence, and before no word of other text; empty for nothing.
    """
    return _joined(_item_lines(item, item.evidence, most, mark))[:most]


def group_text(group: Group, most: int | None = None, mark: str = MARK) -> str:
    """A group in one line: its name and its evidence; see ``item_text``."""
    return _joined(_group_lines(group, group.evidence, most, mark))[:most]


def seeds_text(task: Task, most: int | None = None, mark: str = "") -> str:
    """A task's seed files in one line; empty without any."""
    seeds = task.seeds
    return _beginning(lambda n: ", ".join(one_line(seed, most, mark) for seed in seeds[:n]), len(seeds), most)


def is_fact(word: str) -> bool:
    """Whether a text is a word of evidence; see ``FACTS``."""
    return len(word) <= _LONGEST_FACT and word in _FACTS


def _item_lines(item: Item, evidence: Iterable[str], most: int | None, mark: str) -> tuple[str, ...]:
    texts = (one_line(text, most, mark) for text in (item.signature, item.doc))
    return one_line(f"{item.kind} {item.name}", most, mark), _evidence(evidence, most, mark), *texts


def _group_lines(group: Group, evidence: Iterable[str], most: int | None, mark: str) -> tuple[str, ...]:
    return one_line(group.name, most, mark), _evidence(evidence, most, mark)


def _evidence(evidence: Iterable[str], most: int | None, mark: str) -> str:
    found, length = [], 0
    for word in evidence:
        text = mark + word if is_fact(word) else one_line(word, most, mark)
        found += [text] if text else []
        length += len(text)
        if most is not None and length >= most:
            break
    return " ".join(found)[:most]


def _joined(lines: Iterable[str]) -> str:
    return BETWEEN.join(filter(None, lines))


def _clean(text: str, mark: str) -> str:
    line = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+", " ", text).split())
    return re.sub(rf"{re.escape(mark)}(?=\w)", f"{mark} ", line) if mark else line


def _beginning(line: Callable[[int], str], n_all: int, most: int | None) -> str:
    """The first ``most`` characters of a line.

    Args:
        line: What the first so many parts make: the beginning of what more of them make.
        n_all: How many parts there are.
        most: Characters after which the line is cut; None for all of it.
    """
    if most is None:
        return line(n_all)
    n = 2 * most
    while len(found := line(n)) < most and n < n_all:
        n *= 2
    return found[:most]


class Segment(StrEnum):
    """The four levels of the trie, in order."""

    TASK = "task"
    GROUP = "group"
    ITEM = "item"
    QUESTION = "question"


@dataclass(frozen=True, eq=False)
class Node:
    """One segment of a prompt below its parent; two nodes are equal only if they are the same.

    Attributes:
        parent: The node above; None for a task.
        segment: Its level.
        tokens: Token ids of this segment alone, never empty.
        told: What it tells of; None for a question.
        limits: How long the texts of that may be.
        n_read: Tokens of its text; 0 for a question.
        n_cut: Tokens that were cut off the end of its text, as far as they were counted.
        is_longer: Whether its text goes on behind what was counted.
    """

    parent: Node | None
    segment: Segment
    tokens: tuple[int, ...]
    told: Task | Group | Item | None = None
    limits: Limits | None = None
    n_read: int = 0
    n_cut: int = 0
    is_longer: bool = False

    @cached_property
    def start(self) -> int:
        """Position of the first token: the number of tokens on the path above."""
        return self.parent.end if self.parent else 0

    @property
    def end(self) -> int:
        """Position after the last token."""
        return self.start + len(self.tokens)

    @cached_property
    def text(self) -> str:
        """What it says in words, without the template, with ``MARK`` before words of evidence; empty for a question."""
        most = self.limits.characters(self.segment) if self.limits else None
        match self.told:
            case Item():
                return item_text(self.told, most)
            case Group():
                return group_text(self.told, most)
            case Task():
                return one_line(self.told.text, most, MARK)
        return ""

    @cached_property
    def seeds(self) -> str:
        """Of a task, its seed files in words, with ``MARK`` before no word; empty without any."""
        most = self.limits.characters("seed") if self.limits else None
        return seeds_text(self.told, most, MARK) if isinstance(self.told, Task) else ""

    @cached_property
    def path(self) -> tuple[Node, ...]:
        """From the task down to this node."""
        return (*self.parent.path, self) if self.parent else (self,)

    @property
    def prompt(self) -> tuple[int, ...]:
        """All token ids from the start to the end of this node."""
        return tuple(token for node in self.path for token in node.tokens)


class Tokenizer(Protocol):
    """What a model turns text into; a backend brings one."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; with ``special`` the texts of special tokens become those tokens.

        Without it no special token may come out, whatever the text holds.
        """


@dataclass(frozen=True, kw_only=True)
class PromptFormat:
    """How segments are written for one family of models.

    In a template, ``{slots}`` take text from outside; all else is the format's own and may hold
    special tokens.

    Attributes:
        name: What a config calls it.
        task: Template with the slots ``instructions``, ``questions``, ``task`` and ``seed``.
        group: Template with the slot ``group``.
        item: Template with the slot ``item``.
        question: Template with the slot ``marker``; what stands after the slot closes the prompt.
        fact: Template with the slot ``fact``: the special token of a word of evidence, in vocabularies that have it;
            empty if none has.
        mark: What stands before a word of evidence that is no special token, and before no word of text from outside;
            empty for nothing.
        yes: Text of the label token for yes.
        no: Text of the label token for no.
    """

    name: str
    task: str
    group: str
    item: str
    question: str
    fact: str = ""
    mark: str = MARK
    yes: str = "yes"
    no: str = "no"


_LONGEST_TOKEN = 512  # characters, with room to spare
_TRIED = 32  # characters a token of a long text's beginning that is tokenised first; words have 4 or so
_MARGIN = 64  # tokens before a cut that are not trusted
_REMEMBERED = 8_192  # characters of a segment whose tokens are remembered

_CHAT_END = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"

FORMATS = {
    format_.name: format_
    for format_ in (
        PromptFormat(
            name="embedded",
            task="<|task|>{instructions}\n{questions}\nTask: {task}\nSeed: {seed}",
            group="<|group|>{group}",
            item="<|item|>{item}",
            question="<|ask|>{marker}",
            fact="<|{fact}|>",
            mark="",
        ),
        # Qwen3's chat template with enable_thinking=False, which closes an empty think block.
        PromptFormat(
            name="qwen3",
            task="<|im_start|>system\n{instructions} Answer only yes or no.<|im_end|>\n"
            "<|im_start|>user\nQuestions:\n{questions}\nTask: {task}\nSeed: {seed}\n",
            group="File: {group}\n",
            item="Candidate: {item}\n",
            question="Answer: {marker}" + _CHAT_END,
        ),
        # The form of Qwen3-Reranker's model card: instruct, query, document, then yes or no.
        PromptFormat(
            name="qwen3-reranker",
            task="<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
            'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
            "<|im_start|>user\n<Instruct>: {instructions} {questions}\n<Query>: {task} Seed: {seed}\n<Document>: ",
            group="{group} ",
            item="{item}\n",
            question="<Requirement>: {marker}" + _CHAT_END,
        ),
    )
}


def prompt_format(name: str, labels: tuple[str, str] | None = None) -> PromptFormat:
    """The format of that name.

    Args:
        name: One of ``FORMATS``.
        labels: Texts of the label tokens for yes and no, in place of its own.

    Raises:
        ConfigError: There is none.
    """
    if name not in FORMATS:
        msg = f"Unknown prompt format {name!r}; allowed are {', '.join(FORMATS)}."
        raise ConfigError(msg)
    found = FORMATS[name]
    return found if labels is None else replace(found, yes=labels[0], no=labels[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most tokens of each text from outside; longer texts are cut at their end.

    A text is first cut to 512 characters for each of these tokens, so that a text of megabytes costs no more than its
    beginning. The longest tokens of a vocabulary have about 128 characters.

    Attributes:
        task: Most tokens of the task's text.
        seed: Most tokens of the seed files' paths.
        group: Most tokens of a group's name and evidence.
        item: Most tokens of an item's text.

    Raises:
        InputError: A value is not a whole number of at least 1.
    """

    task: int = 128
    seed: int = 32
    group: int = 48
    item: int = 72

    def __post_init__(self) -> None:
        for name in ("task", "seed", "group", "item"):
            value = getattr(self, name)
            if whole(value) is None:
                refuse(f"Limits: {name}", value, "a whole number of tokens from 1 on is needed")

    def characters(self, slot: str) -> int:
        """Most characters of what fills a slot."""
        return _LONGEST_TOKEN * int(getattr(self, slot))


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a segment: the format's own text, or what fills a slot.

    Attributes:
        text: The text.
        slot: Name of the slot it fills; None for the format's own text.
        is_fact: Whether the text is a word of evidence that is a token of its own.
    """

    text: str
    slot: str | None = None
    is_fact: bool = False


def render(template: str, values: Mapping[str, str | Sequence[Piece]]) -> list[Piece]:
    """A template with its slots filled, each with a text, which becomes a piece of its own, or with pieces."""
    pieces = []
    for literal, slot, _, _ in Formatter().parse(template):
        if literal:
            pieces.append(Piece(literal))
        if slot is not None:
            value = values[slot]
            pieces += [Piece(value, slot)] if isinstance(value, str) else value
    return pieces


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The tokens of some pieces; of each slot how many it has, cut or not, and which go on behind those."""

    tokens: tuple[int, ...]
    n_all: Mapping[str, int]
    longer: frozenset[str]


@dataclass(slots=True)
class PromptBuilder:
    """Grows the trie of one model's prompts; remembers the tokens of segments it has seen.

    Attributes:
        form: The prompt format.
        tokenizer: The model's tokenizer.
        limits: How long outside texts may be.
        facts: The words of evidence that are special tokens of the model's vocabulary, with those tokens.
    """

    form: PromptFormat
    tokenizer: Tokenizer
    limits: Limits = field(default_factory=Limits)
    facts: Mapping[str, int] = field(init=False)
    _seen: dict[tuple[Piece, ...], _Encoded] = field(default_factory=dict, repr=False)
    _markers: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)
    _capacity: int = 50_000

    def __post_init__(self) -> None:
        self.facts = _fact_tokens(self.form.fact, self.tokenizer)

    def task(self, instructions: str, questions: Sequence[Question], task: Task) -> Node:
        """The root of a request's trie."""
        seeds = seeds_text(task, self.limits.characters("seed"), self.form.mark)
        values = {
            "instructions": instructions,
            "questions": "\n".join(f"{question.marker}: {question.wording}" for question in questions),
            "task": one_line(task.text, self.limits.characters("task"), self.form.mark),
            "seed": seeds or "none",
        }
        return self._node(None, Segment.TASK, render(self.form.task, values), task)

    def group(self, parent: Node, group: Group) -> Node:
        """A group's header below its task."""
        most = self.limits.characters("group")
        lines = _group_lines(group, self._words(group.evidence), most, self.form.mark)
        pieces = render(self.form.group, {"group": self._told("group", group.evidence, lines)})
        return self._node(parent, Segment.GROUP, pieces, group)

    def item(self, parent: Node, item: Item) -> Node:
        """An item below its group or its task."""
        most = self.limits.characters("item")
        lines = _item_lines(item, self._words(item.evidence), most, self.form.mark)
        pieces = render(self.form.item, {"item": self._told("item", item.evidence, lines)})
        return self._node(parent, Segment.ITEM, pieces, item)

    def question(self, parent: Node, marker: str) -> Node:
        """A question's marker below an item; its last position is where yes or no is read."""
        return Node(parent, Segment.QUESTION, self.marker_tokens(marker))

    def marker_tokens(self, marker: str) -> tuple[int, ...]:
        """Token ids of a question's marker with what closes the prompt."""
        tokens = self._markers.get(marker)
        if tokens is None:
            if len(self._markers) >= self._capacity:
                self._markers.clear()
            tokens = self._encoded(render(self.form.question, {"marker": marker})).tokens
            self._markers[marker] = tokens
        return tokens

    def label_tokens(self) -> tuple[int, int]:
        """Token ids of yes and no.

        Raises:
            ConfigError: A label is not one token, or both are the same.
        """
        found = []
        for text in (self.form.yes, self.form.no):
            tokens = self.tokenizer.encode(text, special=False)
            if len(tokens) != 1:
                msg = (
                    f"Label {text!r} of prompt format {self.form.name!r} is {len(tokens)} tokens in this model; "
                    "a label must be one token. Choose a format that fits the model."
                )
                raise ConfigError(msg)
            found += tokens
        if found[0] == found[1]:
            msg = f"Labels {self.form.yes!r} and {self.form.no!r} are the same token {found[0]} in this model."
            raise ConfigError(msg)
        return found[0], found[1]

    def _words(self, evidence: Sequence[str]) -> Iterable[str]:
        """The evidence that is written as text."""
        return (word for word in evidence if word not in self.facts) if self.facts else evidence

    def _told(self, slot: str, evidence: Sequence[str], lines: Sequence[str]) -> str | list[Piece]:
        """What fills a slot: its first line, its facts as tokens, which need nothing between them, its other lines.

        No text can drive facts out: a cut takes the end of the other lines, and then that of the first one.
        """
        most = self.limits.characters(slot)
        words = islice((word for word in evidence if word in self.facts), getattr(self.limits, slot))
        facts = [Piece(word, slot, is_fact=True) for word in words]
        if not facts:
            return _joined(lines)[:most]
        return [Piece(lines[0], slot), *facts, Piece(_joined(lines[1:])[:most], slot)]

    def _node(self, parent: Node | None, segment: Segment, pieces: Sequence[Piece], told: Task | Group | Item) -> Node:
        encoded = self._encoded(pieces)
        n_all = encoded.n_all[segment]
        n_read = min(n_all, getattr(self.limits, segment))
        is_longer = segment in encoded.longer
        return Node(parent, segment, encoded.tokens, told, self.limits, n_read, n_all - n_read, is_longer)

    def _encoded(self, pieces: Sequence[Piece]) -> _Encoded:
        key = tuple(pieces)
        found = self._seen.get(key)
        if found is None:
            found = self._encode(pieces)
            if len(self._seen) >= self._capacity:
                self._seen.clear()
            if sum(len(piece.text) for piece in pieces) <= _REMEMBERED:
                self._seen[key] = found
        return found

    def _encode(self, pieces: Sequence[Piece]) -> _Encoded:
        tokens: list[int] = []
        n_all: dict[str, int] = {}
        longer: set[str] = set()
        for slot, run in groupby(pieces, lambda piece: piece.slot or ""):
            parts = list(run)
            limit = getattr(self.limits, slot, None)
            room = None if limit is None else limit - sum(piece.is_fact for piece in parts)
            n_all[slot] = 0
            for piece in parts:
                found, is_all = self._piece(piece, limit)
                n_all[slot] += len(found)
                longer |= set() if is_all else {slot}
                if room is not None and not piece.is_fact:
                    found = found[:room]
                    room -= len(found)
                tokens += found
        return _Encoded(tuple(tokens), n_all, frozenset(longer))

    def _piece(self, piece: Piece, limit: int | None) -> tuple[list[int], bool]:
        """The tokens of a piece, and whether these are all; at least so many as the limit if they are not."""
        if piece.is_fact:
            return [self.facts[piece.text]], True
        if piece.slot is None or limit is None:
            return self.tokenizer.encode(piece.text, special=piece.slot is None), True
        return self._first(piece.text, limit)

    def _first(self, text: str, limit: int) -> tuple[list[int], bool]:
        """The first tokens of a text, from no more of it than that takes, and whether these are all.

        There are some more than the limit where it has more; those up to the limit are the text's own.
        Where a text is cut, the tokens before the cut differ from those of the whole, but not so far before it: what
        changes a token is the end of its word, or else merges that reach it from there, each of a later rank.
        """
        n = _TRIED * limit
        while n < len(text):
            tokens = self.tokenizer.encode(text[:n], special=False)
            if len(tokens) >= limit + _MARGIN:
                return tokens, False
            n *= 2
        return self.tokenizer.encode(text, special=False), True


def _fact_tokens(template: str, tokenizer: Tokenizer) -> dict[str, int]:
    """The words of evidence that are special tokens of a vocabulary, with those tokens."""
    found = {}
    for fact in FACTS if template else ():
        text = template.format(fact=fact)
        tokens = tokenizer.encode(text, special=True)
        if len(tokens) == 1 and tokenizer.encode(text, special=False) != tokens:
            found[fact] = tokens[0]
    return found


def last_place(sought: Sequence[int], tokens: Sequence[int]) -> int | None:
    """Index in ``tokens`` at which ``sought`` stands for the last time; None where it does not."""
    starts = range(len(tokens) - len(sought), -1, -1)
    return next((start for start in starts if tuple(tokens[start : start + len(sought)]) == tuple(sought)), None)
