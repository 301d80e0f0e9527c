"""Which files of a folder are source, and which are left out."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cascade.repository.exclusions import exclusion, is_source
from cascade.repository.git import WorkTree, read_work_tree
from cascade.repository.languages import SUFFIXES, language_of, suffix_of
from cascade.repository.links import folders_of, tell_links
from cascade.repository.messages import Messages
from cascade.repository.outline import one_line
from cascade.repository.reasons import (
    DELETED,
    ENVIRONMENT,
    HIDDEN,
    HIDDEN_FOLDER,
    NAME,
    OUTPUT_FOLDER,
    SAME_FILE,
    SCRIPT,
    SPARSE,
    SPECIAL,
    SUBMODULE,
    TEST,
    TOOLING,
    UNREADABLE,
    UNREADABLE_FOLDER,
    VENDORED_FOLDER,
    WITHOUT_GIT,
    WORK_TREE,
    Reason,
)
from cascade.repository.source import read_regular

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


_WARNINGS = 3
_BARE = ("HEAD", "objects", "refs")


@dataclass(slots=True, kw_only=True)
class Checkouts:
    """What is listed below a folder; all paths from it, with forward slashes.

    Attributes:
        names: Files, links and whatever else is no folder; what git lists need not be there.
        sparse: Those of them that a sparse checkout leaves out.
        repositories: Folders of the repositories that git listed, with a slash at the end, empty for the folder itself.
        commons: The folders that these repositories keep their objects in.
    """

    names: set[str] = field(default_factory=set)
    sparse: set[str] = field(default_factory=set)
    repositories: list[str] = field(default_factory=list)
    commons: set[str] = field(default_factory=set)


def list_checkouts(root: Path, messages: Messages) -> Checkouts:
    """Lists a folder, and every repository within it by its own git: submodules, and those that git does not track.

    A further work tree of a repository that is listed already is left out: its files are other versions of the same.
    """
    found = Checkouts()
    waiting = [""]
    while waiting:
        waiting.extend(reversed(_listed(root, waiting.pop(), found, messages)))
    return found


def _listed(root: Path, at: str, found: Checkouts, messages: Messages) -> list[str]:
    """Lists one repository or plain folder; returns the repositories within, which are still to be listed."""
    tree = read_work_tree(root / at)
    if not tree.problem and tree.common in found.commons:
        messages.leave_out(WORK_TREE, at)
        return []
    problem = tree.problem or (_other_repository(tree) if at else _nothing(tree))
    if not problem:
        return _by_git(root, at, tree, found, messages)
    if not (at or tree.problem or any(walk(root, at, Messages()))):
        return []  # a repository without any files
    if at:
        messages.leave_out(WITHOUT_GIT, at, problem)
    elif all(os.path.exists(root / name) for name in _BARE):  # noqa: PTH110  pathlib raises without permission
        messages.add("The folder is a bare git repository, which has no files: give a checkout of it.")
        return []
    else:
        messages.add(
            f"Without git ({problem}): all files of the folder are read, and its own files have no co-change tier."
        )
    walked = list(walk(root, at, messages))
    found.names.update(path for path in walked if not path.endswith("/"))
    return [path.removesuffix("/") for path in walked if path.endswith("/")]


def _nothing(tree: WorkTree) -> str:
    is_empty = not (tree.files or tree.submodules or tree.nested)
    return "git lists no files below this folder" if is_empty else ""


def _other_repository(tree: WorkTree) -> str:
    return "" if tree.is_top else "its .git is not a repository"


def _by_git(root: Path, at: str, tree: WorkTree, found: Checkouts, messages: Messages) -> list[str]:
    prefix = f"{at}/" if at else ""
    found.commons.add(tree.common)
    found.repositories.append(prefix)
    found.names.update(prefix + path for path in tree.files)
    found.sparse.update(prefix + path for path in tree.sparse)
    for folder, why in tree.closed.items():
        messages.leave_out(UNREADABLE_FOLDER, prefix + folder, why)
    for warning in tree.warnings[:_WARNINGS]:
        messages.add(f"git says: {one_line(warning)}")
    inner = [prefix + path for path in tree.nested]
    fetch = f"`git -C {shlex.quote(str(root / at))} submodule update --init --recursive`"
    advice = f"{fetch} checks out those that .gitmodules names."
    for path in (prefix + path for path in tree.submodules):
        if os.path.islink(root / path):  # noqa: PTH114  as above
            found.names.add(path)
        elif os.path.lexists(root / path / ".git"):
            inner.append(path)
        else:
            messages.leave_out(SUBMODULE, path, advice=advice)
    return inner


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a folder.

    Attributes:
        n_files: All that are listed, source or not.
        paths: Those in a language that is read, from the folder, with forward slashes, sorted; tests and vendored code
            included.
        others: Those in a language that is known and not read.
        repositories: Folders of the repositories that git listed, which have a history to ask for: from the folder,
            with a slash at the end, empty for the folder itself.
    """

    n_files: int
    paths: tuple[str, ...]
    others: tuple[str, ...]
    repositories: tuple[str, ...]

    def sources(self, also: Collection[str] = ()) -> tuple[str, ...]:
        """The paths that are the project's own source.

        Args:
            also: What is taken beside it: ``tests``, and ``docs`` for code of the build and the documentation.
        """
        return tuple(path for path in self.paths if is_source(path) or _is_wanted(path, also))


def _is_wanted(path: str, also: Collection[str]) -> bool:
    reason = exclusion(path)
    return (reason is TEST and "tests" in also) or (reason is TOOLING and "docs" in also)


def list_files(root: Path, messages: Messages) -> Listing:
    """Lists a folder's files: tracked and untracked but not ignored ones, or all where git cannot tell.

    Repositories within are listed by their own git. Links are not followed.

    Args:
        root: An existing folder, without links in its path; the top of a repository, a folder within one, or neither.
        messages: Told why git was not used, and of everything that could be source and cannot be read.
    """
    found = list_checkouts(root, messages)
    files = present_files(root, found, messages)
    return Listing(
        n_files=len(found.names),
        paths=tuple(path for path in files if suffix_of(path) in SUFFIXES),
        others=tuple(path for path in files if suffix_of(path) not in SUFFIXES),
        repositories=tuple(found.repositories),
    )


def tell_exclusions(listing: Listing, seeds: Collection[str], messages: Messages) -> None:
    """Tells of the files that are left out for what they are: tests, vendored code, or of a language not read.

    Args:
        listing: The files of a folder.
        seeds: Those of them that are read whatever they are.
        messages: Told of the others.
    """
    for path in (*listing.paths, *listing.others):
        reason = exclusion(path)
        if reason and path not in seeds:
            messages.leave_out(reason, path)
