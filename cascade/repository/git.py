"""The edge to git: one read-only command at a time in a repository that nobody vouches for."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cascade.evidence.history import MOST_MESSAGE, Change, Commit
from cascade.evidence.terms import terms

# What the repository's own configuration could otherwise start or write.
_SETTINGS = (
    "core.fsmonitor=false",
    f"core.hooksPath={os.devnull}",
    "core.quotePath=false",
    "log.showSignature=false",
    "safe.bareRepository=explicit",
)
_KEPT = ("GIT_CONFIG", "GIT_CEILING")  # the user's own settings; GIT_DIR and the like of a hook are not
_ENVIRONMENT = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",  # a partial clone must not reach out, over ssh or a configured helper
    "LC_ALL": "C",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GitAnswer:
    """What a git command wrote, or why there is nothing.

    Attributes:
        output: Standard output; empty when there is a problem.
        problem: One line, with the command that git names as the remedy; empty when the command succeeded.
        warnings: What a command that succeeded wrote on standard error, line by line.
    """

    output: bytes = b""
    problem: str = ""
    warnings: tuple[str, ...] = ()


def git_command(*arguments: str) -> list[str]:
    """A git command that starts no hook, pager or monitor."""
    return ["git", "--no-pager", *(part for setting in _SETTINGS for part in ("-c", setting)), *arguments]


def git_environment() -> dict[str, str]:
    """The variables that a git command gets: nothing of a hook that runs this process, and no network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    return kept | _ENVIRONMENT


def ask_git(root: Path, *arguments: str, timeout_s: float) -> GitAnswer:
    """Runs one git command in a folder, without hooks, pagers, monitors or network.

    Args:
        root: The folder to run in; paths in the answer are relative to it.
        arguments: The command and its arguments.
        timeout_s: Seconds after which it is stopped.
    """
    try:
        done = subprocess.run(
            git_command(*arguments), cwd=root, env=git_environment(), stdin=subprocess.DEVNULL, capture_output=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return GitAnswer(problem=f"git {arguments[0]} took longer than {timeout_s:g} s")
    except (OSError, ValueError) as error:  # a ValueError for a null character in the folder's name
        return GitAnswer(problem=f"git could not be started ({getattr(error, 'strerror', None) or error})")
    lines = os.fsdecode(done.stderr).splitlines()
    if done.returncode:
        return GitAnswer(problem=_problem(lines) or f"exit status {done.returncode}")
    return GitAnswer(output=done.stdout, warnings=tuple(line for line in lines if line))


def _problem(lines: Sequence[str]) -> str:
    """The line that says what is wrong, and the command that mends it where git names one."""
    said = next((line for line in lines if line.startswith("fatal: ")), next(iter(lines), ""))
    remedy = next((line.strip() for line in lines if line.startswith("\tgit ")), "")
    return said.removeprefix("fatal: ").strip() + (f"; `{remedy}` allows it" if remedy else "")


MAX_COMMITS = 10_000
_TIMEOUT_S = 30.0
_MARK = "\x01"
_STATUS = re.compile(r"[ACDMRTUX]\d*")


def read_log(root: Path, since: str = "") -> GitAnswer:
    """The newest commits below a folder with their messages and the paths they changed, for ``parse_log``.

    Args:
        root: The folder.
        since: A commit; what it and its ancestors changed is left out. Empty for all.
    """
    wanted = f"{since}..HEAD" if since else "HEAD"
    for renames in ("-M", "-M100%"):  # a partial clone has no contents to compare: exact renames only
        answer = ask_git(
            root, "log", "--no-merges", "--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color",
            "--name-status", "-z", renames, "-l400", "--full-history", "--relative", f"--max-count={MAX_COMMITS}",
            "--encoding=UTF-8", "--format=%x01%s%n%b", wanted, "--", ".", timeout_s=_TIMEOUT_S,
        )  # fmt: skip
        if not answer.problem:
            return answer
    is_new = ask_git(root, "rev-list", "--max-count=1", "--all", timeout_s=_TIMEOUT_S) == GitAnswer()
    return GitAnswer(problem="the repository has no commits yet") if is_new else answer


def head_of(root: Path) -> str:
    """The commit that is checked out; empty where there is none."""
    answer = ask_git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}", timeout_s=_TIMEOUT_S)
    return os.fsdecode(answer.output).strip()


def is_shallow(root: Path) -> bool:
    """Whether the history of a repository was not fetched in full."""
    answer = ask_git(root, "rev-parse", "--is-shallow-repository", timeout_s=_TIMEOUT_S)
    return os.fsdecode(answer.output).strip() == "true"


def is_ancestor(root: Path, commit: str) -> bool:
    """Whether what is checked out comes from a commit."""
    return not ask_git(root, "merge-base", "--is-ancestor", commit, "HEAD", timeout_s=_TIMEOUT_S).problem


def parse_log(log: bytes, prefix: str = "") -> Iterator[Commit]:
    """The commits of a log, in its order (newest first). Pure.

    Args:
        log: What ``read_log`` answered.
        prefix: What stands before each path: the folder of the log, with a slash at its end.
    """
    for record in f"\0{log.decode('utf-8', 'surrogateescape')}".split(f"\0{_MARK}")[1:]:  # a message may have a mark
        message, *tokens = record.split("\0")
        left = (token.removeprefix("\n") for token in tokens)
        changes = []
        for token in left:
            if _STATUS.fullmatch(token):
                old = next(left, "")
                new = next(left, "") if token[0] in "RC" else old
                changes.append(Change(status=token[0], old=prefix + old, new=prefix + new))
        yield Commit(words=tuple(terms(message[:MOST_MESSAGE])), changes=tuple(changes))


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
