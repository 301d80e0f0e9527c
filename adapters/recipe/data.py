"""Tasks as tries of token ids, and batches of them."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from adapters.recipe.model import COMPUTE, Packed, Rows

N_TEXT = 8192
"""Tokens of the vocabulary before the words of evidence."""
TAUGHT = {
    "relevant": 0,
    "primary": 1,
    "dependency": 0,
    "co_change": 0,
    "metadata": 0,
    "found": 0,
    "kept": 0,
    "touched": 0,
}
"""Question -> which of the ranker's outputs says as much."""
VALUES = {"label": ("excluded", "primary", "supporting", "type_context")}
"""Question that is a choice -> its values."""
USED = 0.75
"""Share of ``supporting`` among what is used and not changed, for items of which neither is known to be true."""
UNREAD = 0.5
"""Weight of an item that nobody read: it was not changed, but it may matter."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to one item.

    Attributes:
        question: Its marker.
        marker: What stands behind the item.
        truth: Whether yes is true; of a choice the place of the true value, where 0 is that of what does not matter.
    """

    question: str
    marker: tuple[int, ...]
    truth: int


@dataclass(frozen=True, slots=True)
class Row:
    """An item of a task.

    Attributes:
        tokens: Its own tokens.
        group: Number of the group that it hangs below; None for the task.
        asks: What is asked of it.
        is_labelled: Whether somebody read it; of others nothing is known but that they were not changed.
        odds: The ranker's log odds: that it matters and, of a symbol, that it must be changed if it does.
    """

    tokens: array[int]
    group: int | None
    asks: tuple[Ask, ...]
    is_labelled: bool
    odds: tuple[float, ...]

    @property
    def is_hit(self) -> bool:
        """Whether any truth is yes, or a value of what matters."""
        return any(ask.truth for ask in self.asks)


@dataclass(frozen=True, slots=True)
class Tree:
    """One task under one cascade."""

    cascade: str
    prefix: array[int]
    groups: tuple[array[int], ...]
    rows: tuple[Row, ...]


Views = dict[str, tuple[Tree, ...]]
"""A task: way to ask -> its tries."""


def sample(rows: Sequence[Row], keep: float, rng: random.Random) -> list[tuple[Row, float]]:
    """Every row with a yes and a share of the others, those weighted to stand for all."""
    return [
        (row, 1.0 if row.is_hit else (1.0 if row.is_labelled else UNREAD) / keep)
        for row in rows
        if row.is_hit or rng.random() < keep
    ]


def with_met(views: Views, no: Ask, least: float) -> Views:
    """Tries in which a later question is asked too of what does not matter and would come so far.

    Args:
        views: A task.
        no: The question, with the answer no.
        least: The least log odds, by the ranker, that such an item matters.
    """
    return {
        name: tuple(replace(tree, rows=tuple(_met(row, no, least) for row in tree.rows)) for tree in trees)
        for name, trees in views.items()
    }


def _met(row: Row, no: Ask, least: float) -> Row:
    if row.is_hit or row.odds[0] < least:
        return row
    return replace(row, asks=(*row.asks, no))


