"""One source file: its bytes from the disk, and whichever reader fits its language."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cascade.evidence.records import Definition
from cascade.repository.grammars import SlowSourceError, grammar_fault, syntax_tree
from cascade.repository.languages import PYTHON, SUFFIXES, suffix_of
from cascade.repository.messages import Messages
from cascade.repository.outline import Outline
from cascade.repository.python_definitions import python_definitions
from cascade.repository.python_source import python_outline
from cascade.repository.reasons import (
    BINARY,
    BROKEN_GRAMMAR,
    DELETED,
    LFS_POINTER,
    MAX_BYTES,
    NO_GRAMMAR,
    NOT_PYTHON,
    NOT_UTF8,
    SLOW_SOURCE,
    SPECIAL,
    TOO_LARGE,
    UNREADABLE,
    Reason,
)
from cascade.repository.treesitter_source import tree_definitions, tree_outline

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_regular(file: Path | str, limit: int) -> bytes | None:
    """The first bytes of a file, at most ``limit``; None where it is no regular file.

    Raises:
        OSError: It is not there, is a link, or cannot be read.
    """
    descriptor = os.open(file, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            return opened.read(limit)
    finally:
        os.close(descriptor)


_BINARY_PROBE = 8_192
_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_UNCACHED = frozenset({NO_GRAMMAR.key, BROKEN_GRAMMAR.key})  # the grammar may be installed tomorrow
_PROBLEMS = {reason.key: reason for reason in (NO_GRAMMAR, BROKEN_GRAMMAR, NOT_UTF8, NOT_PYTHON, SLOW_SOURCE)}


def read_source(root: Path, path: str, messages: Messages) -> bytes | None:
    """The bytes of a file; None, and a message, when it is not worth or not possible to read them."""
    try:
        source = read_regular(root / path, MAX_BYTES + 1)
    except FileNotFoundError:  # it was there when it was listed
        messages.leave_out(DELETED, path)
    except (OSError, ValueError) as error:
        messages.leave_out(UNREADABLE, path, getattr(error, "strerror", None) or str(error))
    else:
        reason = unfit(source)
        if reason is None:
            return source
        messages.leave_out(reason, path)
    return None


def unfit(source: bytes | None) -> Reason | None:
    """Why the contents of a file are not read, None where they are; a file without contents is no regular one."""
    if source is None:
        return SPECIAL
    if len(source) > MAX_BYTES:
        return TOO_LARGE
    if b"\0" in source[:_BINARY_PROBE]:
        return BINARY
    return LFS_POINTER if source.startswith(_LFS_POINTER) else None


def read_outline(path: str, source: bytes) -> Outline:
    """What a file tells about itself; an outline whose problem is a reason's key where it cannot be read. Pure."""
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        return Outline()
    if suffix == PYTHON:
        outline = python_outline(source)
        return Outline(problem=NOT_UTF8.key) if outline.problem and not _is_utf8(source) else outline
    if not _is_utf8(source):
        return Outline(problem=NOT_UTF8.key)
    try:
        tree = syntax_tree(suffix, source)
        if tree is not None:
            return tree_outline(path, source, tree)
    except SlowSourceError:
        return Outline(problem=SLOW_SOURCE.key)
    fault = grammar_fault(suffix)
    return Outline(problem=NO_GRAMMAR.key if fault is None or fault.is_missing else BROKEN_GRAMMAR.key)


def may_be_kept(outline: Outline) -> bool:
    """Whether an outline depends on the file alone. Pure."""
    return outline.problem not in _UNCACHED


def tell_problem(path: str, outline: Outline, messages: Messages) -> None:
    """Tells why a file has no symbols, where its outline says so."""
    if not outline.problem:
        return
    fault = grammar_fault(suffix_of(path)) if outline.problem in _UNCACHED else None
    detail, advice = (fault.detail, f"`{fault.remedy}` installs them.") if fault else ("", "")
    messages.leave_out(_PROBLEMS.get(outline.problem, UNREADABLE), path, detail, advice)


def read_definitions(path: str, source: bytes) -> list[Definition]:
    """The symbols of a file in source order; none where it cannot be read. Pure.

    What a C or C++ header declares and does not define has the kind ``prototype``; see ``prototypes``.
    """
    suffix = suffix_of(path)
    if suffix == PYTHON:
        return python_definitions(path, source)
    try:
        tree = syntax_tree(suffix, source) if suffix in SUFFIXES and _is_utf8(source) else None
        return tree_definitions(path, source, tree) if tree else []
    except SlowSourceError:
        return []


def _is_utf8(source: bytes) -> bool:
    try:
        source.decode()
    except UnicodeDecodeError:
        return False
    return True
