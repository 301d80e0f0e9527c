"""Candidates of a real checkout: the symbols and files that may matter for a task, with their evidence."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cascade.errors import InputError, counted
from cascade.items import Task
from cascade.machine import user_cache
from cascade.repository.exclusions import is_source
from cascade.repository.git import CoChanges, co_changes, parse_log, read_log
from cascade.repository.imports import ImportGraph
from cascade.repository.languages import READ_LANGUAGES, SUFFIXES, suffix_of
from cascade.repository.listing import Listing, list_files, tell_exclusions
from cascade.repository.messages import LeftOut, Messages
from cascade.repository.outline import Outline
from cascade.repository.outline_cache import OutlineCache, outline_key
from cascade.repository.reasons import NO_READER, WITHOUT_SYMBOLS
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.repository.source import may_be_kept, read_outline, read_source, read_symbols, tell_problem
from cascade.repository.starting_points import starting_points
from cascade.repository.tiers import Ties, rank_files

Progress = Callable[[int, int], None]

_WITHOUT_WORDS = (
    "There are no candidates: no file that was read has a telling word of the task in its path or its top-level names. "
    "Use names of the code in the task, or name the files that the work starts from."
)
_BATCH = 200  # files held in memory, and kept in one transaction


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """What may matter for a task in a repository.

    Attributes:
        task: The task, its seeds as paths from the root with forward slashes.
        symbols: Symbols of the seeds and of the best files, file by file in source order.
        files: Files other than the seeds that a tier finds, at most 40, the strongest evidence first.
        n_read: Source files that were read, seeds included.
        left_out: What was left out, or read in part, one record per reason.
        messages: What was left out or degraded, and which files the task names, one line each.
        named: Seeds that the caller did not give, as the task names them -> why; see ``starting_points``.
    """

    task: Task
    symbols: tuple[SymbolRecord, ...]
    files: tuple[FileRecord, ...]
    n_read: int
    left_out: tuple[LeftOut, ...]
    messages: tuple[str, ...]
    named: Mapping[str, str] = field(default_factory=dict)

    def reading(self) -> dict[str, object]:
        """What was read, and what was not, as JSON has it."""
        left_out = {one.reason: one.as_dict() for one in self.left_out}
        return {
            "files_read": self.n_read,
            "starting_points": dict.fromkeys(self.task.seeds, "given by the caller") | dict(self.named),
            "left_out": left_out,
            "messages": list(self.messages),
        }

    def without_symbols(self) -> str:
        """Why no symbol was found, where none was, and what to do; empty where the messages say it."""
        if self.n_read and self.n_read == sum(one.count for one in self.left_out if one.reason in WITHOUT_SYMBOLS):
            return "There are no candidates: none of the files that were read has symbols, as other notes explain."
        if self.files or self.task.seeds:
            return "There are no candidates: the files that were found define no function, method or class."
        return _WITHOUT_WORDS if self.n_read else ""

    def without_files(self) -> str:
        """Why no file was found, where none was, and what to do; empty where the messages say it."""
        if self.task.seeds:
            return "There are no candidates: no other file is tied to the seeds or has words of the task."
        return _WITHOUT_WORDS if self.n_read else ""


def find_candidates(
    root: Path,
    text: str,
    seeds: Sequence[str] = (),
    *,
    cache: Path | Literal["user"] | None = "user",
    progress: Progress | None = None,
    max_files: int = 12,
) -> Candidates:
    """Finds the files and symbols of a repository that may matter for a task.

    Three tiers find files: ``dependency`` (imports to or from a seed, re-exports followed),
    ``co_change`` (changed in the same commits as a seed) and ``metadata`` (words of the task in the path
    or the top-level names). Without seeds only the last can find any. Files that the task names, by a
    path, in a traceback or as a module, are seeds beside those that are given. A repository of at most
    ``max_files`` source files gives the symbols of all of them.

    Args:
        root: The top of a checkout or any folder; need not be a git repository.
        text: The task in plain words.
        seeds: Files the work starts from: absolute, relative to the root or to the working directory.
        cache: Folder that keeps what was read, by content hash; ``"user"`` is the user's cache
            folder, None keeps nothing.
        progress: Called with the files read so far and their number.
        max_files: Files besides the seeds whose symbols become candidates.

    Raises:
        InputError: The root is no folder, or a seed is missing, no file or outside the root.
    """
    base = _existing(root)
    given = tuple(dict.fromkeys(_inside(base, seed) for seed in seeds))
    messages = Messages()
    listing = list_files(base, messages)
    named = {path: reason for path, reason in starting_points(text, listing.sources).items() if path not in given}
    task = Task(text=text, seeds=(*given, *named))
    for path, reason in named.items():
        messages.add(f"Starts from {path}, {reason}.")
    tell_exclusions(listing, task.seeds, messages)
    store = OutlineCache(user_cache() if cache == "user" else cache, messages)
    wanted = sorted({*listing.sources, *task.seeds})
    outlines = dict(_outlines(base, wanted, store, messages, progress or _silent))
    ties = _ties(base, task.seeds, listing, outlines, messages)
    others = {path: outline for path, outline in outlines.items() if path not in task.seeds}
    files = rank_files(text, others, ties)
    if not outlines:
        messages.add(_nothing_read(listing))
    elif not task.seeds:
        messages.add("Without seed files only the words of the task find files: name the files the work starts from.")
    best = [record.path for record in files if record.symbols][: max(0, max_files)]
    chosen = dict.fromkeys([*task.seeds, *best, *(sorted(others) if len(listing.sources) <= max_files else ())])
    symbols = [symbol for path in chosen if path in outlines for symbol in _symbols(base, path, messages)]
    return Candidates(
        task=task,
        symbols=tuple(symbols),
        files=tuple(files),
        n_read=len(outlines),
        left_out=messages.left_out(),
        messages=messages.lines(),
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


def _inside(root: Path, seed: str) -> str:
    """A seed as a path from the root; one that is relative is looked up there first."""
    places = [root / seed, Path(seed)]
    found = [place.resolve() for place in places if os.path.isfile(place)]  # noqa: PTH113  as above
    if not found:
        what = "does not exist"
        if any(map(os.path.exists, places)):
            what = "is a folder" if any(map(os.path.isdir, places)) else "is no regular file"
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


def _outlines(
    root: Path, paths: Sequence[str], store: OutlineCache, messages: Messages, progress: Progress
) -> Iterator[tuple[str, Outline]]:
    """Outlines of the files that can be read, from the cache where their contents were seen before."""
    for start in range(0, len(paths), _BATCH):
        batch = paths[start : start + _BATCH]
        sources = {path: source for path in batch if (source := read_source(root, path, messages)) is not None}
        keys = {path: outline_key(suffix_of(path), source) for path, source in sources.items()}
        known = store.load(keys.values())
        new: dict[bytes, Outline] = {}
        for done, path in enumerate(batch, start + 1):
            if path in sources:
                key = keys[path]
                outline = known.get(key) or new.get(key) or read_outline(path, sources[path])
                if key not in known and may_be_kept(outline):
                    new[key] = outline
                tell_problem(path, outline, messages)
                yield path, outline
            progress(done, len(paths))
        store.keep(new)


def _ties(
    root: Path, seeds: Sequence[str], listing: Listing, outlines: Mapping[str, Outline], messages: Messages
) -> Ties:
    if not seeds:
        return Ties()
    ordered = sorted({*listing.paths, *seeds}, key=lambda path: (not is_source(path), path.count("/"), path))
    graph = ImportGraph(ordered, outlines, _package(root))
    wanted = frozenset(seeds)
    return Ties(
        imported=frozenset().union(*(graph.targets(seed) for seed in seeds)),
        importers=frozenset(path for path in outlines if path not in wanted and graph.targets(path) & wanted),
        together=_together(root, seeds, listing, messages),
    )


def _together(root: Path, seeds: Sequence[str], listing: Listing, messages: Messages) -> CoChanges:
    """Co-changes with the seeds, each in the history of the repository that it lies in."""
    by_repository: dict[str, list[str]] = defaultdict(list)
    for seed in seeds:
        holders = [prefix for prefix in listing.repositories if seed.startswith(prefix)]
        if holders:
            by_repository[max(holders, key=len)].append(seed)
    together = CoChanges()
    for prefix, inner in by_repository.items():
        log = read_log(root / prefix)
        together += co_changes(parse_log(log.output, prefix), inner, is_source)
        if log.problem:
            where = f" of {prefix.removesuffix('/')}" if prefix else ""
            messages.add(f"Without the history{where} ({log.problem}): there is no co-change tier.")
    return together


def _package(root: Path) -> str:
    """Dotted name of a root that is itself a package; its files import each other by that name."""
    names: list[str] = []
    while root.name and os.path.isfile(root / "__init__.py"):  # noqa: PTH113  as above
        names.insert(0, root.name)
        root = root.parent
    return ".".join(names)


def _symbols(root: Path, path: str, messages: Messages) -> list[SymbolRecord]:
    if suffix_of(path) not in SUFFIXES:
        messages.leave_out(NO_READER, path)
        return []
    source = read_source(root, path, messages)
    return read_symbols(path, source) if source is not None else []


def _silent(done: int, total: int) -> None:
    """Tells nobody."""
