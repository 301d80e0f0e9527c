"""The files of a folder that git does not list, found by walking."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cascade.candidates.messages import Messages
from cascade.candidates.reasons import (
    ENVIRONMENT,
    HIDDEN_FOLDER,
    OUTPUT_FOLDER,
    UNREADABLE_FOLDER,
    VENDORED_FOLDER,
    Reason,
)

ENVIRONMENT_FILE = "pyvenv.cfg"
_GIT = ".git"
_WITHOUT_SOURCE = frozenset({_GIT, "__pycache__"})
_OUTPUT = frozenset({"build", "dist"})


def walk(root: Path, start: str, messages: Messages) -> Iterator[str]:
    """Everything below a folder that is no folder, and folders that are repositories, these with a slash at the end.

    Links are not followed. It keeps its own stack, since folders may be nested deeper than Python can recurse.

    Args:
        root: What paths are relative to.
        start: The folder to walk, from the root; empty for the root itself.
        messages: Told of folders that are not entered.
    """
    stack = [start]
    while stack:
        at = stack.pop()
        try:
            with os.scandir(root / at) as entries:
                found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        except OSError as error:
            messages.leave_out(UNREADABLE_FOLDER, at or ".", error.strerror or str(error))
            continue
        inner = []
        for name, is_folder in found:
            path = f"{at}/{name}" if at else name
            if not is_folder:
                yield path
            elif name in _WITHOUT_SOURCE:
                continue
            elif reason := _not_entered(root / path):
                messages.leave_out(reason, path)
            elif os.path.lexists(root / path / _GIT):
                yield f"{path}/"
            else:
                inner.append(path)
        stack.extend(reversed(inner))


def _not_entered(folder: Path) -> Reason | None:
    name = folder.name
    if name.startswith("."):
        return HIDDEN_FOLDER
    if name == "node_modules":
        return VENDORED_FOLDER
    if os.path.exists(folder / ENVIRONMENT_FILE):  # noqa: PTH110  pathlib raises where the folder may not be searched
        return ENVIRONMENT
    is_package = os.path.exists(folder / "__init__.py")  # noqa: PTH110  as above; a package may be called build
    return OUTPUT_FOLDER if name in _OUTPUT and not is_package else None
