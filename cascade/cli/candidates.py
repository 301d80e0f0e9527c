"""What ``classify`` and ``explain`` share: the task as it was given, and the candidates of a repository."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import note, progress
from cascade.errors import InputError, counted
from cascade.evidence.reasons import Reasons
from cascade.evidence.sets import folder_of
from cascade.files import STDIN, name_of, read_text
from cascade.items import Item, Task
from cascade.repository.find import MOST_SYMBOLS, Candidates, find_candidates
from cascade.repository.kinds import Asked, items_of
from cascade.repository.texts import with_texts
from cascade.tree import Cascade, ItemKind

ALSO = ("tests", "docs", "generated")
"""What can be read beside the project's own source."""

TaskOption = Annotated[str | None, typer.Option(help="What is to be done, in plain words, taken as it stands.")]
TaskFileOption = Annotated[Path | None, typer.Option(help="A text file that says it, in place of --task; - for stdin.")]
FromOption = Annotated[
    list[str] | None,
    typer.Option("--from", help="A file the work starts from, beside those in the task; may be repeated."),
]
AlsoOption = Annotated[
    list[str] | None,
    typer.Option(help="Read tests, docs or generated code beside the project's own source; may be repeated."),
]
MostOption = Annotated[int, typer.Option(min=1, help="Symbols of the repository that are put to the questions.")]


def read_task(text: str | None, path: Path | None) -> str:
    """What is to be done, as it was given.

    Raises:
        InputError: It is not given, twice, or blank, or its file cannot be read.
    """
    if (text is None) == (path is None):
        msg = "Give exactly one of --task and --task-file."
        raise InputError(msg)
    if text is not None and text.strip() == str(STDIN):
        msg = "--task - is no task. Give --task-file - to read it from stdin, or say in a sentence what is to be done."
        raise InputError(msg)
    where = "--task" if path is None else name_of(path)
    found = read_text(path, "Give a text file that says what is to be done.") if path is not None else text or ""
    if not found.strip():
        msg = f"{where}: the task is empty. Say in a sentence what is to be done."
        raise InputError(msg)
    return found.strip()


def check_also(also: Sequence[str]) -> Sequence[str]:
    """The values of --also.

    Raises:
        InputError: One is none of ``ALSO``.
    """
    unknown = [one for one in also if one not in ALSO]
    if unknown:
        msg = f"--also {unknown[0]!r} is not known. Give {', '.join(ALSO[:-1])} or {ALSO[-1]}."
        raise InputError(msg)
    return also


def candidates_of(
    repo: Path, task: Task, cascade: Cascade, *, also: Collection[str] = (), most: int = MOST_SYMBOLS
) -> tuple[Candidates, Asked]:
    """What was found in a repository, and what of it the cascade asks; notes say what was left out, and why.

    Args:
        repo: The folder.
        task: The task, with the files that the work starts from.
        cascade: Whose candidates they are.
        also: What is read beside the project's own source.
        most: Symbols that are asked.
    """
    with progress() as bar:
        line = bar.add_task("reading files", total=None)
        found = find_candidates(
            repo, task.text, task.seeds, also=also, most=most,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )  # fmt: skip
    asked = items_of(found, cascade.items)
    if cascade.text_limits():
        asked = replace(asked, items=with_texts(found, asked.items))
    found = replace(found, messages=(*found.messages, *asked.messages, *_competition(found, asked.items, cascade)))
    for message in found.messages:
        note(message)
    return found, asked


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
            yield f"{counted(n_others, others)} compete; {len(items)} are tied to the task{ties}."
    elif cascade.items is ItemKind.FOLDERS:
        n_folders = len({folder_of(path) for path in corpus.paths})
        if n_folders > len(items):
            yield f"{n_folders:,} folders compete; the likeliest {len(items)} are put to the question."
    elif cascade.items is ItemKind.SYMBOLS and len(corpus.symbols) > len(items):
        yield f"{len(corpus.symbols):,} symbols compete; the likeliest {len(items)} are put to the questions."
    if not any(found.evidence.signals.files[name].any() for name in _WORD_SIGNALS):
        yield (
            "No word of the task stands in anything that was read, so the order says little. Use names of the code in "
            "the task, or name the files that the work starts from with --from."
        )


_WORD_SIGNALS = ("words_share", "path_share", "history_share", "located", "seed")


class Places:
    """Where the candidates of a repository lie, and why they may matter.

    Args:
        found: The candidates.
        others: Numbers of further symbols.
        reasons: Id -> why, of candidates that are neither a symbol nor a file.
    """

    def __init__(
        self, found: Candidates, others: Sequence[int] = (), reasons: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        corpus = found.evidence.signals.corpus
        self._reasons = Reasons(found.evidence.signals)
        self._told = reasons or {}
        self._symbols = {corpus.symbols[at].id: at for at in (*found.chosen, *others)}
        self._files = {path: at for at, path in enumerate(corpus.paths)}
        self._records = corpus.symbols

    def where(self, id_: str) -> str:
        """``path:line`` of a symbol; empty for a file, whose id says it."""
        record = self._records[self._symbols[id_]] if id_ in self._symbols else None
        return f"{record.path}:{record.line}" if record is not None else ""

    def lines(self, id_: str) -> tuple[int, int] | None:
        """First and last line of a symbol; None for a file."""
        record = self._records[self._symbols[id_]] if id_ in self._symbols else None
        return (record.line, record.line + record.lines - 1) if record is not None else None

    def why(self, id_: str) -> list[str]:
        """Why a candidate may matter, the strongest reason first."""
        if id_ in self._told:
            return list(self._told[id_])
        if id_ in self._symbols:
            return self._reasons.of_symbol(self._symbols[id_])
        return self._reasons.of_file(self._files[id_]) if id_ in self._files else []
