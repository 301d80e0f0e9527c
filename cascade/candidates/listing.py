"""Which files of a folder are its source: listed by git where it can, else by walking."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from cascade.candidates.git import ask_git
from cascade.candidates.languages import SUFFIXES
from cascade.candidates.messages import Messages

_TIMEOUT_S = 30.0
_TEST_FOLDER = re.compile(
    r"tests?|(?:tests?[-_].*)|(?:.*[-_]tests?)|testdata|testsuite|__tests__|__mocks__", re.IGNORECASE
)
_TEST_FILE = re.compile(r"(?:test_.*|.*_tests?|tests|conftest|.*\.(?:test|spec))\.\w+", re.IGNORECASE)
_TEST_ROOTS = frozenset({"testing", "t"})
_TOOLING_ROOTS = frozenset({"doc", "docs", "ci"})
_TOOLING_FILES = frozenset({"setup.py", "noxfile.py"})
_VENDORED = frozenset(
    {"_vendor", "vendor", "_vendored", "vendored", "extern", "_extern", "third_party", "externals", "node_modules"}
)
_OUTPUT = frozenset({"build", "dist"})
_ENVIRONMENT = "pyvenv.cfg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a folder that are written in a language this package reads.

    Attributes:
        paths: From the folder, with forward slashes, sorted; tests and vendored code included.
        is_git: Whether git listed them, so that there is a history to ask for.
    """

    paths: tuple[str, ...]
    is_git: bool

    @property
    def sources(self) -> tuple[str, ...]:
        """The paths that are the project's own source."""
        return tuple(path for path in self.paths if is_source(path))


@lru_cache(maxsize=200_000)
def is_source(path: str) -> bool:
    """Whether a path is source of the project itself: no test, no vendored code, no build script. Pure."""
    *folders, name = path.split("/")
    if PurePosixPath(name).suffix not in SUFFIXES or name.endswith(".min.js"):
        return False
    if _TEST_FILE.fullmatch(name) or name in _TOOLING_FILES or any(part.startswith(".") for part in (*folders, name)):
        return False
    if folders and (folders[0] in _TEST_ROOTS or folders[0] in _TOOLING_ROOTS):
        return False
    return not any(part in _VENDORED or _TEST_FOLDER.fullmatch(part) for part in folders)


def list_files(root: Path, messages: Messages) -> Listing:
    """Lists a folder's files: tracked and untracked but not ignored ones, or all where git cannot tell.

    Args:
        root: An existing folder; the top of a repository, a folder within one, or neither.
        messages: Told why git was not used, and of names that cannot be shown.
    """
    answer = ask_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", timeout_s=_TIMEOUT_S)
    listed = set(os.fsdecode(answer.output).split("\0")) - {""}
    if answer.problem or not listed:
        reason = answer.problem or "git lists no files below this folder"
        messages.add(f"Without git ({reason}): all files of the folder are read and there is no co-change tier.")
        listed = set(_walk(root, messages))
    return Listing(paths=tuple(sorted(_readable(listed, messages))), is_git=not answer.problem and bool(answer.output))


def _readable(paths: Iterable[str], messages: Messages) -> Iterator[str]:
    """Paths of known languages outside virtual environments, with names that can stand in a prompt. Pure."""
    paths = list(paths)
    environments = {path.removesuffix(_ENVIRONMENT) for path in paths if path.rpartition("/")[2] == _ENVIRONMENT}
    for path in paths:
        if PurePosixPath(path).suffix not in SUFFIXES or any(map(path.startswith, environments - {""})):
            continue
        if path.isprintable():
            yield path
        else:
            messages.add("skipped, the name is not UTF-8 or has control characters", path)


def _walk(root: Path, messages: Messages) -> Iterator[str]:
    def unreadable(error: OSError) -> None:
        messages.add(f"skipped, the folder cannot be read ({error.strerror})", str(error.filename))

    for folder, folders, files in os.walk(root, onerror=unreadable):
        folders[:] = sorted(name for name in folders if _is_entered(Path(folder, name)))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in files)


def _is_entered(folder: Path) -> bool:
    name = folder.name
    if name.startswith(".") or name in {"node_modules", "__pycache__"} or (folder / _ENVIRONMENT).exists():
        return False
    return name not in _OUTPUT or (folder / "__init__.py").exists()  # a package may be called build
