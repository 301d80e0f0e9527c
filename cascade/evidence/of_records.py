"""Items where heads and documentation are all that is known, as in commit tasks: no source, no history. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.evidence.making import Evidence
from cascade.evidence.ranker import Ranker, shipped_ranker
from cascade.evidence.records import Definition, FileRecord, SymbolRecord
from cascade.evidence.ties import Ties
from cascade.items import Item, Task


def symbol_items(
    task: Task, symbols: Sequence[SymbolRecord], files: Iterable[FileRecord], ranker: Ranker | None = None
) -> list[Item]:
    """Items of a precision cascade, in the order of the symbols, which are all that compete.

    Args:
        task: The task with its seed files.
        symbols: All symbols that compete for the task.
        files: What is known of their files; a file that is missing here has no ties to the seeds.
        ranker: What says from signals how likely an item matters; None for the shipped one.
    """
    by_file: dict[str, list[Definition]] = defaultdict(list)
    for symbol in symbols:
        by_file[symbol.path].append(Definition(record=symbol, text=""))
    corpus = Corpus(tuple(by_file), tuple(Entry.of(several, _text(several)) for several in by_file.values()))
    evidence = Evidence.of(corpus, task.text, _ties(task, files), ranker or shipped_ranker())
    order = {id(symbol): at for at, symbol in enumerate(corpus.symbols)}
    return evidence.symbol_items([order[id(symbol)] for symbol in symbols])


def file_items(task: Task, files: Sequence[FileRecord], ranker: Ranker | None = None) -> list[Item]:
    """Items of a scope cascade, in the order of the files, which are all that compete."""
    entries = tuple(_entry(record) for record in files)
    corpus = Corpus(tuple(record.path for record in files), entries)
    evidence = Evidence.of(corpus, task.text, _ties(task, files), ranker or shipped_ranker())
    return evidence.file_items(range(len(files)), {record.path: record for record in files})


def _ties(task: Task, files: Iterable[FileRecord]) -> Ties:
    known = [record for record in files if record.path not in task.seeds]
    return Ties(
        seeds=task.seeds,
        imported=frozenset(record.path for record in known if record.imported_by_seed),
        importers=frozenset(record.path for record in known if record.imports_seed),
        together={record.path: record.co_changes for record in known if record.co_changes},
        seed_changes=max((record.seed_changes for record in known), default=0),
    )


def _entry(record: FileRecord) -> Entry:
    """A file of which the names at its top are known."""
    symbols = [
        SymbolRecord(path=record.path, qualname=name, kind="function", signature=name, doc="", lines=1)
        for name in record.symbols
    ]
    text = " ".join((record.path, record.doc, *record.symbols))
    return Entry.of([Definition(record=symbol, text="") for symbol in symbols], text)


def _text(several: Sequence[Definition]) -> str:
    heads = (one.record for one in several)
    return "\n".join(f"{one.qualname} {one.signature} {one.doc}" for one in heads)
