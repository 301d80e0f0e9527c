"""A file to write, which takes the place of none that was made for something else, unless that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cascade.errors import InputError
from cascade.files import check_output, is_special, is_there
from cascade.report import Origin

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
