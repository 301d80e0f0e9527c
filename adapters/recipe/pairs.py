"""Mined tasks as pairs of a task and a symbol with its source: what the encoder is trained on and measured on."""

from __future__ import annotations

import subprocess
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from adapters.recipe.labelled import evidence_of, symbol_items
from adapters.recipe.mine import LABELS, Mined, View
from cascade.dataset.clone import Clone
from cascade.evidence.ranker import Ranker, log_p_changes
from cascade.items import Item, Task
from cascade.prompt import PromptBuilder
from cascade.repository.source import read_definitions

BEST = 40
"""How many of the ranker's first symbols are paired with a task, beside those that its commit changed."""

TEXT_TOKENS = 96
"""Most tokens of a symbol's source."""

_VIEW = "none"
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
    """

    id: str
    task: array[int]
    candidates: tuple[Candidate, ...]
    changed: NDArray[np.bool_]
    log_p: NDArray[np.float64]
    is_class: NDArray[np.bool_]
    n_gold: int


class Pairer:
    """Pairs the tasks of one clone with its symbols.

    Args:
        builder: Writes pairs, as in use.
        clone: Where the source is read.
        ranker: Says which symbols come first, and two words of evidence.
    """

    def __init__(self, builder: PromptBuilder, clone: Clone, ranker: Ranker) -> None:
        self.builder, self.clone, self.ranker = builder, clone, ranker
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
        )

    def candidate(self, item: Item) -> Candidate:
        """An item as token ids."""
        root = self.builder.task("", (), Task(text="-"))
        above = self.builder.group(root, item.group) if item.group is not None else root
        told = self.builder.item(above, item)
        plain = self.builder.item(above, replace(item, evidence=()))
        (text,) = self.builder.text(told, item, [TEXT_TOKENS])
        head = above.tokens if above is not root else ()
        return Candidate(
            plain=array("H", (*head, *plain.tokens)),
            told=array("H", (*head, *told.tokens)),
            text=array("H", text.tokens if text is not told else ()),
        )

    def _sources_of(self, path: str, blobs: dict[str, str]) -> dict[str, str]:
        """Id -> source of the symbols of a file."""
        key = path, blobs[path]
        if key not in self._sources:
            self._sources[key] = {
                one.record.id: one.text for one in read_definitions(path, self.clone.source(blobs[path]))
            }
        return self._sources[key]
