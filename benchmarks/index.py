"""What the index of a checkout costs, and what other search libraries cost on the same symbols.

    python -m benchmarks.index FOLDER [--task FILE] [--json]

It reads FOLDER without a cache, then again after ten of its files are forgotten, and makes the evidence of one task
from what is in memory. Beside it stand `rg`, or `git grep` where that is not installed, over the same files, and
SQLite's FTS5, bm25s and tantivy over the bodies of the same symbols, each with the words that the index itself has; a
library that is not installed is named and left out. Seconds are of the clock, and in brackets of all processors, those
of git included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmarks.script import run_script
from cascade.evidence.making import Evidence
from cascade.evidence.postings import Postings
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.terms import terms
from cascade.repository.find import Candidates, find_candidates
from cascade.repository.index_cache import file_key
from cascade.repository.languages import suffix_of
from cascade.repository.messages import Messages
from cascade.repository.source import read_definitions, read_source

TASK = """Closing a result twice raises an error when the connection went back to the pool

When a streaming result is iterated in parts and the connection is returned to the pool before the cursor was
exhausted, the second call of close() raises "This result object is closed." instead of doing nothing. The first call
should release the cursor and reset the connection, and every later call should be ignored. Expected: closing a result
that is closed already does nothing, for the synchronous and the asynchronous engine, the connection goes back to the
pool only once, and no warning about a connection that was garbage collected is written to the log afterwards. It can
be seen with any driver, as soon as the size of the buffer is smaller than the number of rows."""
CHANGED = 10
FIRST = 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds by the clock and of all processors, those of processes that were started included."""

    wall_s: float
    cpu_s: float

    def shown(self) -> str:
        """Both, in three digits."""
        return f"{self.wall_s:.3g} ({self.cpu_s:.3g})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What a search library took.

    Attributes:
        name: The library.
        index: To index the words of all bodies.
        search: To search the words of the task with their weights.
        alike: How many of its first ten symbols are among the first ten of the postings.
    """

    name: str
    index: Cost
    search: Cost
    alike: int


def timed(work: Callable[[], _T]) -> tuple[_T, Cost]:
    """What some work answers, and its cost."""
    wall, cpu = time.perf_counter(), processor_s()
    found = work()
    return found, Cost(wall_s=time.perf_counter() - wall, cpu_s=processor_s() - cpu)


def processor_s() -> float:
    """Seconds that this process and those that it started have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="a checkout")
    parser.add_argument("--task", type=Path, help="a text file with the task")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    task = given.task.read_text(encoding="utf-8") if given.task else TASK
    figures = measure(given.folder.resolve(), task)
    sys.stdout.write((json.dumps(figures, indent=1, default=asdict) if given.json else shown(figures)) + "\n")


def measure(folder: Path, task: str) -> dict[str, Any]:
    """All figures of a folder and a task."""
    with tempfile.TemporaryDirectory() as cache:
        place = Path(cache)
        found, cold = timed(lambda: find_candidates(folder, task, cache=place))
        forget(folder, found, place)
        _, second = timed(lambda: find_candidates(folder, task, cache=place).symbol_items())
        _, again = timed(lambda: find_candidates(folder, task, cache=place).symbol_items())
        kept = sum(file.stat().st_size for file in place.iterdir())
    own = found.evidence
    _, evidence = timed(lambda: make_evidence(own, task))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    corpus = own.signals.corpus
    return {
        "files": len(corpus.paths),
        "symbols": len(corpus.symbols),
        "commits": corpus.history.messages.n_documents if corpus.history else 0,
        "cold": cold,
        f"after {CHANGED} files changed": second,
        "nothing changed": again,
        "signals and evidence of a task": evidence,
        "peak memory, MiB": round(peak),
        "cache, MiB": round(kept / 2**20, 1),
        **grep(folder, corpus.paths, task),
        "libraries": peers(folder, corpus.paths, task),
    }


