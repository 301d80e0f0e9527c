"""What ``classify`` and ``explain`` share: the task as it was given, and the candidates of a repository."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import note, progress
from cascade.errors import InputError
from cascade.files import STDIN, name_of, read_text
from cascade.items import Task
from cascade.repository.candidates import ALSO, candidates_for
from cascade.repository.find import MOST_SYMBOLS, Candidates
from cascade.repository.kinds import Asked
from cascade.tree import Cascade

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
        found, asked = candidates_for(
            repo, task, cascade, also=also, most=most,
            progress=lambda done, total: bar.update(line, completed=done, total=total),
        )  # fmt: skip
    for message in found.messages:
        note(message)
    return found, asked
