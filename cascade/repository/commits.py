"""The commits of a checkout, read once: later runs read what is new."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cascade.evidence.history import Change, Commit
from cascade.repository.git import MAX_COMMITS, head_of, is_ancestor, parse_log, read_log
from cascade.repository.index_cache import IndexCache
from cascade.repository.listing import Listing
from cascade.repository.messages import Messages


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
    head, key = head_of(folder), os.path.realpath(folder)
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
    if head:
        cache.keep_history(key, _dump(head, commits))
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
        head, rows = json.loads(zlib.decompress(data))
        return str(head), [_commit(*row) for row in rows]
    except (ValueError, TypeError, zlib.error, RecursionError) as error:
        cache.give_up(error)
        return None


def _commit(words: Any, changes: Any) -> Commit:
    """A commit from a row of the cache.

    Raises:
        TypeError: It is none.
    """
    found = [Change(status=str(status), old=str(old), new=str(new)) for status, old, new in changes]
    return Commit(words=tuple(map(int, words)), changes=tuple(found))


def _dump(head: str, commits: Sequence[Commit]) -> bytes:
    rows = [(commit.words, [(one.status, one.old, one.new) for one in commit.changes]) for commit in commits]
    return zlib.compress(json.dumps([head, rows], separators=(",", ":")).encode("utf-8", "surrogatepass"), 1)
