"""Which files changed together with the seeds, from `git log`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cascade.candidates.git import GitAnswer, ask_git

MAX_COMMITS = 5_000
MAX_FILES = 30  # a larger commit says nothing about coupling
_TIMEOUT_S = 30.0
_MARK = "\x01"
_STATUS = re.compile(r"[ACDMRTUX]\d*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path of one commit.

    Attributes:
        status: Git's letter: ``A`` added, ``M`` modified, ``D`` deleted, ``R`` renamed, ...
        old: The path before.
        new: The path after; the same unless it was renamed.
    """

    status: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CoChanges:
    """How often files changed together with a seed.

    Attributes:
        counts: Path today -> commits that changed both it and a seed.
        seed_changes: Commits that changed a seed.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    seed_changes: int = 0

    def __add__(self, other: CoChanges) -> CoChanges:
        """Both together, where they are of different repositories, or of different seeds."""
        counts = Counter(self.counts) + Counter(other.counts)
        return CoChanges(counts=counts, seed_changes=self.seed_changes + other.seed_changes)


def read_log(root: Path) -> GitAnswer:
    """The newest commits below a folder with the paths they changed, for ``parse_log``."""
    for renames in ("-M", "-M100%"):  # a partial clone has no contents to compare: exact renames only
        answer = ask_git(
            root, "log", "--no-merges", "--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color",
            "--name-status", "-z", renames, "-l400", "--full-history", "--relative", f"--max-count={MAX_COMMITS}",
            "--format=%x01", "HEAD", "--", ".", timeout_s=_TIMEOUT_S,
        )  # fmt: skip
        if not answer.problem:
            return answer
    is_new = ask_git(root, "rev-list", "--max-count=1", "--all", timeout_s=_TIMEOUT_S) == GitAnswer()
    return GitAnswer(problem="the repository has no commits yet") if is_new else answer


def parse_log(log: bytes, prefix: str = "") -> Iterator[list[Change]]:
    """The changes of each commit, in the log's order (newest first). Pure.

    Args:
        log: What ``read_log`` answered.
        prefix: What stands before each path: the folder of the log, with a slash at its end.
    """
    tokens = (token.removeprefix("\n") for token in log.decode("utf-8", "surrogateescape").split("\0"))
    changes: list[Change] = []
    for token in tokens:
        if _STATUS.fullmatch(token):
            old = next(tokens, "")
            new = next(tokens, "") if token[0] in "RC" else old
            changes.append(Change(status=token[0], old=prefix + old, new=prefix + new))
        elif token.startswith(_MARK):
            yield changes
            changes = []
    yield changes


def co_changes(
    commits: Iterable[Collection[Change]], seeds: Collection[str], counts_as_source: Callable[[str], bool]
) -> CoChanges:
    """Counts co-changes with any seed; a renamed file keeps its past under its present name. Pure.

    Args:
        commits: Newest first.
        seeds: Present paths of the seeds.
        counts_as_source: Which paths are counted at all; a seed always is.
    """
    wanted = frozenset(seeds)
    present: dict[str, str] = {}  # path at this point of the history -> path today
    counts: Counter[str] = Counter()
    seed_changes = 0
    for changes in commits:
        paths = {
            present.get(change.new, change.new)
            for change in changes
            if change.status != "D" and (change.new in wanted or counts_as_source(change.new))
        }
        touched = paths & wanted
        if touched and len(paths) <= MAX_FILES:
            seed_changes += 1
            counts.update(paths - wanted)
        present |= {change.old: present.get(change.new, change.new) for change in changes if change.status == "R"}
    return CoChanges(counts=counts, seed_changes=seed_changes)
