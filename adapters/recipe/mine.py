"""Signals of commit tasks, mined from full clones of public repositories: what ranker and adapters are trained on.

    python -m adapters.recipe mine GITDIR... --data DIR [--tasks N]

For each labelled commit of DIR the tree of its parent is read as a user would see it, and a task of its own is kept for
each way to ask: with no file to start from, with the right one, with a wrong one, and as items of one's own, with and
without their source. Only ancestors of the parent count as history: commits of the same pull request are often older
than the tree that they were merged into, and would give the answer away.
"""

from __future__ import annotations

import gzip
import json
import pickle
import random
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.dataset.clone import Clone
from cascade.dataset.mining import label_history
from cascade.evidence.corpus import Corpus
from cascade.evidence.facts import FACTS
from cascade.evidence.history import History
from cascade.evidence.own import own_corpus
from cascade.evidence.records import Definition, FileRecord, SymbolRecord
from cascade.evidence.signals import Columns, Signals, tied
from cascade.evidence.starting_points import starting_points
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.ties import Ties
from cascade.items import Group, Item
from cascade.repository.imports import ImportGraph
from cascade.repository.source import read_definitions
from cascade.repository.tiers import rank_files, ties_to

SEED = 5
OWN = ("own", "source", "said")
"""Views of items of one's own."""
LABELS = ("excluded", "type_context", "supporting", "primary")
_BEST = {
    "body_share": 150, "title_share": 60, "idents_share": 60, "head_share": 40, "literals_share": 40,
    "quoted_share": 20, "code_share": 40, "doc_share": 40, "callers_body": 30, "callees_body": 30,
    "callees_named": 20, "file_top_share": 40, "named_code": 40, "qualified": 40, "traced": 40, "file_located": 40,
    "mates_named": 30,
}  # fmt: skip
"""Signal -> how many of its best symbols are candidates."""


@dataclass(frozen=True, slots=True)
class Competitors:
    """Symbols and files of a mined task, in place of a corpus."""

    symbols: tuple[SymbolRecord, ...]
    files: NDArray[np.int32]
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One way to ask: the signals of a task, in place of ``cascade.evidence.signals.Signals``.

    Attributes:
        name: ``none``, ``right`` or ``wrong``, after the file to start from; ``own`` and ``source`` for items of one's
            own, without and with their source; ``said`` for those without, half of which claim words of evidence.
        corpus: The candidates.
        symbols: Signal -> its value for each candidate.
        files: Signal -> its value for each file.
        seeds: The files to start from.
        labels: Place in ``LABELS`` of each candidate's label.
        is_labelled: Whether the label of each was read; of others nothing is known but that they were not changed.
        records: Path -> what is shown of each file that a tier finds.
        changed: Paths that the commit changed.
    """

    name: str
    corpus: Competitors
    symbols: Columns
    files: Columns
    seeds: tuple[str, ...]
    labels: NDArray[np.int8]
    is_labelled: NDArray[np.bool_]
    records: dict[str, FileRecord] = field(default_factory=dict)
    changed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Mined:
    """A commit's task in all its views.

    Attributes:
        id: Repository and commit.
        text: The task.
        gold: Ids of the functions and methods that the commit changed.
        views: The ways to ask.
    """

    id: str
    text: str
    gold: frozenset[str]
    views: tuple[View, ...]


def mine(clone: Clone, row: dict[str, Any], rng: random.Random) -> Mined:
    """All views of a labelled commit; ``row`` is a line of a commit-task file."""
    return _Task(clone, row, rng).mined()


class _Task:
    def __init__(self, clone: Clone, row: dict[str, Any], rng: random.Random) -> None:
        self.clone, self.row, self.rng = clone, row, rng
        base = f"{row['commit']}^"
        self.blobs = clone.tree(base)
        if row["seed"] not in self.blobs:
            raise KeyError(row["seed"])
        self.indexed = {path: clone.indexed(path, blob) for path, blob in self.blobs.items()}
        self.paths = tuple(self.blobs)
        self.history = History.of(clone.before(base, row["commit"]), frozenset(self.paths))
        self.corpus = Corpus(self.paths, tuple(one.entry for one in self.indexed.values()), self.history)
        self.terms = TaskTerms(row["task"])
        self.labels = {one["id"]: LABELS.index(one["label"]) for one in row["symbols"]}
        changes = clone.commits[row["commit"]].changes if row["commit"] in clone.commits else ()
        self.changed = frozenset({row["seed"], *(one.old for one in changes)} & self.blobs.keys())
        outlines = {path: one.outline for path, one in self.indexed.items()}
        self.outlines = outlines
        self.graph = ImportGraph(sorted(self.paths, key=lambda path: (path.count("/"), path)), outlines)

    def mined(self) -> Mined:
        kinds = {one["id"]: one["kind"] for one in self.row["symbols"]}
        gold = (one for one, label in self.labels.items() if LABELS[label] == "primary" and kinds[one] != "class")
        views = (*self._checkout_views(), *self._own_views())
        return Mined(f"{self.row['repo']}:{self.row['commit'][:10]}", self.row["task"], frozenset(gold), views)

    def _ties(self, seeds: Sequence[str]) -> Ties:
        seeds = tuple(dict.fromkeys([*seeds, *starting_points(self.row["task"], self.paths)]))
        return ties_to(seeds, self.paths, self.graph, self.history)

    def _checkout_views(self) -> Iterator[View]:
        signals = Signals(self.corpus, self.terms, self._ties(()))
        chosen = self._chosen(signals.symbols)
        files = self.corpus.files[chosen]
        plain = {name: values[chosen].astype(np.float16) for name, values in signals.symbols.items()}
        symbols = tuple(self.corpus.symbols[at] for at in chosen.tolist())
        unchanged = [path for path in self.paths if path not in self.changed]
        for name, seeds in (
            ("none", ()),
            ("right", (self.row["seed"],)),
            ("wrong", (self.rng.choice(unchanged),) if unchanged else ()),
        ):
            ties = self._ties(seeds)
            columns = tied(self.corpus, ties)
            by_symbol = {f"file_{one}": values[files].astype(np.float16) for one, values in columns.items()}
            by_file = signals.files | columns
            records = rank_files(self.paths, by_file, ties, self.outlines)
            yield View(
                name=name,
                corpus=Competitors(symbols, files, self.paths),
                symbols=plain | by_symbol,
                files={one: values.astype(np.float16) for one, values in by_file.items()},
                seeds=ties.seeds,
                labels=np.array([self.labels.get(one.id, 0) for one in symbols], np.int8),
                is_labelled=np.array([one.id in self.labels for one in symbols]),
                records={one.path: one for one in records},
                changed=self.changed,
            )

    def _chosen(self, columns: Columns) -> NDArray[np.int64]:
        """The best by any signal, and all whose labels are known."""
        found = {at for at, one in enumerate(self.corpus.symbols) if one.id in self.labels}
        for name, most in _BEST.items():
            best = np.argsort(-columns[name] - 1e-3 * columns["body_share"], kind="stable")[:most]
            found.update(best[columns[name][best] > 0].tolist())
        return np.array(sorted(found), np.int64)

    def _own_views(self) -> Iterator[View]:
        """The labelled symbols alone, as a caller's items."""
        paths = sorted({one["path"] for one in self.row["symbols"]} & self.blobs.keys())
        found = {
            one.record.id: one for path in paths for one in read_definitions(path, self.clone.source(self.blobs[path]))
        }
        wanted = [found[one] for one in self.labels if one in found]
        is_grouped = self.rng.random() < 0.5
        for name in OWN:
            items = [_own_item(one, is_grouped=is_grouped, has_source=name == "source") for one in wanted]
            items = [self._claiming(item) for item in items] if name == "said" else items
            corpus = own_corpus(items)
            ids = {item.name: item.id for item in items}
            signals = Signals(corpus, self.terms, Ties())
            named = [ids.get(one.qualname, one.id) for one in corpus.symbols]
            yield View(
                name=name,
                corpus=Competitors(corpus.symbols, corpus.files, corpus.paths),
                symbols={one: values.astype(np.float16) for one, values in signals.symbols.items()},
                files={one: values.astype(np.float16) for one, values in signals.files.items()},
                seeds=(),
                labels=np.array([self.labels.get(one, 0) for one in named], np.int8),
                is_labelled=np.ones(len(named), np.bool_),
            )

    def _claiming(self, item: Item) -> Item:
        """An item whose docstring, in every second case, is words of evidence, which are worth nothing there."""
        if self.rng.random() < 0.5:
            return item
        return replace(item, doc=" ".join(self.rng.choices(FACTS, k=self.rng.randint(3, 9))))


