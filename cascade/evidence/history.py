"""Earlier commits: what they said and which files they changed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cascade.evidence.postings import Places, Postings
from cascade.evidence.task_terms import TaskTerms
from cascade.probability import Array

MOST_MESSAGE = 600
"""Characters of a message that are read."""

_MOST_FILES = 30  # a larger commit says nothing about which files belong together
_MOST_MEANT = 15  # nor its message about one of them
_MOST_SAID = 3  # how often a word of the task counts
_BEST = 60  # commits that lend their score to their files
_RECENT, _HALF = 1_000, 300.0  # commits that count as recent, and how fast they fade


class Change(NamedTuple):
    """One path of one commit.

    Attributes:
        status: Git's letter: ``A`` added, ``M`` modified, ``D`` deleted, ``R`` renamed, ...
        old: The path before.
        new: The path after; the same unless it was renamed.
    """

    status: str
    old: str
    new: str


class Commit(NamedTuple):
    """What is known of a commit.

    Attributes:
        words: Words of its message, as ``cascade.evidence.terms`` has them.
        changes: The paths that it changed.
    """

    words: tuple[int, ...] = ()
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CoChanges:
    """How often files changed together with a seed.

    Attributes:
        counts: Path today -> commits that changed both it and a seed.
        seed_changes: Commits that changed a seed.
    """

    counts: dict[str, int]
    seed_changes: int = 0


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class History:
    """Commits, newest first, with the files that they changed.

    Attributes:
        messages: Words of their messages; a document for each commit.
        paths: The files, under their present names.
        commits: Commit of each change, rising; (m,).
        files: Place in ``paths`` of each change; (m,).
    """

    messages: Postings
    paths: tuple[str, ...]
    commits: Places
    files: Places

    @classmethod
    def of(cls, commits: Sequence[Commit], present: Collection[str]) -> History:
        """The history of the files that are there; a renamed file keeps its past under its present name.

        Args:
            commits: Newest first.
            present: Paths of the files that count.
        """
        renamed: dict[str, str] = {}  # path at this point of the history -> path today
        changed: list[list[str]] = []
        for commit in commits:
            paths = {renamed.get(one.new, one.new) for one in commit.changes if one.status != "D"}
            found = sorted(path for path in paths if path in present)
            changed.append(found if len(found) <= _MOST_FILES else [])
            renamed |= {one.old: renamed.get(one.new, one.new) for one in commit.changes if one.status == "R"}
        names = tuple(dict.fromkeys(path for paths in changed for path in paths))
        place = {path: at for at, path in enumerate(names)}
        return cls(
            messages=Postings.of([commit.words for commit in commits]),
            paths=names,
            commits=np.repeat(np.arange(len(commits), dtype=np.int32), [len(paths) for paths in changed]),
            files=np.array([place[path] for paths in changed for path in paths], np.int32),
        )

    def together(self, seeds: Collection[str]) -> CoChanges:
        """How often the other files changed together with any of some files."""
        is_seed = np.array([path in seeds for path in self.paths], np.bool_)
        touched = np.zeros(self.messages.n_documents, np.bool_)
        touched[self.commits[is_seed[self.files]]] = True
        with_seed = self.files[touched[self.commits] & ~is_seed[self.files]]
        counts = Counter(with_seed.tolist())
        return CoChanges(counts={self.paths[at]: n for at, n in counts.items()}, seed_changes=int(touched.sum()))

    def matches(self, task: TaskTerms) -> dict[str, float]:
        """File -> how well the commits that changed it match a task, above 0.

        Each of the best commits gives its files the square of its score, over the root of how many they are.
        """
        if not len(task.words) or not self.messages.n_documents:
            return {}
        scores = self.messages.hits(task.words).bm25(np.minimum(task.counts, _MOST_SAID))
        sizes = np.bincount(self.commits, minlength=len(scores))
        scores = np.where((sizes > 0) & (sizes <= _MOST_MEANT), scores, 0.0)
        top = np.argsort(-scores, kind="stable")[:_BEST]
        share = np.zeros(len(scores))
        share[top] = (scores[top] / max(float(scores.max()), 1e-9)) ** 2
        found = self._by_file((share / np.sqrt(np.maximum(sizes, 1)))[self.commits])
        return {path: value for path, value in zip(self.paths, found.tolist(), strict=True) if value > 0}

    def recency(self) -> dict[str, float]:
        """File -> how much it was changed lately, above 0."""
        fading = np.where(self.commits < _RECENT, np.exp(-self.commits / _HALF), 0.0)
        return {path: value for path, value in zip(self.paths, self._by_file(fading).tolist(), strict=True) if value}

    def _by_file(self, values: Array) -> Array:
        return np.bincount(self.files, values, len(self.paths)).astype(np.float64)
