"""Which labelled commits belong to a clone, by its name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

ROWS = ".jsonl.gz"


def names_of(folder: Path) -> tuple[str, ...]:
    """What a clone may be called, as ``OWNER__NAME`` or ``NAME``: by its origin first, then by its path."""
    asked = subprocess.run(
        ["git", f"--git-dir={folder}", "config", "--get", "remote.origin.url"],
        capture_output=True,
        check=False,
        text=True,
    )
    return tuple(dict.fromkeys([*_names(asked.stdout.strip()), *_names(str(folder.resolve()))]))


def _names(address: str) -> Iterator[str]:
    """The last three parts of an address or a path, two together or each alone, the last first."""
    parts = [part.removesuffix(".git") for part in re.split(r"[/:\\]", address)]
    parts = [re.sub(r"[^\w.-]+", "__", part) for part in parts if part][:-4:-1]
    yield from (f"{owner}__{name}" for name, owner in pairwise(parts))
    yield from parts


def labelled_file(folder: Path, data: Path) -> Path:
    """The labelled commits of a clone: ``data/train/OWNER__NAME.jsonl.gz``, or the same in ``data/dev``.

    Raises:
        ValueError: There are none, or several.
    """
    several = sorted(data.glob(f"*/*{ROWS}"))
    names = names_of(folder)
    for name in names:
        found = [path for path in several if name in {_stem(path), _stem(path).partition("__")[2]}]
        if len(found) == 1:
            return found[0]
    msg = (
        f"{data} has no labelled commits of {folder}, which may be called {', '.join(names)}. "
        f"It has those of {', '.join(map(_stem, several)) or 'no repository'}. "
        "Name the clone's folder OWNER__NAME, or leave out --data to have its commits labelled."
    )
    raise ValueError(msg)


def _stem(path: Path) -> str:
    return path.name.removesuffix(ROWS)