def _own_item(one: Definition, *, is_grouped: bool, has_source: bool) -> Item:
    record = one.record
    return Item(
        id=record.id,
        kind=record.kind,
        name=record.qualname,
        signature=record.signature,
        doc=record.doc,
        text=one.text if has_source else "",
        group=Group(name=record.path) if is_grouped else None,
    )


def mine_history(folder: Path, repository: str, out: Path, n_tasks: int) -> None:
    """Mines commits of a clone that nobody labelled before; what is there already is left."""
    if not out.exists():
        with Clone(folder) as clone:
            _mine_rows(clone, list(label_history(clone, repository, n_tasks))[::-1], out)


def mine_file(folder: Path, data: Path, out: Path, n_tasks: int) -> None:
    """Mines some of the tasks of a commit-task file; what is there already is left."""
    if out.exists():
        return
    with gzip.open(data, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    random.Random(SEED).shuffle(rows)
    with Clone(folder) as clone:
        _mine_rows(clone, sorted(rows[:n_tasks], key=lambda row: row["date"]), out)


def _mine_rows(clone: Clone, rows: Sequence[dict[str, Any]], out: Path) -> None:
    rng, found = random.Random(SEED), []
    for number, one in enumerate(rows, 1):
        try:
            found.append(mine(clone, one, rng))
        except (subprocess.CalledProcessError, KeyError, IndexError) as error:
            print(f"{out.stem}: {one['commit'][:10]} is left out: {error!r}", flush=True)
        if number % 20 == 0:
            print(f"{out.stem}: {number} of {len(rows)}", flush=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_suffix(".part")
    part.write_bytes(pickle.dumps(found))
    part.rename(out)


def read_mined(paths: Sequence[Path]) -> Iterator[Mined]:
    """The mined tasks of files, in order."""
    for path in paths:
        yield from pickle.loads(path.read_bytes())  # noqa: S301 - the recipe's own file
