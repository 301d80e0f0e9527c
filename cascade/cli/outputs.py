"""Files that commands write: none takes the place of one that was made for something else, but by ``--force``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import typer

from cascade.audit.html import PAGE, report_origin
from cascade.config.profile import read_profile
from cascade.config.thresholds import read_thresholds
from cascade.errors import InputError
from cascade.evaluation.scoring import scores_origin
from cascade.files import check_folder, check_output, is_folder, is_special, is_there
from cascade.report import Origin

ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace files that are there already and were made for something else.")
]

Made = Callable[[Path], Origin | None]
"""What a file was made for; None if it does not say. Raises an InputError where it is of another kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file to write.

    Attributes:
        path: The file.
        kind: What it holds, in words.
        is_taken: Whether a file is there that may not be replaced by one that was made for something else.
        made_for: What the file that is there was made for; None if nobody knows, or there is none.
    """

    path: Path
    kind: str
    is_taken: bool
    made_for: Origin | None

    @classmethod
    def of(cls, path: Path, kind: str, made: Made, *, force: bool) -> Self:
        """Look at what is there; call it before any work starts.

        Args:
            path: The file.
            kind: What is to be written, in words.
            made: How to read of a file of this kind what it was made for.
            force: Whether anything may be replaced.

        Raises:
            InputError: It is a folder, has no folder, or is a file of another kind.
            MachineError: Its folder takes no new file.
        """
        check_output(path)
        if force or not is_there(path) or is_special(path):
            return cls(path=path, kind=kind, is_taken=False, made_for=None)
        try:
            return cls(path=path, kind=kind, is_taken=True, made_for=made(path))
        except InputError as error:
            msg = (
                f"{path}: is there already, and holds something other than {kind}. Name another, or replace it with "
                "--force."
            )
            raise InputError(msg) from error

    def check(self, origin: Origin) -> None:
        """Refuse to replace a file that was made for something else; call it before work that takes long.

        Args:
            origin: What the new file is made for.

        Raises:
            InputError: Says what differs.
        """
        if not self.is_taken or self.made_for == origin:
            return
        differs = self.made_for.differences(origin) if self.made_for is not None else []
        what = f"made for something else (other: {', '.join(differs)})" if differs else "and does not say of what"
        msg = f"{self.path}: holds {self.kind} already, {what}. Name another file, or replace it with --force."
        raise InputError(msg)


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
