"""The commits of a checkout, read once: later runs read what is new."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cascade.evidence.history import Change, Commit
from cascade.evidence.packing import pack, unpack
from cascade.repository.git import MAX_COMMITS, head_of, is_ancestor, is_shallow, parse_log, read_log
from cascade.repository.index_cache import IndexCache
from cascade.repository.listing import Listing
from cascade.repository.messages import Messages

Counts = NDArray[np.uint32]
_ARRAYS = ("<u4",) * 5


def read_commits(root: Path, listing: Listing, cache: IndexCache, messages: Messages) -> list[Commit]:
    """The newest commits of every repository of a checkout, at most 10,000 each.

    Args:
        root: The checkout.
        listing: What is in it.
        cache: What was read before.
        messages: Told of a history that cannot be read.
    """
    return [commit for prefix in listing.repositories for commit in _of_repository(root, prefix, cache, messages)]


def _of_repository(root: Path, prefix: str, cache: IndexCache, messages: Messages) -> list[Commit]:
    folder = root / prefix
    head, key = head_of(folder), os.fsencode(os.path.realpath(folder)).decode("utf-8", "backslashreplace")
    kept = kept_commits(key, cache) if head else None
    if kept is not None and kept[0] == head:
        return _under(kept[1], prefix)
    since = kept[0] if kept is not None and is_ancestor(folder, kept[0]) else ""
    log = read_log(folder, since)
    if log.problem:
        where = f" of {prefix.removesuffix('/')}" if prefix else ""
        messages.add(f"Without the history{where} ({log.problem}): there is no co-change tier.")
        return []
    commits = [*parse_log(log.output), *(kept[1] if kept is not None and since else ())][:MAX_COMMITS]
    if head and not is_shallow(folder):  # more of it may be fetched, with the same newest commit
        cache.keep_history(key, dump_commits(head, commits))
    return _under(commits, prefix)


def _under(commits: Sequence[Commit], prefix: str) -> list[Commit]:
    """Commits whose paths are from the root."""
    if not prefix:
        return list(commits)
    return [
        Commit(
            words=commit.words,
            changes=tuple(
                Change(status=one.status, old=prefix + one.old, new=prefix + one.new) for one in commit.changes
            ),
        )
        for commit in commits
    ]


def kept_commits(key: str, cache: IndexCache) -> tuple[str, list[Commit]] | None:
    """The newest commit of a history that was kept, and its commits; None where nothing is, or nothing can be read."""
    data = cache.history(key)
    if data is None:
        return None
    try:
        return _load(data)
    except ValueError as error:
        cache.give_up(error)
        return None


def dump_commits(head: str, commits: Sequence[Commit]) -> bytes:
    """Commits, and the newest, as bytes that ``kept_commits`` reads back."""
    words = [len(commit.words) for commit in commits], [word for commit in commits for word in commit.words]
    changes = [change for commit in commits for change in commit.changes]
    paths = {path: at for at, path in enumerate(dict.fromkeys(path for one in changes for path in (one.old, one.new)))}
    columns = (
        *words,
        [len(commit.changes) for commit in commits],
        [paths[one.old] for one in changes],
        [paths[one.new] for one in changes],
    )
    texts = [head, "".join(one.status for one in changes), list(paths)]
    return pack(texts, [np.array(column, kind) for column, kind in zip(columns, _ARRAYS, strict=True)])


def _load(data: bytes) -> tuple[str, list[Commit]]:
    """The newest commit, and the commits.

    Raises:
        ValueError: The bytes are not what ``dump_commits`` wrote.
    """
    texts, arrays = unpack(data, _ARRAYS)
    if not _is_log(texts, *arrays):
        msg = "not a history"
        raise ValueError(msg)
    head, statuses, paths = texts
    n_words, words, n_changes, old, new = (array.tolist() for array in arrays)
    said = iter(words)
    changes = map(Change, statuses, map(paths.__getitem__, old), map(paths.__getitem__, new))
    return head, [
        Commit(tuple(islice(said, n)), tuple(islice(changes, m))) for n, m in zip(n_words, n_changes, strict=True)
    ]


def _is_log(texts: Any, n_words: Counts, words: Counts, n_changes: Counts, old: Counts, new: Counts) -> bool:
    """Whether a head, statuses and paths belong to the columns of commits and changes."""
    if not (isinstance(texts, list) and [*map(type, texts)] == [str, str, list]):
        return False
    _, statuses, paths = texts
    return (
        {*map(type, paths)} <= {str}
        and len(n_words) == len(n_changes)
        and int(n_words.sum(dtype=np.uint64)) == len(words)
        and int(n_changes.sum(dtype=np.uint64)) == len(statuses) == len(old) == len(new)
        and max(old.max(initial=0), new.max(initial=0)) < max(len(paths), 1)
        and (len(paths) > 0 or not len(old))
    )
