"""What the further tasks need of full clones beside the mined ones: dependencies among changed parts, and sizes.

    python -m adapters.recipe parts GITDIR... [--tasks N]

A task of dependencies is a commit that changes two to eight source files: the files are the parts, each ordered pair is
an item, and the tree after the commit says whether the first depends on the second: it imports it, or uses a name that
nothing else defines. What is known of a pair comes from the tree before the commit, with the history that led there.
"""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adapters.recipe.mine import Mined, read_mined
from cascade.dataset.clone import Clone
from cascade.dataset.commit_labels import MOST_FILES, task_text
from cascade.evidence.corpus import Corpus
from cascade.evidence.edges import Edges
from cascade.evidence.history import Change, History
from cascade.evidence.records import FileRecord
from cascade.evidence.signals import Columns
from cascade.repository.exclusions import is_source
from cascade.repository.imports import ImportGraph
from cascade.repository.index import Indexed
from cascade.repository.outline import Outline
from cascade.repository.tiers import file_record

Sizes = dict[str, dict[str, int]]
"""Id of a mined task -> path -> bytes, of the files that a tier finds and of the seeds."""


@dataclass(frozen=True, slots=True)
class MinedEdges:
    """A commit's parts, and which depend on which.

    Attributes:
        id: Repository and commit.
        text: The task.
        before: The parts that are there before the commit.
        columns: Signal -> its value for each ordered pair of these; see ``Edges``.
        after: All parts, as the commit leaves them.
        depends: The pairs of paths of which the first depends on the second, after the commit.
    """

    id: str
    text: str
    before: tuple[FileRecord, ...]
    columns: Columns
    after: tuple[FileRecord, ...]
    depends: frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class MinedParts:
    """What was mined of a clone."""

    edges: tuple[MinedEdges, ...]
    sizes: Sizes


def mine_parts(folder: Path, source: Path, out: Path, n_tasks: int) -> None:
    """Mines a clone; what is there already is left.

    Args:
        folder: Git directory with the full history.
        source: File of its mined tasks, whose files get sizes; named after the repository.
        out: File that is written.
        n_tasks: The most commits whose parts are taken, the newest first.
    """
    if out.exists():
        return
    with Clone(folder) as clone:
        edges = tuple(_edges(clone, source.stem, n_tasks))
        found = MinedParts(edges, _sizes(folder, clone, list(read_mined([source]))))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".partial")
    partial.write_bytes(pickle.dumps(found))
    partial.replace(out)


def read_parts(path: Path) -> MinedParts:
    """What was mined of a clone, from its file."""
    found: MinedParts = pickle.loads(path.read_bytes())  # noqa: S301 - the recipe's own file
    return found


def _edges(clone: Clone, repository: str, n_tasks: int) -> Iterator[MinedEdges]:
    n_found = 0
    for commit, known in clone.commits.items():
        text, paths = task_text(clone.messages[commit]), changed_parts(known.changes)
        if n_found == n_tasks:
            return
        if not text or len(paths) < 2:
            continue
        try:
            found = _of_commit(clone, commit, f"{repository}:{commit[:10]}", text, paths)
        except subprocess.CalledProcessError:  # the first commit has no parent
            continue
        if found is not None:
            n_found += 1
            yield found
        if n_found % 20 == 0:
            print(f"{repository}: {n_found} of {n_tasks}", flush=True)


def changed_parts(changes: Sequence[Change]) -> list[str]:
    """The source files that a commit adds or modifies; none where it does more, or too much."""
    source = [one for one in changes if is_source(one.old) or is_source(one.new)]
    if not 0 < len(source) <= MOST_FILES or any(one.status not in "AM" for one in source):
        return []
    return [one.new for one in source]


def _of_commit(clone: Clone, commit: str, name: str, text: str, paths: Sequence[str]) -> MinedEdges | None:
    base = f"{commit}^"
    before, after = (_Tree(clone, one) for one in (base, commit))
    old = tuple(before.record(path) for path in paths if path in before.indexed)
    new = tuple(after.record(path) for path in paths if path in after.indexed)
    if len(new) < 2:
        return None
    history = History.of(clone.before(base, commit), before.indexed.keys())
    edges, truth = before.edges(old, history), after.edges(new, None)
    depends = (truth.columns["imports"] > 0) | (truth.columns["n_used"] > 0)
    return MinedEdges(
        id=name,
        text=text,
        before=old,
        columns={one: values.astype(np.float32) for one, values in edges.columns.items()},
        after=new,
        depends=frozenset(_paths(truth, np.flatnonzero(depends))),
    )


def _paths(edges: Edges, chosen: NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    for here, there in (edges.pairs[at] for at in chosen.tolist()):
        yield edges.parts[here].path, edges.parts[there].path


class _Tree:
    """The source of a commit."""

    def __init__(self, clone: Clone, commit: str) -> None:
        blobs = clone.tree(commit)
        self.indexed: Mapping[str, Indexed] = {path: clone.indexed(path, blob) for path, blob in blobs.items()}
        self._outlines: Mapping[str, Outline] = {path: one.outline for path, one in self.indexed.items()}
        self._graph = ImportGraph(sorted(blobs, key=lambda path: (path.count("/"), path)), self._outlines)

    def record(self, path: str) -> FileRecord:
        """What is shown of a file."""
        return file_record(path, self._outlines[path])

    def edges(self, parts: tuple[FileRecord, ...], history: History | None) -> Edges:
        """The pairs of some files."""
        entries = tuple(one.entry for one in self.indexed.values())
        imports = {part.path: self._graph.targets(part.path) for part in parts}
        return Edges(Corpus(tuple(self.indexed), entries, history), imports, parts)


def _sizes(folder: Path, clone: Clone, mined: Sequence[Mined]) -> Sizes:
    """Bytes of the files of mined tasks."""
    whole = {commit[:10]: commit for commit in clone.commits}
    found: Sizes = {}
    for one in mined:
        short = one.id.partition(":")[2]
        wanted = {path for view in one.views for path in (*view.records, *view.seeds)}
        done = subprocess.run(
            ["git", f"--git-dir={folder}", "ls-tree", "-r", "-l", "-z", f"{whole.get(short, short)}^"],
            capture_output=True,
            check=True,
        )
        rows = (row.partition("\t") for row in done.stdout.decode("utf-8", "surrogateescape").split("\0") if row)
        found[one.id] = {path: int(head.split()[3]) for head, _, path in rows if path in wanted}
    return found
