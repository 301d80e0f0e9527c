"""What is listed below a folder: by git in every repository there, and by walking elsewhere."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from cascade.candidates.messages import Messages
from cascade.candidates.outline import one_line
from cascade.candidates.reasons import SUBMODULE, UNREADABLE_FOLDER, WITHOUT_GIT, WORK_TREE
from cascade.candidates.walk import walk
from cascade.candidates.work_tree import WorkTree, read_work_tree

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