class Packer:
    """Collects tries and flattens them into one batch.

    Args:
        trust: Weight of what the ranker says in a target, in [0, 1]; the truth has the rest.
        thin: Share of the text of items and groups that is left out, so that names are not learned by heart; facts
            and questions stay.
        rng: Chooses what is left out.
    """

    def __init__(self, trust: float = 0.0, thin: float = 0.0, rng: random.Random | None = None) -> None:
        self.trust, self.thin, self.rng = trust, thin, rng or random.Random(0)
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.adapted: list[float] = []
        self.spans: dict[str, list[tuple[list[int], list[int], list[int]]]] = {"prefix": [], "group": [], "item": []}
        self.asked: list[tuple[int, tuple[float, ...], float, int]] = []
        self.n_tasks = 0

    def add(self, tree: Tree, rows: Sequence[tuple[Row, float]], only: Collection[str] | None = None) -> None:
        """Add a trie with some of its rows; ``only`` asks some questions and leaves out the others."""
        prefix = self._span("prefix", [], [tree.prefix], 0)
        groups: dict[int, list[int]] = {}
        for row, weight in rows:
            above = prefix
            if row.group is not None:
                if row.group not in groups:
                    groups[row.group] = self._span(
                        "group", prefix, [self._thinned(tree.groups[row.group])], len(prefix)
                    )
                above = prefix + groups[row.group]
            asks = [ask for ask in row.asks if only is None or ask.question in only]
            tokens = self._thinned(row.tokens)
            own = self._span("item", above, [tokens, *(ask.marker for ask in asks)], len(above))
            at = len(tokens)
            for ask in asks:
                at += len(ask.marker)
                self.asked.append((own[at - 1], self._target(row, ask), weight, self.n_tasks))
        self.n_tasks += 1

    def _thinned(self, tokens: array[int]) -> array[int]:
        """Tokens without some of the text; the first two, the form's own and the kind, stay."""
        if not self.thin:
            return tokens
        kept = (token for token in tokens[2:] if token >= N_TEXT or self.rng.random() >= self.thin)
        return tokens[:2] + array("H", kept)

    def _target(self, row: Row, ask: Ask) -> tuple[float, ...]:
        """What the truth and the ranker say together of each label."""
        if ask.question in VALUES:
            return self._of_values(row, VALUES[ask.question][ask.truth])
        place = TAUGHT.get(ask.question)
        p = float(ask.truth) if place is None else self._blend(row.odds[place], ask.truth)
        return p, 1 - p

    def _of_values(self, row: Row, truth: str) -> tuple[float, ...]:
        """The same of the four labels: just what the targets of the three yes/no questions say together."""
        matters = self._blend(row.odds[TAUGHT["relevant"]], truth != "excluded")
        odds = row.odds[TAUGHT["primary"]]
        changes = _logistic(odds) if truth == "excluded" else self._blend(odds, truth == "primary")
        used = {"supporting": 1.0, "type_context": 0.0}.get(truth, USED)
        rest = matters * (1 - changes)
        return 1 - matters, matters * changes, rest * used, rest * (1 - used)

    def _blend(self, odds: float, truth: float) -> float:
        """P of yes by the ranker and the truth together."""
        return self.trust * _logistic(odds) + (1 - self.trust) * truth

    def _span(self, kind: str, above: list[int], parts: Sequence[Sequence[int]], start: int) -> list[int]:
        """Lay down a node and the questions that fork after it; returns the flat indices."""
        first, segments = len(self.tokens), []
        for number, part in enumerate(parts):
            offset = start + (len(parts[0]) if number else 0)
            self.tokens += part
            self.positions += range(offset, offset + len(part))
            self.adapted += [1.0 if number else 0.0] * len(part)
            segments += [number] * len(part)
        own = list(range(first, len(self.tokens)))
        self.spans[kind].append((above, own, segments))
        return own

    def pack(self) -> Packed:
        """The batch."""
        asked = list(zip(*self.asked, strict=True))
        rows, places = [], torch.zeros(len(self.tokens), dtype=torch.long)
        laid = 0
        for own, valid, seen, mask in (found for kind in self.spans.values() for found in _rows(kind)):
            rows.append(Rows(own, seen, mask))
            places[own[valid]] = laid + torch.arange(own.numel()).view(own.shape)[valid]
            laid += own.numel()
        return Packed(
            tokens=torch.tensor(self.tokens),
            positions=torch.tensor(self.positions),
            rows=rows,
            places=places,
            asked=torch.tensor(asked[0]),
            adapted=torch.tensor(self.adapted),
            truths=torch.tensor(asked[1]),
            weights=torch.tensor(asked[2]),
            tasks=torch.tensor(asked[3]),
        )


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def _rows(
    spans: list[tuple[list[int], list[int], list[int]]], most: int = 96
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """(own, whether real, seen, mask) of rows of similar length, so that little is padding."""
    spans = sorted(spans, key=lambda span: (len(span[0]) // 32, len(span[1])))
    for at in range(0, len(spans), most):
        chunk = spans[at : at + most]
        width = _rounded(max(len(own) for _, own, _ in chunk))
        own, valid = _pad([span[1] for span in chunk], width)
        context, known = _pad([span[0] for span in chunk], _rounded(max(len(above) for above, _, _ in chunk)))
        segment, _ = _pad([span[2] for span in chunk], width)
        earlier = torch.ones(width, width, dtype=torch.bool).tril()
        same = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
        inner = earlier & same & valid[:, None, :]
        inner |= torch.eye(width, dtype=torch.bool)  # a padded query still needs one key
        outer = known[:, None, :].expand(-1, width, -1)
        mask = torch.zeros(len(chunk), 1, width, outer.shape[2] + width, dtype=COMPUTE)
        mask.masked_fill_(~torch.cat((outer, inner), dim=2)[:, None], -1e4)
        yield own, valid, torch.cat((context, own), dim=1), mask


def _rounded(width: int) -> int:
    """Up to whole vectors: bfloat16 kernels fall back to slow ones for odd widths."""
    return -(-width // 16) * 16


def _pad(lists: Sequence[Sequence[int]], width: int) -> tuple[Tensor, Tensor]:
    """(R, width) indices padded with 0, and where they are real."""
    table = torch.zeros(len(lists), width, dtype=torch.long)
    real = torch.zeros(len(lists), width, dtype=torch.bool)
    for number, values in enumerate(lists):
        table[number, : len(values)] = torch.tensor(values, dtype=torch.long)
        real[number, : len(values)] = True
    return table, real
