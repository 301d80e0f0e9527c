"""What a cascade is asked of a repository: its candidates as items, with what a user should know of the choice."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cascade.errors import InputError, counted
from cascade.evidence.sets import folder_of
from cascade.items import Item, Task
from cascade.repository.find import MOST_SYMBOLS, Candidates, find_candidates
from cascade.repository.index import Progress
from cascade.repository.kinds import Asked, items_of
from cascade.repository.texts import with_texts
from cascade.tree import Cascade, ItemKind

ALSO = ("tests", "docs", "generated")
"""What can be read beside the project's own source."""


def candidates_for(
    root: Path,
    task: Task,
    cascade: Cascade,
    *,
    also: Collection[str] = (),
    most: int = MOST_SYMBOLS,
    progress: Progress | None = None,
) -> tuple[Candidates, Asked]:
    """What was found in a repository, and what of it the cascade asks; its messages say what was left out, and why.

    Args:
        root: The folder.
        task: The task, with the files that the work starts from.
        cascade: Whose candidates they are.
        also: What is read beside the project's own source, out of ``ALSO``.
        most: Symbols that are asked.
        progress: Called with the files read so far and their number; what it raises ends the reading.

    Raises:
        InputError: As ``find_candidates``.
    """
    found = find_candidates(root, task.text, task.seeds, also=also, most=most, progress=progress)
    asked = items_of(found, cascade.items)
    if cascade.text_limits():
        asked = replace(asked, items=with_texts(found, asked.items))
    told = (*found.messages, *asked.messages, *_competition(found, asked.items, cascade))
    return replace(found, messages=told), asked


def labels_files(cascades: Mapping[str, Cascade]) -> str:
    """Name of the first cascade whose items are files.

    Raises:
        InputError: There is none.
    """
    found = next((name for name, cascade in cascades.items() if cascade.items is ItemKind.FILES), None)
    if found is None:
        msg = 'No cascade of the config labels files. Add one with items = "files", or ask for symbols.'
        raise InputError(msg)
    return found


def labels_symbols(cascades: Mapping[str, Cascade], name: str = "") -> str:
    """Name of the cascade that labels symbols: the one given, or else ``precision``, or the first that does.

    Raises:
        InputError: There is none, or the one that is named labels something else.
    """
    found = [one for one, cascade in cascades.items() if cascade.items is ItemKind.SYMBOLS]
    if (name and name not in found) or not found:
        what = f"Cascade {name!r} labels no symbols" if name else "No cascade of the config labels symbols"
        msg = f'{what}. Name one with items = "symbols"; the config has {", ".join(found) or "none"}.'
        raise InputError(msg)
    return name or ("precision" if "precision" in found else found[0])


def _competition(found: Candidates, items: Sequence[Item], cascade: Cascade) -> Iterator[str]:
    """How many competed, which files are not among the candidates, and whether any word of the task was found."""
    corpus = found.evidence.signals.corpus
    if not items or cascade.items is ItemKind.PAIRS:
        return
    if cascade.items is ItemKind.FILES:
        if found.task.seeds:
            yield f"The files that the work starts from are not labelled themselves: {', '.join(found.task.seeds)}."
        n_others = len(corpus.paths) - len(found.task.seeds)
        if n_others > len(items):
            others, ties = ("other file", " or to these files") if found.task.seeds else ("file", "")
            verb = "is" if len(items) == 1 else "are"
            yield f"{counted(n_others, others)} compete; {len(items)} {verb} tied to the task{ties}."
    elif cascade.items is ItemKind.FOLDERS:
        n_folders = len({folder_of(path) for path in corpus.paths})
        if n_folders > len(items):
            yield f"{n_folders:,} folders compete; the likeliest {len(items)} are put to the question."
    elif cascade.items is ItemKind.SYMBOLS and len(corpus.symbols) > len(items):
        yield f"{len(corpus.symbols):,} symbols compete; the likeliest {len(items)} are put to the questions."
    if not found.is_tied:
        yield (
            "No telling word of the task stands in anything that was read, so the order says little. Use names of the "
            "code in the task, or name the files that the work starts from with --from."
        )
