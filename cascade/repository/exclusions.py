"""Which files are source of the project itself, and why others are not. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

from cascade.repository.languages import SUFFIXES, language_of, suffix_of
from cascade.repository.reasons import HIDDEN, MINIFIED, TEST, TOOLING, UNREAD_LANGUAGE, VENDORED, Reason

_TEST_FOLDER = re.compile(
    r"tests?|(?:tests?[-_].*)|(?:.*[-_]tests?)|testdata|testsuite|__tests__|__mocks__", re.IGNORECASE
)
_TEST_FILE = re.compile(
    r"(?:test_.*|.*_tests?|tests|conftest|.*\.(?:test|spec))\.\w+|test\.(?:c|cc|cpp|h|go|rs)", re.IGNORECASE
)
_TEST_ROOTS = frozenset({"testing", "t"})
_TOOLING_ROOTS = frozenset({"doc", "docs", "ci"})
_TOOLING_FILES = frozenset({"setup.py", "noxfile.py"})
_VENDORED = frozenset(
    {"_vendor", "vendor", "_vendored", "vendored", "extern", "_extern", "third_party", "externals", "node_modules"}
)


@lru_cache(maxsize=200_000)
def is_source(path: str) -> bool:
    """Whether a path is source of the project itself in a language that is read."""
    return suffix_of(path) in SUFFIXES and exclusion(path) is None


@lru_cache(maxsize=200_000)
def exclusion(path: str) -> Reason | None:
    """Why a path is no candidate; None where it is one, and where it is no source in any language that is known."""
    if not language_of(path):
        return None
    *folders, name = path.split("/")
    if any(part.startswith(".") for part in (*folders, name)):
        return HIDDEN
    if any(part in _VENDORED for part in folders):
        return VENDORED
    is_test = any(map(_TEST_FOLDER.fullmatch, folders)) or bool(folders and folders[0] in _TEST_ROOTS)
    if is_test or _TEST_FILE.fullmatch(name):
        return TEST
    if name in _TOOLING_FILES or (folders and folders[0] in _TOOLING_ROOTS):
        return TOOLING
    if name.endswith(".min.js"):
        return MINIFIED
    return None if suffix_of(path) in SUFFIXES else UNREAD_LANGUAGE
