"""One git work tree: what git lists in a folder of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from cascade.candidates.git import GitAnswer, ask_git

_TIMEOUT_S = 30.0
_CLOSED = re.compile(r"warning: could not open directory '(.*?)(?:/': (.*))?")  # git cuts a long line
_SUBMODULE = "160000"
_SPARSE = "S"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkTree:
    """The files of a folder as git lists them; all paths from the folder, with forward slashes.

    Attributes:
        common: Real path of the repository's own folder, which all its work trees share; empty with a problem.
        is_top: Whether the folder is the top of the work tree.
        files: Files and links, tracked or neither tracked nor ignored; they need not be there.
        sparse: Those of them that a sparse checkout leaves out.
        submodules: Folders of submodules, checked out or not.
        nested: Folders of repositories within, which git does not track.
        closed: Folder that cannot be read -> why.
        warnings: What else git warns of.
        problem: Why git lists nothing, in one line; empty where it lists.
    """

    common: str = ""
    is_top: bool = True
    files: tuple[str, ...] = ()
    sparse: frozenset[str] = frozenset()
    submodules: tuple[str, ...] = ()
    nested: tuple[str, ...] = ()
    closed: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    problem: str = ""


def read_work_tree(folder: Path) -> WorkTree:
    """Asks git what it lists below a folder."""
    place = ask_git(
        folder, "rev-parse", "--is-inside-work-tree", "--git-common-dir", "--show-prefix", timeout_s=_TIMEOUT_S
    )
    is_inside, common, prefix = [*os.fsdecode(place.output).split("\n", 2), "", ""][:3]
    if place.problem or is_inside != "true":  # a repository may say that its work tree is another folder
        return WorkTree(problem=place.problem or "the folder is not in the repository's work tree")
    listing = ask_git(
        folder, "ls-files", "-z", "-t", "--stage", "--cached", "--others", "--exclude-standard", timeout_s=_TIMEOUT_S
    )
    return _parsed(listing, os.path.realpath(folder / common), is_top=not prefix.strip("\n"))


def _parsed(answer: GitAnswer, common: str, *, is_top: bool) -> WorkTree:
    """What ``git ls-files -t --stage`` writes, ``H 100644 HASH 0<tab>PATH``, or ``? PATH`` where untracked. Pure."""
    if answer.problem:
        return WorkTree(problem=answer.problem)
    files: dict[str, None] = {}
    sparse, submodules, nested = set[str](), dict[str, None](), []
    for entry in os.fsdecode(answer.output).split("\0"):
        tag, _, rest = entry.partition(" ")
        if tag == "?":
            if rest.endswith("/"):
                nested.append(rest.removesuffix("/"))
            else:
                files.setdefault(rest)
        elif rest:
            mode, path = rest.partition(" ")[0], rest.partition("\t")[2]
            (submodules if mode == _SUBMODULE else files).setdefault(path)
            if tag == _SPARSE:
                sparse.add(path)
    found = [match for line in answer.warnings if (match := _CLOSED.fullmatch(line))]
    return WorkTree(
        common=common,
        is_top=is_top,
        files=tuple(files),
        sparse=frozenset(sparse),
        submodules=tuple(submodules),
        nested=tuple(nested),
        closed={match[1]: match[2] or "" for match in found},
        warnings=tuple(line for line in answer.warnings if not _CLOSED.fullmatch(line)),
    )
