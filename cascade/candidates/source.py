"""One source file: its bytes from the disk, and whichever reader fits its language."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from cascade.candidates.languages import PYTHON, SUFFIXES, syntax_tree
from cascade.candidates.messages import Messages
from cascade.candidates.outline import Outline
from cascade.candidates.python_source import python_outline, python_symbols
from cascade.candidates.records import SymbolRecord
from cascade.candidates.tree_source import tree_outline, tree_symbols

MAX_BYTES = 600_000
NO_GRAMMAR = "kept without symbols, their language needs pip install 'binary-cascade[languages]'"
NOT_UTF8 = "kept without symbols, not UTF-8 and no other coding is declared"
_BINARY_PROBE = 8_192


def read_source(root: Path, path: str, messages: Messages) -> bytes | None:
    """The bytes of a file; None, and a message, when it is not worth or not possible to read them.

    A symbolic link is left out silently: what it points to is either listed itself or foreign.
    """
    file = root / path
    try:
        status = os.lstat(file)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > MAX_BYTES:
            messages.add(f"skipped, larger than {MAX_BYTES // 1000} kB", path)
            return None
        source = file.read_bytes()
    except FileNotFoundError:  # listed by git, deleted in the working tree
        return None
    except OSError as error:
        messages.add(f"skipped, cannot be read ({error.strerror})", path)
        return None
    if b"\0" in source[:_BINARY_PROBE]:
        messages.add("skipped, binary", path)
        return None
    return source


def read_outline(path: str, source: bytes) -> Outline:
    """What a file tells about itself; an outline with a problem where it cannot be read. Pure."""
    suffix = _suffix(path)
    if suffix not in SUFFIXES:
        return Outline()
    if suffix == PYTHON:
        outline = python_outline(source)
        return Outline(problem=NOT_UTF8) if outline.problem and not _is_utf8(source) else outline
    if not _is_utf8(source):
        return Outline(problem=NOT_UTF8)
    tree = syntax_tree(suffix, source)
    return tree_outline(path, source, tree) if tree else Outline(problem=NO_GRAMMAR)


def read_symbols(path: str, source: bytes) -> list[SymbolRecord]:
    """The symbols of a file in source order; none where it cannot be read. Pure."""
    suffix = _suffix(path)
    if suffix == PYTHON:
        return python_symbols(path, source)
    tree = syntax_tree(suffix, source) if suffix in SUFFIXES and _is_utf8(source) else None
    return tree_symbols(path, source, tree) if tree else []


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix


def _is_utf8(source: bytes) -> bool:
    try:
        source.decode()
    except UnicodeDecodeError:
        return False
    return True
