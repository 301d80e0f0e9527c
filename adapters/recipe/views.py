"""Mined tasks as tries of token ids: what the cascade will be asked, in the very form in which it asks."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from adapters.recipe.data import Ask, Row, Tree, Views
from adapters.recipe.further import MADE, labelled_edges, labelled_own_edges, labelled_views
from adapters.recipe.labelled import evidence_of, symbol_items
from adapters.recipe.mine import LABELS, OWN, Mined, View
from adapters.recipe.parts import MinedEdges
from cascade.evaluation.dataset import Labelled
from cascade.evidence.making import Evidence
from cascade.evidence.ranker import Ranker
from cascade.items import Item, Task
from cascade.probability import finite_logit
from cascade.prompt import Node, PromptBuilder
from cascade.stages import Question
from cascade.tree import Cascade

OF_SYMBOLS = ("precision", "one_call")
"""Cascades of symbols: by yes and no, and by one choice among the same labels."""
BEST = 40
"""How many of the ranker's first symbols of a checkout are asked beside those whose label is known."""


class Planter:
    """Grows the tries of mined tasks.

    Args:
        builder: Writes the prompts, as in use.
        cascades: Name -> cascade; ``OF_SYMBOLS``, as far as they are there, ``scope`` and the further ones.
        ranker: Says which symbols come first, and two words of evidence.
    """

    def __init__(self, builder: PromptBuilder, cascades: Mapping[str, Cascade], ranker: Ranker) -> None:
        self.builder, self.cascades, self.ranker = builder, cascades, ranker
        self._asks: dict[tuple[str, tuple[str, ...], str], tuple[Ask, ...]] = {}

    def views(self, mined: Mined) -> Views:
        """View -> its tries: the symbols, and of a checkout the files."""
        return {view.name: tuple(self._trees(mined.text, view)) for view in mined.views}

    def further(self, mined: Mined) -> Views:
        """View -> its tries under routing, refilter and module."""
        found: dict[str, list[Tree]] = defaultdict(list)
        for cascade in MADE:
            for view, labelled in labelled_views(cascade, mined, self.ranker).items():
                found[view].append(self._labelled(cascade, labelled))
        return {view: tuple(trees) for view, trees in found.items()}

    def edges(self, mined: MinedEdges) -> Views:
        """View -> its trie under edge: the parts of a checkout, and those of a plan."""
        found = {"none": labelled_edges(mined), "own": labelled_own_edges(mined, self.ranker)}
        return {view: (self._labelled("edge", one),) for view, one in found.items() if one.items}

    def _labelled(self, cascade: str, labelled: Labelled) -> Tree:
        odds = [[float(finite_logit(item.prior or 0.0))] for item in labelled.items]
        return self._tree(cascade, labelled.task, labelled.items, labelled.labels, odds, [True] * len(odds))

    def _trees(self, text: str, view: View) -> Iterator[Tree]:
        task = Task(text=text, seeds=view.seeds)
        evidence = evidence_of(view, self.ranker)
        yield from self._symbols(task, view, evidence)
        if view.records:
            yield self._files(task, view, evidence)

    def _symbols(self, task: Task, view: View, evidence: Evidence) -> Iterator[Tree]:
        best = evidence.best_symbols(len(view.labels) if view.name in OWN else BEST)
        chosen = np.union1d(best, np.flatnonzero(view.is_labelled))
        items = symbol_items(view, evidence, chosen)
        labels = [LABELS[at] for at in view.labels[chosen].tolist()]
        odds = evidence.symbol_odds[chosen].tolist()
        for cascade in filter(self.cascades.__contains__, OF_SYMBOLS):
            yield self._tree(cascade, task, items, labels, odds, view.is_labelled[chosen].tolist())

    def _files(self, task: Task, view: View, evidence: Evidence) -> Tree:
        chosen = [at for at, path in enumerate(view.corpus.paths) if path in view.records]
        items = evidence.file_items(chosen, view.records)
        truth = view.changed - set(view.seeds)
        labels = ["relevant" if item.id in truth else "irrelevant" for item in items]
        odds = [[one] for one in evidence.file_odds[chosen].tolist()]
        return self._tree("scope", task, items, labels, odds, [True] * len(items))

    def _tree(
        self,
        cascade: str,
        task: Task,
        items: Sequence[Item],
        labels: Sequence[str],
        odds: Sequence[Sequence[float]],
        read: Sequence[bool],
    ) -> Tree:
        asked = self.cascades[cascade]
        root = self.builder.task(asked.instructions, asked.questions(), task)
        headers = {item.group: self.builder.group(root, item.group) for item in items if item.group is not None}
        numbers = {group: number for number, group in enumerate(headers)}
        rows = []
        for item, label, own, is_labelled in zip(items, labels, odds, read, strict=True):
            above = headers[item.group] if item.group is not None else root
            number = numbers[item.group] if item.group is not None else None
            if asks := self._asked(asked, item, label):
                rows.append(Row(_short(self.builder.item(above, item)), number, asks, is_labelled, tuple(own)))
        return Tree(cascade, _short(root), tuple(map(_short, headers.values())), tuple(rows))

    def _asked(self, cascade: Cascade, item: Item, label: str) -> tuple[Ask, ...]:
        key = cascade.name, item.tiers, label
        if key not in self._asks:
            self._asks[key] = tuple(
                Ask(question.marker, self.builder.marker_tokens(question.marker), _place(truth, question))
                for stage, truth in cascade.truths(label)
                for question in map(stage.question, stage.tiers_of(item))
            )
        return self._asks[key]


def _place(truth: object, question: Question) -> int:
    """A true answer as ``Ask.truth`` has it."""
    return [value.name for value in question.values].index(truth) if isinstance(truth, str) else int(bool(truth))


def _short(node: Node) -> array[int]:
    return array("H", node.tokens)