def forget(folder: Path, found: Candidates, cache: Path) -> None:
    """Drops ten files of a checkout from a cache, as if they had changed."""
    paths = found.evidence.signals.corpus.paths
    chosen = paths[:: max(1, len(paths) // CHANGED)][:CHANGED]
    keys = [(file_key(suffix_of(path), (folder / path).read_bytes()),) for path in chosen]
    (file,) = cache.glob("*.sqlite3")
    with closing(sqlite3.connect(file)) as database, database:
        database.executemany("DELETE FROM files WHERE key = ?", keys)


def make_evidence(known: Evidence, task: str) -> None:
    """The signals of all symbols and files for a task, and the items of the first 200."""
    made = Evidence.of(known.signals.corpus, task, known.signals.ties, known.ranker)
    made.symbol_items(made.best_symbols(200))


def grep(folder: Path, paths: Sequence[str], task: str) -> dict[str, Cost]:
    """What a search of the files for every word of the task costs, as a person would do it."""
    words = sorted({word for word in task.split() if word.isalpha() and len(word) > 2})
    options = [option for word in words for option in ("-e", word)]
    command = ["rg", "-c", "-i", "-w", *options, "--"] if shutil.which("rg") else None
    command = command or ["git", "grep", "--no-index", "-c", "-i", "-w", *options, "--"]
    name = f"{' '.join(command[: 1 + (command[0] == 'git')])}, {len(words)} words"
    _, cost = timed(lambda: subprocess.run([*command, *paths], cwd=folder, capture_output=True, check=False))
    return {name: cost}


def peers(folder: Path, paths: Sequence[str], task: str) -> list[Peer | str]:
    """The postings and each library on the bodies of all symbols; a sentence in place of one that is not installed."""
    bodies = [words for path in paths for words in bodies_of(folder, path)]
    known = TaskTerms(task)
    query = dict(zip(known.words.tolist(), known.counts.astype(int).tolist(), strict=True))
    postings, index = timed(lambda: Postings.of(bodies))
    postings.lengths  # noqa: B018 - worked out once for all tasks
    scores, search = timed(lambda: postings.hits(known.words).bm25(known.counts))
    best = first(scores)
    found: list[Peer | str] = [Peer(name="postings", index=index, search=search, alike=len(best))]
    for name, library in (("SQLite FTS5", sqlite_fts5), ("bm25s", bm25s), ("tantivy", tantivy)):
        try:
            searching, index = timed(lambda library=library: library(bodies))  # type: ignore[misc] # bound in the loop
        except (ImportError, sqlite3.OperationalError) as error:
            found.append(f"{name} is left out: {error}")
            continue
        hits, search = timed(lambda searching=searching: searching(query))  # type: ignore[misc] # as above
        found.append(Peer(name=name, index=index, search=search, alike=len(set(hits) & set(best))))
    return found


def bodies_of(folder: Path, path: str) -> list[list[int]]:
    """The words of the bodies of a file's symbols."""
    source = read_source(folder, path, Messages())
    return [terms(one.text) for one in read_definitions(path, source)] if source is not None else []


def first(scores: Any) -> list[int]:
    """The first ten by score."""
    return [int(at) for at in np.argsort(-np.asarray(scores), kind="stable")[:FIRST]]


Searching = Callable[[dict[int, int]], list[int]]


def sqlite_fts5(bodies: Sequence[Sequence[int]]) -> Searching:
    """SQLite's full-text search; a word is weighted by naming it more than once."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE bodies USING fts5(words, content='', tokenize='ascii')")
    rows = ((at, spelled(words)) for at, words in enumerate(bodies))
    database.executemany("INSERT INTO bodies (rowid, words) VALUES (?, ?)", rows)
    database.commit()

    def search(query: dict[int, int]) -> list[int]:
        words = " OR ".join(f'"{word}"' for word, n in query.items() for _ in range(n))
        select = "SELECT rowid FROM bodies WHERE bodies MATCH ? ORDER BY rank LIMIT ?"
        return [row[0] for row in database.execute(select, (words, FIRST))]

    return search


def bm25s(bodies: Sequence[Sequence[int]]) -> Searching:
    """The library bm25s; a word is weighted by naming it more than once."""
    library = importlib.import_module("bm25s")
    retriever = library.BM25(k1=1.2, b=0.75, method="lucene")
    retriever.index([[str(word) for word in words] for words in bodies], show_progress=False)

    def search(query: dict[int, int]) -> list[int]:
        words = [str(word) for word, n in query.items() for _ in range(n)]
        hits, _ = retriever.retrieve([words], k=FIRST, show_progress=False)
        return [int(at) for at in hits[0]]

    return search


def tantivy(bodies: Sequence[Sequence[int]]) -> Searching:
    """The library tantivy; every word has its boost."""
    library = importlib.import_module("tantivy")
    builder = library.SchemaBuilder()
    builder.add_text_field("words", stored=False, tokenizer_name="whitespace")
    builder.add_unsigned_field("place", stored=True)
    schema = builder.build()
    index = library.Index(schema)
    writer = index.writer(heap_size=100_000_000, num_threads=1)
    for at, words in enumerate(bodies):
        writer.add_document(library.Document(words=spelled(words), place=at))
    writer.commit()
    writer.wait_merging_threads()
    index.reload()

    def search(query: dict[int, int]) -> list[int]:
        searcher = index.searcher()
        parts = [
            (
                library.Occur.Should,
                library.Query.boost_query(library.Query.term_query(schema, "words", str(word)), float(n)),
            )
            for word, n in query.items()
        ]
        hits = searcher.search(library.Query.boolean_query(parts), FIRST).hits
        return [searcher.doc(address)["place"][0] for _, address in hits]

    return search


def spelled(words: Sequence[int]) -> str:
    """Numbers of words as a text."""
    return " ".join(map(str, words))


def shown(figures: dict[str, Any]) -> str:
    """The figures as lines and a table."""
    costs = {name: value.shown() + " s" if isinstance(value, Cost) else value for name, value in figures.items()}
    lines = [f"{name}: {value}" for name, value in costs.items() if name != "libraries"]
    table = ["", "| | index, s | search, s | of the first ten |", "|---|--:|--:|--:|"]
    for peer in figures["libraries"]:
        if isinstance(peer, Peer):
            table.append(f"| {peer.name} | {peer.index.shown()} | {peer.search.shown()} | {peer.alike} |")
        else:
            lines.append(peer)
    return "\n".join([*lines, *table])


if __name__ == "__main__":
    run_script(main)
