"""Mined tasks as pairs of a task and a symbol with its source: what the encoder is trained on and measured on."""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from adapters.recipe.labelled import evidence_of, symbol_items
from adapters.recipe.mine import LABELS, Clone, Mined, View
from cascade.evidence.ranker import Ranker, log_p_changes
from cascade.items import Item, Task
from cascade.prompt import PromptBuilder, one_line
from cascade.repository.source import read_definitions

BEST = 40
"""How many of the ranker's first symbols are paired with a task, beside those that its commit changed."""

TEXT_TOKENS = 96
"""Most tokens of a symbol's source."""

_VIEW = "none"
_CHARACTERS = 12 * TEXT_TOKENS
_PRIMARY = LABELS.index("primary")


@dataclass(frozen=True, slots=True)
class Candidate:
    """The second text of a pair, as token ids.

    Attributes:
        plain: Path, name, signature and documentation.
        told: The same with the ranker's two words of evidence.
        text: The first tokens of its source.
    """

    plain: array[int]
    told: array[int]
    text: array[int]


@dataclass(frozen=True, slots=True)
class PairTask:
    """A commit's task with the symbols that are paired with it, the likeliest by the ranker first.

    Attributes:
        id: Repository and commit.
        task: The first text, as token ids.
        candidates: The second texts.
        changed: Whether the commit changed each.
        log_p: Logarithm of the ranker's P that each must be changed.
        is_class: Whether each is a class, which the measure leaves out.
        n_gold: Functions and methods that the commit changed, those that are not among the candidates included.
        items: The candidates as items with their source; empty for training.
    """

    id: str
    task: array[int]
    candidates: tuple[Candidate, ...]
    changed: NDArray[np.bool_]
    log_p: NDArray[np.float64]
    is_class: NDArray[np.bool_]
    n_gold: int
    text: str = ""
    items: tuple[Item, ...] = field(default=(), repr=False)


class Pairer:
    """Pairs the tasks of one clone with its symbols.

    Args:
        builder: Writes pairs, as in use.
        clone: Where the source is read.
        ranker: Says which symbols come first, and two words of evidence.
        keeps_items: Whether the items are kept beside their tokens.
    """

    def __init__(self, builder: PromptBuilder, clone: Clone, ranker: Ranker, *, keeps_items: bool = False) -> None:
        self.builder, self.clone, self.ranker, self.keeps_items = builder, clone, ranker, keeps_items
        self._sources: dict[tuple[str, str], dict[str, str]] = {}

    def pairs(self, several: Sequence[Mined]) -> Iterator[PairTask]:
        """The tasks that changed a function, each with its pairs."""
        for mined in several:
            view = next((one for one in mined.views if one.name == _VIEW), None)
            if view is not None and mined.gold:
                try:
                    yield self._paired(mined, view)
                except subprocess.CalledProcessError as error:
                    print(f"{mined.id} is left out: {error}", flush=True)

    def _paired(self, mined: Mined, view: View) -> PairTask:
        evidence = evidence_of(view, self.ranker)
        changed = view.labels == _PRIMARY
        best = evidence.best_symbols(BEST)
        chosen = np.concatenate([best, np.setdiff1d(np.flatnonzero(changed), best)])
        commit = mined.id.rpartition(":")[2]
        blobs = self.clone.tree(f"{commit}^")
        items = [
            replace(item, text=self._sources_of(item.group.name, blobs).get(item.id, "") if item.group else "")
            for item in symbol_items(view, evidence, chosen)
        ]
        root = self.builder.task("", (), Task(text=mined.text))
        return PairTask(
            id=mined.id,
            task=array("H", root.tokens),
            candidates=tuple(map(self.candidate, items)),
            changed=changed[chosen],
            log_p=log_p_changes(evidence.symbol_odds[chosen]),
            is_class=np.array([item.kind == "class" for item in items]),
            n_gold=len(mined.gold),
            text=mined.text if self.keeps_items else "",
            items=tuple(items) if self.keeps_items else (),
        )

    def candidate(self, item: Item) -> Candidate:
        """An item as token ids."""
        return Candidate(self._head(replace(item, evidence=())), self._head(item), self._text(item))

    def _head(self, item: Item) -> array[int]:
        root = self.builder.task("", (), Task(text="x"))
        above = self.builder.group(root, replace(item.group, evidence=())) if item.group is not None else root
        node = self.builder.item(above, item)
        return array("H", (*(above.tokens if above is not root else ()), *node.tokens))

    def _text(self, item: Item) -> array[int]:
        encode = self.builder.tokenizer.encode
        line = one_line(item.text[: 4 * _CHARACTERS], _CHARACTERS, self.builder.form.mark)
        return array("H", (*encode(" | ", special=True), *encode(line, special=False)[:TEXT_TOKENS]) if line else ())

    def _sources_of(self, path: str, blobs: dict[str, str]) -> dict[str, str]:
        """Id -> source of the symbols of a file."""
        key = path, blobs[path]
        if key not in self._sources:
            self._sources[key] = {
                one.record.id: one.text for one in read_definitions(path, self.clone.source(blobs[path]))
            }
        return self._sources[key]
