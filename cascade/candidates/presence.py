"""Which of the listed names are files that are there to read."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from cascade.candidates.checkouts import Checkouts
from cascade.candidates.language_names import language_of, suffix_of
from cascade.candidates.links import folders_of, tell_links
from cascade.candidates.messages import Messages
from cascade.candidates.reasons import (
    DELETED,
    ENVIRONMENT,
    HIDDEN,
    NAME,
    SAME_FILE,
    SCRIPT,
    SPARSE,
    SPECIAL,
    UNREADABLE,
    Reason,
)
from cascade.candidates.regular_file import read_regular
from cascade.candidates.walk import ENVIRONMENT_FILE

_SCRIPT = re.compile(rb"#!\s*(?:\S*/env\s+(?:-\S+\s+|\w+=\S*\s+)*)?(?:\S*/)?([\w.+-]+)")


def present_files(root: Path, found: Checkouts, messages: Messages) -> list[str]:
    """Names of the regular files in any known language, sorted.

    Args:
        root: The folder's real path.
        found: What is listed in it.
        messages: Told of what could be source and is no such file, is not there or may not be named.
    """
    return _Sorter(root, found, messages).files()


class _Sorter:
    """Sorts listed names into files, links, and what is left out."""

    def __init__(self, root: Path, found: Checkouts, messages: Messages) -> None:
        self._root = os.fspath(root)
        self._found = found
        self._messages = messages
        self._links: dict[str, None] = {}
        self._identities: set[tuple[str, int, int]] = set()

    def files(self) -> list[str]:
        names = self._found.names
        environments = [folder for folder in folders_of(names) if f"{folder}/{ENVIRONMENT_FILE}" in names]
        for folder in sorted(environments):
            self._messages.leave_out(ENVIRONMENT, folder)
        # git lists what it tracks below a folder even after the folder was replaced by a link
        self._links |= dict.fromkeys(sorted(folder for folder in folders_of(names) if self._is_link(folder)))
        skipped = tuple(f"{folder}/" for folder in (*environments, *self._links))
        files = [name for name in sorted(names) if not name.startswith(skipped) and self._is_file(name)]
        tell_links(Path(self._root), self._links, names, self._messages)
        return files

    def _is_link(self, name: str) -> bool:
        return os.path.islink(f"{self._root}/{name}")  # noqa: PTH114  pathlib is slow, and raises without permission

    def _is_file(self, name: str) -> bool:
        """Whether a name is a file in a known language that can be read; what else it is, is told."""
        is_source = bool(language_of(name))
        try:
            status = os.lstat(f"{self._root}/{name}")
        except OSError as error:
            reason, detail = self._absence(name, error)
            return is_source and self._leave_out(reason, name, detail)
        if stat.S_ISLNK(status.st_mode):
            self._links.setdefault(name)
            return False
        if not is_source:
            self._tell_script(name, status)
            return False
        if not stat.S_ISREG(status.st_mode):
            return self._leave_out(SPECIAL, name)
        if not name.isprintable():
            return self._leave_out(NAME, name)
        return self._is_first(name, status) or self._leave_out(SAME_FILE, name)

    def _absence(self, name: str, error: OSError) -> tuple[Reason, str]:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            return UNREADABLE, error.strerror or str(error)
        return (SPARSE if name in self._found.sparse else DELETED), ""

    def _is_first(self, name: str, status: os.stat_result) -> bool:
        """Whether no name before this one is the same file; two that differ in case only may be, on some systems."""
        identity = (name.casefold(), status.st_dev, status.st_ino)
        is_first = identity not in self._identities
        self._identities.add(identity)
        return is_first

    def _tell_script(self, name: str, status: os.stat_result) -> None:
        """Tells of a program whose first line names its interpreter and whose name has no suffix."""
        if suffix_of(name) or not status.st_mode & stat.S_IXUSR or not stat.S_ISREG(status.st_mode):
            return
        try:
            start = read_regular(f"{self._root}/{name}", 200) or b""
        except OSError:  # whether it is a script nobody can tell
            return
        if match := _SCRIPT.match(start):
            self._leave_out(HIDDEN if "/." in f"/{name}" else SCRIPT, name, os.fsdecode(match[1]))

    def _leave_out(self, reason: Reason, name: str, detail: str = "") -> bool:
        self._messages.leave_out(reason, name, detail)
        return False
