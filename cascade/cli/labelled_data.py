"""Labelled tasks as commands take them: options, and the progress bar while they are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.output import note, progress
from cascade.config.schema import Config
from cascade.errors import InputError
from cascade.evaluation import score_file
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.output_file import Output
from cascade.evaluation.score_file import Hooks, LabelledScores
from cascade.report import Origin

FilesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="Labelled tasks, as --data takes them.")
]
DataOption = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Labelled tasks, JSON lines, plain or gzipped; - for stdin; may be repeated."),
]


def data_files(files: Sequence[Path] | None, data: Sequence[Path] | None) -> list[Path]:
    """The files that were given with and without --data, those with it first.

    Raises:
        InputError: There is none.
    """
    found = [*(data or ()), *(files or ())]
    if not found:
        msg = "No labelled tasks are given. Name a file of them, such as --data labelled.jsonl."
        raise InputError(msg)
    return found


def labelled_scores(
    config: Config,
    name: str,
    paths: list[Path],
    cache: Output | None,
    *,
    refuse: Callable[[Sequence[Labelled], Origin], object],
    may_contradict: bool = False,
) -> LabelledScores:
    """Scores of labelled tasks, with a bar that shows how many tasks are scored; see ``score_file.labelled_scores``."""
    with progress() as bar:
        line = bar.add_task("tasks", total=None)
        return score_file.labelled_scores(
            config,
            name,
            paths,
            cache,
            may_contradict=may_contradict,
            hooks=Hooks(
                refuse=refuse,
                note=note,
                progress=lambda done, total: bar.update(line, completed=done, total=total),
            ),
        )
