"""The folders that a caller may have read: nothing outside of them is looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cascade.errors import InputError


class Roots:
    """Folders within which repositories may be read. Links are followed before it is decided what lies within.

    Args:
        folders: At least one; a path that is not absolute is looked up in the first.

    Raises:
        InputError: One is no folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):  # noqa: PTH112  pathlib raises where a name is too long
                msg = f"The root {str(folder)!r} is no folder; give the path of an existing folder."
                raise InputError(msg)
        self.folders = tuple(folder.resolve() for folder in folders)

    def repository(self, path: str) -> Path:
        """The folder that a caller means; empty for the first root.

        Raises:
            InputError: It does not lie within a root, whether or not it is there.
        """
        found = _resolved(self.folders[0] / path, f"The repository {path!r}")
        if any(found.is_relative_to(folder) for folder in self.folders):
            return found
        allowed = ", ".join(map(str, self.folders))
        msg = f"The repository {path!r} lies outside of what this server may read: {allowed}. Give a folder within."
        raise InputError(msg)


def within(folder: Path, paths: Sequence[str]) -> list[str]:
    """Paths of files below a folder, from it or absolute, as absolute ones.

    Raises:
        InputError: One lies outside of the folder, whether or not it is there.
    """
    found = [_resolved(folder / path, f"The file {path!r}") for path in paths]
    outside = next((path for path, file in zip(paths, found, strict=True) if not file.is_relative_to(folder)), None)
    if outside is not None:
        msg = f"The file {outside!r} lies outside of the repository {str(folder)!r}; give files below it."
        raise InputError(msg)
    return [str(file) for file in found]


def _resolved(path: Path, what: str) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a name that is too long, a circle of links, a null character
        msg = f"{what} cannot be looked up ({getattr(error, 'strerror', None) or error}); give the path of a real one."
        raise InputError(msg) from error
