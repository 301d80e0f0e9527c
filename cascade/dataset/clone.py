"""A git repository with its full history, read commit by commit: trees, blobs and what each commit changed."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

from cascade.errors import InputError, MachineError
from cascade.evidence.history import Commit
from cascade.files import is_folder
from cascade.repository.exclusions import is_source
from cascade.repository.git import MAX_COMMITS, ask_git, git_command, git_environment, parse_log
from cascade.repository.index import Indexed, index_file
from cascade.repository.source import unfit

_TIMEOUT_S = 30.0
_MARK = "\0\x01"  # between commits


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What is said of a commit.

    Attributes:
        message: Its message.
        date: When it was committed, as ISO 8601 writes it.
    """

    message: str
    date: str


def git_folder(root: Path) -> Path:
    """The git directory of a checkout, or a bare repository as it is.

    Raises:
        InputError: It is no git repository.
    """
    if is_folder(root / "objects") and is_folder(root / "refs"):
        return root
    answer = ask_git(root, "rev-parse", "--absolute-git-dir", timeout_s=_TIMEOUT_S) if is_folder(root) else None
    if answer is None or answer.problem:
        why = answer.problem if answer is not None else "there is no such folder"
        msg = f"{root}: is no git repository ({why}). Give the folder of a checkout, or a bare repository."
        raise InputError(msg)
    return Path(answer.output.decode("utf-8", "surrogateescape").strip())


class Clone:
    """A git directory with its full history; a context manager that ends its reader.

    Args:
        folder: The git directory.

    Raises:
        MachineError: git cannot be started.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = git_command(f"--git-dir={folder}", "cat-file", "--batch")
        try:
            self._read = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=git_environment())
        except OSError as error:
            msg = f"git could not be started ({error.strerror}). Install git, which reads the history."
            raise MachineError(msg) from error
        self._known: dict[str, Indexed] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._read.communicate()

    def _git(self, *arguments: str) -> str:
        command = git_command(f"--git-dir={self._folder}", *arguments)
        done = subprocess.run(command, capture_output=True, check=True, env=git_environment())
        return done.stdout.decode("utf-8", "surrogateescape")

    @cached_property
    def messages(self) -> dict[str, str]:
        """Commit -> its message."""
        return {commit: told.message for commit, told in self._history[0].items()}

    @cached_property
    def dates(self) -> dict[str, str]:
        """Commit -> when it was committed, as ISO 8601 writes it."""
        return {commit: told.date for commit, told in self._history[0].items()}

    @property
    def commits(self) -> dict[str, Commit]:
        """All that is in the history, the newest first."""
        return self._history[1]

    @cached_property
    def _history(self) -> tuple[dict[str, _Told], dict[str, Commit]]:
        try:
            log = self._log()
        except subprocess.CalledProcessError as error:
            said = error.stderr.decode("utf-8", "replace").strip().removeprefix("fatal: ")
            msg = f"{self._folder}: git cannot read the history ({said}). Commit something first, or repair it."
            raise InputError(msg) from error
        told: dict[str, _Told] = {}
        texts: list[str] = []
        for record in f"\0{log}".split(_MARK)[1:]:  # a message may have the second sign of it
            head, _, text = record.partition("\n")
            commit, _, date = head.partition(" ")
            told[commit] = _Told(message=text.partition("\0")[0], date=date)
            texts.append(f"{_MARK}{text}")
        rest = "".join(texts).encode("utf-8", "surrogateescape")
        return told, dict(zip(told, parse_log(rest), strict=True))

    def _log(self) -> str:
        return self._git(
            "log", "--no-merges", "--name-status", "-z", "-M", "-l400", "--full-history", "--format=%x01%H %cI%n%s%n%b",
            "HEAD", "--",
        )  # fmt: skip

    def before(self, base: str, commit: str) -> list[Commit]:
        """What led to a commit's parent, newest first."""
        ancestors = self._git("rev-list", "--no-merges", f"--max-count={MAX_COMMITS}", base).split()
        return [self.commits[one] for one in ancestors if one in self.commits and one != commit]

    def tree(self, base: str) -> dict[str, str]:
        """Path -> blob of the project's own source."""
        found = {}
        for entry in filter(None, self._git("ls-tree", "-r", "-z", base).split("\0")):
            (mode, kind, blob), path = entry.partition("\t")[0].split(), entry.partition("\t")[2]
            if kind == "blob" and mode != "120000" and is_source(path):
                found[path] = blob
        return found

    def source(self, blob: str) -> bytes:
        """The contents of a file."""
        stdin, stdout = self._read.stdin, self._read.stdout
        if stdin is None or stdout is None:
            msg = "git cat-file has no pipes"
            raise RuntimeError(msg)
        stdin.write(blob.encode() + b"\n")
        stdin.flush()
        head = stdout.readline().split()
        if head[1] == b"missing":
            return b""
        data = stdout.read(int(head[2]))
        stdout.read(1)
        return data if unfit(data) is None else b""

    def indexed(self, path: str, blob: str) -> Indexed:
        """What a file holds."""
        if blob not in self._known:
            self._known[blob] = index_file(path, self.source(blob))
        found = self._known[blob]
        return Indexed(found.outline, found.entry.at(path))
