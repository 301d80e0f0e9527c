"""Pairs of files: does the first depend on the second? As signals, facts and items. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np

from cascade.evidence.corpus import Corpus
from cascade.evidence.records import FileRecord
from cascade.evidence.signals import Columns, alike
from cascade.evidence.ties import Ties
from cascade.evidence.wording import edge_facts
from cascade.items import Item
from cascade.probability import Array

ARROW = " -> "
"""Stands between the two files of a pair, wherever a pair is written."""

_MOST_NAMES = 6


@dataclass(frozen=True, eq=False)
class Edges:
    """All ordered pairs of some files.

    Attributes:
        corpus: All that was read.
        imports: File -> the files that it imports; of the parts at least.
        parts: The files, each once.
    """

    corpus: Corpus
    imports: Mapping[str, frozenset[str]]
    parts: tuple[FileRecord, ...]

    @cached_property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Places in ``parts`` of the first and the second file of each pair."""
        return tuple(permutations(range(len(self.parts)), 2))

    @cached_property
    def columns(self) -> Columns:
        """Signal -> its value for each pair; (k,)."""
        paths = [part.path for part in self.parts]
        uses, together = self._uses(paths), [self._together(path) for path in paths]
        found = [
            {
                "imports": float(paths[there] in self.imports.get(paths[here], ())),
                "imported": float(paths[here] in self.imports.get(paths[there], ())),
                "n_used": np.log1p(uses[here, there]),
                "n_users": np.log1p(uses[there, here]),
                "together": np.log1p(together[here].together.get(paths[there], 0)),
                "ratio": together[here].ratio(paths[there]),
                "never": _never(together[here], paths[there]),
                "beside": float(paths[here].rpartition("/")[0] == paths[there].rpartition("/")[0]),
                "alike": float(alike(paths[here], paths[there])),
            }
            for here, there in self.pairs
        ]
        return {name: np.array([one[name] for one in found]) for name in EDGE_SIGNALS}

    def items(self) -> list[Item]:
        """The pairs as items, in order."""
        facts = edge_facts(self.columns, range(len(self.pairs)))
        return [
            edge_item(self.parts[here], self.parts[there], tuple(said))
            for (here, there), said in zip(self.pairs, facts, strict=True)
        ]

    def _uses(self, paths: Sequence[str]) -> Array:
        """How many of the second file's functions and classes the first one uses, by names defined once; (p, p).

        A method's name is no reference: many things have a ``close``.
        """
        place = {path: at for at, path in enumerate(paths)}
        part = np.array([place.get(path, -1) for path in self.corpus.paths], np.int64)[self.corpus.files]
        links = self.corpus.links
        is_top = np.array([not owner for owner in self.corpus.owners], np.bool_)
        own = (links.weights == 1) & (part[links.users] >= 0) & (part[links.used] >= 0) & is_top[links.used]
        known = np.unique(np.stack((part[links.users[own]], links.used[own]), axis=1), axis=0)
        found = np.zeros((len(paths), len(paths)))
        np.add.at(found, (known[:, 0], part[known[:, 1]]), 1)
        return found

    def _together(self, path: str) -> Ties:
        """What earlier commits tie to a file."""
        if self.corpus.history is None:
            return Ties(seeds=(path,))
        found = self.corpus.history.together({path})
        return Ties(seeds=(path,), together=found.counts, seed_changes=found.seed_changes)


EDGE_SIGNALS = ("imports", "imported", "n_used", "n_users", "together", "ratio", "never", "beside", "alike")
"""What is known of a pair; ``n_used`` is about what the first file uses of the second, ``n_users`` the reverse."""


def edge_item(first: FileRecord, second: FileRecord, facts: tuple[str, ...] = ()) -> Item:
    """A pair as an item: the question is whether the first depends on the second."""
    names = (" ".join(part.symbols[:_MOST_NAMES]) for part in (first, second))
    docs = [part.doc for part in (first, second)]
    return Item(
        id=f"{first.path}{ARROW}{second.path}",
        kind="edge",
        name=f"{first.path}{ARROW}{second.path}",
        signature=ARROW.join(names),
        doc=ARROW.join(docs) if all(docs) else "",
        evidence=facts,
    )


def _never(ties: Ties, path: str) -> float:
    return 0.0 if ties.together.get(path) else float(np.log1p(ties.seed_changes))
