"""Syntax trees of languages other than Python: grammars come as wheels and are loaded when they are needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from cascade.machine import install_again, install_extra
from cascade.repository.languages import SUFFIXES, language_of
from cascade.repository.outline import one_line
from cascade.repository.tags import TAGS, Tags

_LIMIT_S = 3.0  # of processor time; half a megabyte of sane source takes a tenth of a second
_EXTRA = "languages"
_BINDING = "tree_sitter"
_CHUNK = 65_536
_MAX_ERRORS = 30_000  # a query takes quadratic time in the children of a node that is an error


class Point(Protocol):
    """A place in a source file."""

    @property
    def row(self) -> int:
        """Line, from 0."""


class SyntaxNode(Protocol):
    """What this package uses of ``tree_sitter.Node``."""

    @property
    def type(self) -> str:
        """The grammar's word for this node."""

    @property
    def start_byte(self) -> int:
        """Offset of its first byte."""

    @property
    def end_byte(self) -> int:
        """Offset after its last byte."""

    @property
    def start_point(self) -> Point:
        """Where it starts."""

    @property
    def has_error(self) -> bool:
        """Whether something below it could not be parsed."""

    @property
    def named_children(self) -> Sequence[SyntaxNode]:
        """Children without punctuation."""

    def child_by_field_name(self, name: str, /) -> SyntaxNode | None:
        """The child that has a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a grammar cannot be used.

    Attributes:
        is_missing: Whether its wheel, or tree-sitter itself, is not installed.
        detail: What went wrong, in one line; empty where it is missing.
        remedy: The shell command that mends it.
    """

    is_missing: bool
    detail: str
    remedy: str


class SlowSourceError(Exception):
    """A file takes too long to parse: a few kilobytes of wild text can keep tree-sitter busy for minutes."""


class _Watch:
    """Stops tree-sitter when it has had its time."""

    def __init__(self) -> None:
        self._end = time.thread_time() + _LIMIT_S
        self.is_over = False

    def __call__(self, *_: object) -> bool:
        self.is_over = self.is_over or time.thread_time() > self._end
        return self.is_over


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntaxTree:
    """A file's syntax tree and the tags of its language.

    Attributes:
        root: The whole file.
        tags: What its nodes mean.
        definitions: Nodes by tag, of what is defined and imported.
        everything: The same with names in use, strings and comments.
    """

    root: SyntaxNode
    tags: Tags
    definitions: Any
    everything: Any

    def tagged(self, *, with_leaves: bool) -> Mapping[str, Sequence[SyntaxNode]]:
        """Nodes by tag, optionally with names in use, strings and comments."""
        query = self.everything if with_leaves else self.definitions
        found: Mapping[str, Sequence[SyntaxNode]] = import_module(_BINDING).QueryCursor(query).captures(self.root)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grammar:
    """A grammar that is ready for use."""

    tags: Tags
    parser: Any  # the optional wheel may be missing where types are checked
    definitions: Any
    everything: Any

    def read(self, source: bytes) -> SyntaxTree:
        with _parsing:  # a parser is one thread's at a time, and others run while it asks for the next bytes
            root = self._root(source)
        if root.has_error and any(node.child_count > _MAX_ERRORS for node in (root, *root.children) if node.is_error):
            raise SlowSourceError
        return SyntaxTree(root=root, tags=self.tags, definitions=self.definitions, everything=self.everything)

    def _root(self, source: bytes) -> Any:
        watch = _Watch()
        try:  # it takes no callback with bytes in one piece
            return self.parser.parse(lambda at, _: source[at : at + _CHUNK], progress_callback=watch).root_node
        except ValueError as error:
            self.parser.reset()
            if watch.is_over:
                raise SlowSourceError from error
            raise


_parsing = threading.Lock()


class _Last(threading.local):
    """The tree that a thread has read last: a file's outline and its definitions are read one after the other.

    Threads share no tree: tree-sitter's may be read by one at a time.
    """

    file: tuple[str, bytes] | None = None
    tree: SyntaxTree | None = None


_last = _Last()


def syntax_tree(suffix: str, source: bytes) -> SyntaxTree | None:
    """A file's syntax tree; None when the grammar of its suffix cannot be used.

    A header is C until that fails: C++ headers bear the same suffix, and C's grammar is the faster and the surer one
    for what both can read, where a name such as ``class`` or ``new`` is nothing special.

    Raises:
        SlowSourceError: It takes too long to parse.
    """
    if _last.file != (suffix, source):
        _last.tree, _last.file = _read(suffix, source), (suffix, source)
    return _last.tree


def _read(suffix: str, source: bytes) -> SyntaxTree | None:
    grammar = _grammar(TAGS[suffix])
    if isinstance(grammar, Fault):
        return None
    tree = grammar.read(source)
    other = _grammar(TAGS[".hpp"]) if suffix == ".h" and tree.root.has_error else None
    return other.read(source) if isinstance(other, _Grammar) else tree


def grammar_fault(suffix: str) -> Fault | None:
    """Why the grammar of a suffix cannot be used; None when it can, and for Python, which needs none."""
    grammar = _grammar(TAGS[suffix]) if suffix in TAGS else None
    return grammar if isinstance(grammar, Fault) else None


def grammar_faults() -> dict[str, Fault]:
    """Languages whose grammars cannot be used, with the reasons, by name."""
    faults = {language_of(f"a{suffix}"): grammar_fault(suffix) for suffix in sorted(SUFFIXES)}
    return {language: fault for language, fault in sorted(faults.items()) if fault}


@lru_cache
def _grammar(tags: Tags) -> _Grammar | Fault:
    """The grammar that some tags are for, or its fault; one that is broken costs its own language alone."""
    try:
        binding = import_module(_BINDING)
        language = binding.Language(getattr(import_module(tags.wheel), tags.function)())
        return _Grammar(
            tags=tags,
            parser=binding.Parser(language),
            definitions=binding.Query(language, tags.definitions),
            everything=binding.Query(language, tags.definitions + tags.leaves),
        )
    except Exception as error:  # noqa: BLE001  a damaged wheel, or one of another time than the binding, raises anything
        return _fault(tags, error)


def _fault(tags: Tags, error: Exception) -> Fault:
    if isinstance(error, ModuleNotFoundError) and error.name in {_BINDING, tags.wheel}:
        return Fault(is_missing=True, detail="", remedy=install_extra(_EXTRA))
    packages = [module.replace("_", "-") for module in (_BINDING, tags.wheel)]
    detail = one_line(f"{tags.wheel}: {type(error).__name__}: {error}")
    return Fault(is_missing=False, detail=detail, remedy=install_again(_EXTRA, packages))
