"""The edge to git: one read-only command at a time in a repository that nobody vouches for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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


def ask_git(root: Path, *arguments: str, timeout_s: float) -> GitAnswer:
    """Runs one git command in a folder, without hooks, pagers, monitors or network.

    Args:
        root: The folder to run in; paths in the answer are relative to it.
        arguments: The command and its arguments.
        timeout_s: Seconds after which it is stopped.
    """
    command = ["git", "--no-pager", *(part for setting in _SETTINGS for part in ("-c", setting)), *arguments]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name.startswith(_KEPT)}
    try:
        done = subprocess.run(
            command, cwd=root, env=kept | _ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True,
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
