"""A real folder of source files, and a git repository when a test makes it one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cascade.repository.find import Candidates, find_candidates
from tests.helpers.ranker import simple_ranker

_AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "Ada"), ("EMAIL", "ada@example.org"), ("DATE", "2024-01-01T00:00:00Z"))
}


class Checkout:
    """A folder of source files, a git repository once ``init`` was called."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def write(self, files: Mapping[str, str | bytes]) -> Checkout:
        """Writes files below the root."""
        for path, content in files.items():
            file = self.root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        return self

    def git(self, *arguments: str) -> None:
        """Runs git without the configuration of whoever runs the tests."""
        environment = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        subprocess.run(["git", *arguments], cwd=self.root, env=environment | _AUTHOR, check=True, capture_output=True)

    def init(self) -> Checkout:
        """Makes the folder a git repository."""
        self.git("init", "-q", "-b", "main")
        return self

    def commit(self, files: Mapping[str, str | bytes] | None = None) -> Checkout:
        """Writes files, then commits everything."""
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self

    def find(self, text: str, *seeds: str, most: int = 200) -> Candidates:
        """Candidates without a cache, by a ranker of a few signals."""
        return find_candidates(self.root, text, seeds, cache=None, most=most, ranker=simple_ranker())
