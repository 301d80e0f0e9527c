"""Candidates of a real checkout: the symbols and files that may matter for a task, with their evidence."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache as once
from functools import cached_property
from pathlib import Path
from typing import Literal

from cascade.errors import InputError, counted
from cascade.evidence.corpus import Corpus
from cascade.evidence.history import History
from cascade.evidence.making import Evidence
from cascade.evidence.ranker import Ranker, shipped_ranker
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.evidence.starting_points import starting_points
from cascade.evidence.ties import Ties
from cascade.items import Item, Task
from cascade.machine import user_cache
from cascade.repository.commits import read_commits
from cascade.repository.exclusions import is_source
from cascade.repository.imports import ImportGraph
from cascade.repository.index import Indexed, Progress, read_index
from cascade.repository.index_cache import IndexCache
from cascade.repository.languages import READ_LANGUAGES
from cascade.repository.listing import Listing, list_files, tell_exclusions
from cascade.repository.messages import LeftOut, Messages
from cascade.repository.outline import Outline
from cascade.repository.prototypes import without_prototypes
from cascade.repository.reasons import WITHOUT_SYMBOLS
from cascade.repository.tiers import rank_files, ties_to

MOST_SYMBOLS = 200
"""Symbols that go on to the questions, where the caller names no other number."""

_WITHOUT_WORDS = (
    "There are no candidates: nothing that was read has a word of the task. "
    "Use names of the code in the task, or name the files that the work starts from."
)


_MOST_NAMED = 3
_PLACES = ("located", "seed")
_TIE_SIGNALS = ("words_share", "path_share", "history_share", *_PLACES)
"""Signals of a file that has to do with the task: by its words, and where the task says where it is."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What may matter for a task in a repository.

    Attributes:
        root: The folder.
        task: The task, its seeds as paths from the root with forward slashes.
        evidence: What is known of every symbol and file that was read.
        chosen: Numbers of the symbols that most likely matter, the likeliest first.
        files: Files other than the seeds that a tier finds, at most 40, the strongest evidence first.
        n_read: Source files that were read, seeds included.
        left_out: What was left out, or read in part, one record per reason.
        messages: What was left out or degraded, and which files the task names, one line each.
        outlines: Path -> what the file tells about itself.
        imports: Path -> the files that the file imports, re-exports followed.
        named: Seeds that the caller did not give, as the task names them -> why; see ``starting_points``.
    """

    root: Path
    task: Task
    evidence: Evidence
    chosen: tuple[int, ...]
    files: tuple[FileRecord, ...]
    n_read: int
    left_out: tuple[LeftOut, ...]
    messages: tuple[str, ...]
    outlines: Mapping[str, Outline] = field(repr=False)
    imports: Callable[[str], frozenset[str]] = field(repr=False)
    named: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def symbols(self) -> tuple[SymbolRecord, ...]:
        """The symbols that most likely matter, the likeliest first."""
        return tuple(self.evidence.signals.corpus.symbols[at] for at in self.chosen)

    @cached_property
    def is_tied(self) -> bool:
        """Whether anything that was read has to do with the task: a word, a place that it names, a file given."""
        signals = self.evidence.signals
        return any(signals.files[name].any() for name in (_TIE_SIGNALS if signals.task.is_telling else _PLACES))

    def symbol_items(self, chosen: Sequence[int] | None = None) -> list[Item]:
        """Symbols as items, in order.

        Where nothing has to do with the task their prior is 0: it would only say which symbols of any repository are
        changed most often.

        Args:
            chosen: Their numbers; None for those that most likely matter.
        """
        items = self.evidence.symbol_items(self.chosen if chosen is None else chosen)
        return items if self.is_tied else [replace(item, prior=0.0) for item in items]

    def file_items(self) -> list[Item]:
        """The files as items, in order."""
        records = {record.path: record for record in self.files}
        place = {path: at for at, path in enumerate(self.evidence.signals.corpus.paths)}
        return self.evidence.file_items([place[path] for path in records], records)

    def reading(self) -> dict[str, object]:
        """What was read, and what was not, as JSON has it."""
        return {
            "files_read": self.n_read,
            "symbols_read": len(self.evidence.signals.corpus.symbols),
            "starting_points": dict.fromkeys(self.task.seeds, "given by the caller") | dict(self.named),
            "left_out": {one.reason: one.as_dict() for one in self.left_out},
            "messages": list(self.messages),
        }

    def without_symbols(self) -> str:
        """Why no symbol was found, where none was, and what to do; empty where the messages say it."""
        if self.n_read and self.n_read == sum(one.count for one in self.left_out if one.reason in WITHOUT_SYMBOLS):
            return "There are no candidates: none of the files that were read has symbols, as other notes explain."
        if self.n_read:
            return "There are no candidates: the files that were read define no function, method or class."
        return ""

    def without_files(self) -> str:
        """Why no file was found, where none was, and what to do; empty where the messages say it."""
        if self.task.seeds:
            return "There are no candidates: no other file is tied to the seeds or has words of the task."
        return _WITHOUT_WORDS if self.n_read else ""


def find_candidates(  # noqa: PLR0913 - a caller names what differs from the usual
    root: Path,
    text: str,
    seeds: Sequence[str] = (),
    *,
    cache: Path | Literal["user"] | None = "user",
    progress: Progress | None = None,
    most: int = MOST_SYMBOLS,
    also: Collection[str] = (),
    ranker: Ranker | None = None,
) -> Candidates:
    """Finds the symbols and files of a repository that may matter for a task.

    Every symbol of every source file competes: by the words of its body, its name, its documentation and its string
    literals, by who uses it and whom it uses, by what the task names, and by what earlier commits said about its file.
    Files that the task names, by a path, in a traceback or as a module, are seeds beside those that are given. Three
    tiers find files: ``dependency`` (imports to or from a seed, re-exports followed), ``co_change`` (changed in the
    same commits as a seed) and ``metadata`` (words of the task in the file, its path or its history). Without seeds
    only the last can find any.

    Args:
        root: The top of a checkout or any folder; need not be a git repository.
        text: The task in plain words, of any length.
        seeds: Files the work starts from: absolute, relative to the root or to the working directory, or the end of
            a path that one file alone has.
        cache: Folder that keeps what was read, by content hash; ``"user"`` is the user's cache
            folder, None keeps nothing.
        progress: Called with the files read so far and their number.
        most: Symbols that are taken, the likeliest first; at least 1.
        also: What is read beside the project's own source: ``tests``, ``docs``, ``generated``.
        ranker: What says from signals how likely a symbol or a file matters; None for the shipped one.

    Raises:
        InputError: The root is no folder, or a seed is missing, no file or outside the root.
    """
    base, messages = _existing(root), Messages()
    listing = list_files(base, messages)
    given = tuple(dict.fromkeys(_inside(base, seed, listing.paths) for seed in seeds))
    sources = listing.sources(also)
    named = {path: reason for path, reason in starting_points(text, sources).items() if path not in given}
    task = Task(text=text, seeds=(*given, *named))
    for path, reason in named.items():
        messages.add(f"Starts from {path}, {reason}.")
    tell_exclusions(listing, {*task.seeds, *sources}, messages)
    store = IndexCache(user_cache() if cache == "user" else cache, messages)
    kept = None if "generated" in also else task.seeds
    wanted = sorted({*sources, *task.seeds})
    indexed = read_index(base, wanted, store, messages, progress or _silent, kept=kept)
    if not indexed:
        messages.add(_nothing_read(listing))
    outlines = {path: one.outline for path, one in indexed.items()}
    history = _history(base, listing, indexed, store, messages)
    graph = once(lambda: _graph(base, task.seeds, listing, outlines))  # only those who start somewhere need it
    ties = ties_to(task.seeds, outlines, graph(), history) if task.seeds else Ties()
    evidence = Evidence.of(_corpus(indexed, history), text, ties, ranker or shipped_ranker())
    paths = tuple(indexed)
    return Candidates(
        root=base,
        task=task,
        evidence=evidence,
        chosen=tuple(evidence.best_symbols(most).tolist()),
        files=tuple(rank_files(paths, evidence.signals.files, evidence.signals.ties, outlines)),
        n_read=len(indexed),
        left_out=messages.left_out(),
        messages=messages.lines(),
        outlines=outlines,
        imports=lambda path: graph().targets(path),
        named=named,
    )


def _nothing_read(listing: Listing) -> str:
    """Why there is no candidate, where no source could be read."""
    languages = f"{', '.join(READ_LANGUAGES[:-1])} or {READ_LANGUAGES[-1]}"
    what = f"of its {counted(listing.n_files, 'file')} none" if listing.n_files else "no file in it"
    return (
        f"Nothing of this folder can be read: {what} is source of its own in {languages}. "
        "Give another folder, name files as seeds, or give items of your own."
    )


def _existing(root: Path) -> Path:
    try:
        if os.path.isdir(root):  # noqa: PTH112  pathlib raises where a name is too long
            return Path(root).resolve()
    except OSError as error:  # the working directory is gone
        msg = f"The repository {str(root)!r} cannot be found ({error.strerror}); give an absolute path."
        raise InputError(msg) from error
    msg = f"The repository {str(root)!r} is no folder; give the path of an existing folder with source files."
    raise InputError(msg)


def _inside(root: Path, seed: str, listed: Collection[str]) -> str:
    """A seed as a path from the root; one that is relative is looked up there first, and last as the end of a path."""
    places = [root / seed, Path(seed)]
    found = [place.resolve() for place in places if os.path.isfile(place)]  # noqa: PTH113  as above
    if not found:
        what = "does not exist"
        if any(map(os.path.exists, places)):
            what = "is a folder" if any(map(os.path.isdir, places)) else "is no regular file"
        elif ends := [path for path in listed if seed and path.endswith(f"/{seed}")]:
            if len(ends) == 1:
                return ends[0]
            what = f"may be {', '.join(ends[:_MOST_NAMED])}{', ...' if len(ends) > _MOST_NAMED else ''}"
        msg = f"The seed {seed!r} {what}; give a file below {str(root)!r}, relative to it or absolute."
        raise InputError(msg)
    path = next((place.relative_to(root).as_posix() for place in found if place.is_relative_to(root)), None)
    if path is not None and path.isprintable():
        return path
    if path is not None:
        msg = f"The seed {seed!r} has a name that is not UTF-8 or has control characters; rename it."
        raise InputError(msg)
    msg = f"The seed {seed!r} lies outside {str(root)!r}; give a file below it or a root that holds both."
    raise InputError(msg)


def _corpus(indexed: Mapping[str, Indexed], history: History | None) -> Corpus:
    entries = without_prototypes({path: one.entry for path, one in indexed.items()})
    return Corpus(tuple(entries), tuple(entries.values()), history)


def _history(
    root: Path, listing: Listing, indexed: Mapping[str, Indexed], store: IndexCache, messages: Messages
) -> History | None:
    """Earlier commits of the files that were read; None where there are none."""
    commits = read_commits(root, listing, store, messages)
    return History.of(commits, indexed.keys()) if commits else None


def _graph(root: Path, seeds: Sequence[str], listing: Listing, outlines: Mapping[str, Outline]) -> ImportGraph:
    ordered = sorted({*listing.paths, *seeds}, key=lambda path: (not is_source(path), path.count("/"), path))
    return ImportGraph(ordered, outlines, _package(root))


def _package(root: Path) -> str:
    """Dotted name of a root that is itself a package; its files import each other by that name."""
    names: list[str] = []
    while root.name and os.path.isfile(root / "__init__.py"):  # noqa: PTH113  as above
        names.insert(0, root.name)
        root = root.parent
    return ".".join(names)


def _silent(done: int, total: int) -> None:
    """Tells nobody."""
