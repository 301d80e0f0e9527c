"""Grows the trie of prompts; each segment is tokenised once. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from string import Formatter

from cascade.errors import ConfigError
from cascade.items import Group, Item, Task
from cascade.prompt.formats import PromptFormat
from cascade.prompt.labels import Labels, labels_for, listed
from cascade.prompt.limits import LONGEST_TOKEN, Limits
from cascade.prompt.lines import group_lines, item_lines, joined, one_line, seeds_text
from cascade.prompt.node import Node, Segment
from cascade.prompt.tokenizer import Tokenizer, fact_tokens
from cascade.stages import Question, Value

_TRIED = 32  # characters a token of a long text's beginning that is tokenised first; words have 4 or so
_TRIED_TEXT = 4  # the same for an item's text, which is cut far more often
_MARGIN = 64  # tokens before a cut that are not trusted
_REMEMBERED = 8_192  # characters of a segment whose tokens are remembered


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
    _labels: dict[tuple[tuple[Value, ...], bool], Labels] = field(default_factory=dict, repr=False)
    _capacity: int = 50_000

    def __post_init__(self) -> None:
        self.facts = fact_tokens(self.form.fact, self.tokenizer)

    def task(self, instructions: str, questions: Sequence[Question], task: Task) -> Node:
        """The root of a request's trie; where questions are open, the whole text that items ask about."""
        if _are_open(questions):
            slots = {"instructions": instructions, "state": one_line(task.text, mark=self.form.mark)}
            return self._open_node(None, Segment.TASK, render(self.form.open_task, slots), task)
        seeds = seeds_text(task, self.limits.characters("seed"), self.form.mark)
        values = {
            "instructions": instructions,
            "questions": "\n".join(map(self._listed, questions)),
            "task": one_line(task.text, self.limits.characters("task"), self.form.mark),
            "seed": seeds or "none",
        }
        template = self.form.task
        if not all(map(self.form.is_plain, questions)) and self.form.only:
            template = template.replace(self.form.only, self.form.only_listed)
        return self._node(None, Segment.TASK, render(template, values), task)

    def group(self, parent: Node, group: Group) -> Node:
        """A group's header below its task."""
        most = self.limits.characters("group")
        evidence = group.evidence if self.form.n_evidence is None else ()
        lines = group_lines(group, self._words(evidence), most, self.form.mark)
        pieces = render(self.form.group, {"group": self._told("group", group.evidence, lines)})
        return self._node(parent, Segment.GROUP, pieces, group)

    def item(self, parent: Node, item: Item) -> Node:
        """An item below its group or its task."""
        most = self.limits.characters("item")
        lines = item_lines(item, self._words(item.evidence[: self.form.n_evidence]), most, self.form.mark)
        pieces = render(self.form.item, {"item": self._told("item", item.evidence, lines)})
        return self._node(parent, Segment.ITEM, pieces, item)

    def open_item(self, parent: Node, item: Item) -> Node:
        """An item that is a question about its task: its name, in full."""
        pieces = render(self.form.open_item, {"asked": one_line(item.name, mark=self.form.mark)})
        return self._open_node(parent, Segment.ITEM, pieces, item)

    def text(self, parent: Node, item: Item, most: Sequence[int]) -> list[Node]:
        """An item's text below it, for questions that read the first so many tokens of it.

        A longer beginning of the text goes on below a shorter one, so that both share what they have in common.

        Args:
            parent: The item's node.
            item: The item.
            most: Most tokens of the text that questions read, ascending.

        Returns:
            For each of ``most`` the node that its questions go below: the one before where the text ends there, and
            the item's own where it has no text.
        """
        tokens, is_all = self._beginning(item.text, max(most))
        found, at = [], 0
        for limit in most:
            end = min(limit, len(tokens))
            if end > at:
                own = (*self._text_head(), *tokens[:end]) if not at else tuple(tokens[at:end])
                parent = Node(
                    parent, Segment.TEXT, own, item, self.limits, end, len(tokens) - end, is_longer=not is_all
                )
                at = end
            found.append(parent)
        return found

    def most_text(self, most: int) -> int:
        """Most tokens that an item's text takes where questions read so many of it."""
        return len(self._text_head()) + most

    def question(self, parent: Node, marker: str) -> Node:
        """A question's marker below an item or its text; its last position is where yes or no is read."""
        end = self._text_end() if parent.segment is Segment.TEXT else ()
        return Node(parent, Segment.QUESTION, (*end, *self.marker_tokens(marker)))

    def question_tokens(self, question: Question) -> int:
        """Most tokens that a question takes behind what it is put to."""
        end = self._text_end() if question.max_text_tokens else ()
        return len(end) + len(self.marker_tokens(question.marker))

    def marker_tokens(self, marker: str) -> tuple[int, ...]:
        """Token ids of a question's marker with what closes the prompt."""
        tokens = self._markers.get(marker)
        if tokens is None:
            if len(self._markers) >= self._capacity:
                self._markers.clear()
            tokens = self._encoded(render(self.form.question, {"marker": marker})).tokens
            self._markers[marker] = tokens
        return tokens

    def labels(self, question: Question) -> Labels | None:
        """By which tokens the values of a question are told apart; None for a yes/no question.

        Raises:
            ConfigError: The vocabulary has not enough single tokens.
        """
        if not question.values:
            return None
        key = question.values, question.is_scale
        found = self._labels.get(key)
        if found is None:
            if len(self._labels) >= self._capacity:
                self._labels.clear()
            found = self._labels[key] = labels_for(question, self.tokenizer)
        return found

    def _listed(self, question: Question) -> str:
        """A question as the task's prefix lists it, with its values behind their labels."""
        line = f"{question.marker}: {question.wording}"
        labels = self.labels(question)
        return line if labels is None or self.form.is_plain(question) else f"{line} {listed(question, labels)}"

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

    def _text_head(self) -> tuple[int, ...]:
        """What stands before an item's text."""
        return self._encoded([piece for piece in render(self.form.text, {"text": ""}) if piece.slot is None]).tokens

    def _text_end(self) -> tuple[int, ...]:
        """What stands behind an item's text, before a question."""
        return self._encoded(render(self.form.text_end, {})).tokens

    def _beginning(self, text: str, limit: int) -> tuple[list[int], bool]:
        """The first tokens of an item's text, cleaned, from little more of it than that takes; see ``_first``."""
        n = _TRIED_TEXT * (limit + _MARGIN)
        while n < min(len(text), LONGEST_TOKEN * limit):
            line = one_line(text, n, self.form.mark)
            tokens = self.tokenizer.encode(line, special=False) if len(line) == n else []
            if len(tokens) >= limit + _MARGIN:
                return tokens, False
            n *= 2
        line = one_line(text, LONGEST_TOKEN * limit, self.form.mark)
        return self.tokenizer.encode(line, special=False) if line else [], len(line) < LONGEST_TOKEN * limit

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
            return joined(lines)[:most]
        return [Piece(lines[0], slot), *facts, Piece(joined(lines[1:])[:most], slot)]

    def _node(self, parent: Node | None, segment: Segment, pieces: Sequence[Piece], told: Task | Group | Item) -> Node:
        encoded = self._encoded(pieces)
        n_all = encoded.n_all[segment]
        n_read = min(n_all, getattr(self.limits, segment))
        is_longer = segment in encoded.longer
        return Node(parent, segment, encoded.tokens, told, self.limits, n_read, n_all - n_read, is_longer)

    def _open_node(self, parent: Node | None, segment: Segment, pieces: Sequence[Piece], told: Task | Item) -> Node:
        """A node whose text is read in full; it comes from outside, so its tokens are not remembered."""
        encoded = self._encode(pieces)
        n_read = sum(n for slot, n in encoded.n_all.items() if slot)
        return Node(parent, segment, encoded.tokens, told, n_read=n_read)

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


def _are_open(questions: Sequence[Question]) -> bool:
    """Whether questions are in the words of their items; all are, or none is."""
    return any(question.is_open for question in questions)
