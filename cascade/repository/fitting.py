"""Which files fit into a token budget, the likeliest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

BYTES_PER_TOKEN = 4
"""Bytes of source that count as one token; a tokenizer of a large model takes 3 to 4.5."""


def tokens_of(root: Path, paths: Iterable[str]) -> dict[str, int]:
    """About how many tokens each file has; 0 for one that is not there.

    Args:
        root: The folder.
        paths: Files below it.
    """
    return {path: _size(root / path) for path in paths}


def n_tokens(n_bytes: int) -> int:
    """About how many tokens so many bytes of source are."""
    return -(-n_bytes // BYTES_PER_TOKEN)


def fitting(order: Sequence[str], sizes: Mapping[str, int], most: int) -> list[str]:
    """The files that are taken when each takes its room if it is there, in order; one that is too large is passed over.

    Args:
        order: The files, the likeliest first.
        sizes: File -> its tokens.
        most: Tokens that all may have together.

    Examples:
        >>> fitting(["a.py", "b.py", "c.py"], {"a.py": 600, "b.py": 900, "c.py": 300}, 1_000)
        ['a.py', 'c.py']
    """
    found, left = [], most
    for path in order:
        if sizes[path] <= left:
            found.append(path)
            left -= sizes[path]
    return found


def _size(path: Path) -> int:
    try:
        return n_tokens(path.stat().st_size)
    except OSError:
        return 0
