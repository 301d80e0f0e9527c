"""Files that commands write: none takes the place of one that was made for something else, but by ``--force``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cascade.audit.html import PAGE, report_origin
from cascade.config.profile import read_profile
from cascade.config.thresholds import read_thresholds
from cascade.errors import InputError
from cascade.evaluation.output_file import Output
from cascade.evaluation.scoring import scores_origin
from cascade.files import STDIN, check_folder, check_output, is_folder, is_special, is_there, unwritable, whole_file
from cascade.report import Origin

ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace files that are there already and were made for something else.")
]


def refuse_others(output: Output | None) -> Callable[[object, Origin], None]:
    """What refuses, once it is known what a file will be made for, to replace one that was made for something else."""
    return lambda _, origin: None if output is None else output.check(origin)


def check_distinct(outputs: Iterable[Output | None], inputs: Sequence[Path]) -> None:
    """Refuse files to write that are among those to read, or the same as another.

    Raises:
        InputError: Names the first.
    """
    read = {os.path.realpath(path) for path in inputs}
    seen: set[str] = set()
    for output in outputs:
        if output is None or is_special(output.path):
            continue
        place = os.path.realpath(output.path)
        if place in read | seen:
            what = "read" if place in read else "written with something else"
            msg = f"{output.path}: is {what} by the same command. Name another file for {output.kind}."
            raise InputError(msg)
        seen.add(place)


def scores_output(path: Path | None, *, force: bool) -> Output | None:
    """A file of scores; see ``Output.of``."""
    return None if path is None else Output.of(path, "scores", scores_origin, force=force)


def thresholds_output(path: Path | None, *, force: bool) -> Output | None:
    """A file of thresholds."""

    def made(file: Path) -> Origin:
        return read_thresholds(file).made_for.origin()

    return None if path is None else Output.of(path, "thresholds", made, force=force)


def profile_output(path: Path | None, *, force: bool) -> Output | None:
    """A file with a profile."""

    def made(file: Path) -> Origin | None:
        made_for = read_profile(file).made_for
        return made_for.origin() if made_for is not None else None

    return None if path is None else Output.of(path, "a profile", made, force=force)


def report_output(folder: Path | None, *, force: bool) -> Output | None:
    """The HTML report of an audit in its folder, which need not be there yet.

    Raises:
        InputError: The folder holds another report, or pictures that might be taken for those of the report.
        MachineError: The folder cannot be made, or takes no new file.
    """
    if folder is None:
        return None
    check_folder(folder, "Name a folder that can be.")
    if not is_folder(folder):
        return Output(path=folder / PAGE, kind="an HTML report", is_taken=False, made_for=None)
    output = Output.of(folder / PAGE, "an HTML report", report_origin, force=force)
    pictures = [] if force or output.is_taken else sorted(folder.glob("*.png"))
    if pictures:
        msg = f"{pictures[0]}: might be replaced by a picture of the report. Name another folder, or give --force."
        raise InputError(msg)
    return output


def refuse_pictures(paths: Sequence[Path], *, force: bool) -> None:
    """Refuse to replace pictures, which do not say what they were drawn from.

    Raises:
        InputError: Names the first that is there already.
    """
    for path in paths:
        if not force and is_there(path):
            msg = f"{path}: is there already. Name another folder, or replace it with --force."
            raise InputError(msg)


def check_new(file: Path, *, force: bool, json: bool = False) -> None:
    """Refuse a file of results that is there already, or cannot be written; ``-`` is stdout, where ``--json`` writes.

    Raises:
        InputError: It is there, and not to be replaced, or is no file; or stdout would be written twice.
        MachineError: It cannot be written.
    """
    if json and file == STDIN:
        msg = "--json and a FILE of - would both write to stdout. Name a file."
        raise InputError(msg)
    if file == STDIN or is_special(file):
        return
    check_output(file)
    if is_there(file) and not force:
        msg = f"{file}: is there already. Name another file, or replace it with --force."
        raise InputError(msg)


@contextmanager
def written(file: Path, *, is_private: bool = False) -> Iterator[Callable[[str], object]]:
    """What writes to a file, which is there whole at the end or not at all; to stdout for a FILE of -.

    Args:
        file: The file.
        is_private: Whether its owner alone may read it.
    """
    if file == STDIN:
        yield sys.stdout.write
    elif is_special(file):
        try:
            with file.open("w", encoding="ascii") as out:
                yield out.write
        except OSError as error:
            raise unwritable(file, error) from error
    else:
        with whole_file(file, is_private=is_private) as part, part.open("w", encoding="ascii") as out:
            yield out.write
