"""Languages other than Python: which grammar reads which suffix, loaded only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

PYTHON = ".py"


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
    def end_point(self) -> Point:
        """Where it ends."""

    @property
    def named_children(self) -> Sequence[SyntaxNode]:
        """Children without punctuation."""

    @property
    def prev_named_sibling(self) -> SyntaxNode | None:
        """The node before it under the same parent."""

    def child_by_field_name(self, name: str, /) -> SyntaxNode | None:
        """The child that has a role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """Where a grammar comes from.

    Attributes:
        wheel: The module of its wheel.
        function: The function of that module which returns the language.
    """

    wheel: str
    function: str = "language"


_C = Grammar(wheel="tree_sitter_c")
_GO = Grammar(wheel="tree_sitter_go")
_JAVASCRIPT = Grammar(wheel="tree_sitter_javascript")
_TYPESCRIPT = Grammar(wheel="tree_sitter_typescript", function="language_typescript")
_TSX = Grammar(wheel="tree_sitter_typescript", function="language_tsx")
SCRIPTS = (".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs")
_GRAMMARS = {
    ".c": _C, ".h": _C, ".go": _GO,
    ".js": _JAVASCRIPT, ".jsx": _JAVASCRIPT, ".mjs": _JAVASCRIPT, ".cjs": _JAVASCRIPT,
    ".ts": _TYPESCRIPT, ".mts": _TYPESCRIPT, ".cts": _TYPESCRIPT, ".tsx": _TSX,
}  # fmt: skip
SUFFIXES = frozenset({PYTHON, *_GRAMMARS})


def syntax_tree(suffix: str, source: bytes) -> SyntaxNode | None:
    """The root of a file's syntax tree; None when the grammar of its suffix is not installed."""
    parser = _parser(_GRAMMARS[suffix])
    if parser is None:
        return None
    root: SyntaxNode = parser.parse(source).root_node
    return root


@lru_cache
def _parser(grammar: Grammar) -> Any:  # the optional wheel may be missing where types are checked
    try:
        binding = import_module("tree_sitter")
        language = getattr(import_module(grammar.wheel), grammar.function)()
        return binding.Parser(binding.Language(language))
    except (ImportError, AttributeError, TypeError, ValueError):  # absent, or too old for the binding
        return None
