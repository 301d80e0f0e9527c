"""Languages other than Python: which grammar reads which suffix, loaded only when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Protocol

from cascade.candidates.language_names import language_of
from cascade.candidates.outline import one_line
from cascade.extras import install_again, install_extra

PYTHON = ".py"
_EXTRA = "languages"
_BINDING = "tree_sitter"


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
READ_LANGUAGES = tuple(sorted({language_of(f"a{suffix}") for suffix in SUFFIXES}))


def syntax_tree(suffix: str, source: bytes) -> SyntaxNode | None:
    """The root of a file's syntax tree; None when the grammar of its suffix cannot be used."""
    parser = _parser(_GRAMMARS[suffix])
    if isinstance(parser, Fault):
        return None
    root: SyntaxNode = parser.parse(source).root_node
    return root


def grammar_fault(suffix: str) -> Fault | None:
    """Why the grammar of a suffix cannot be used; None when it can, and for Python, which needs none."""
    parser = _parser(_GRAMMARS[suffix]) if suffix in _GRAMMARS else None
    return parser if isinstance(parser, Fault) else None


def grammar_faults() -> dict[str, Fault]:
    """Languages whose grammars cannot be used, with the reasons, by name."""
    faults = {language_of(f"a{suffix}"): grammar_fault(suffix) for suffix in sorted(SUFFIXES)}
    return {language: fault for language, fault in sorted(faults.items()) if fault}


@lru_cache
def _parser(grammar: Grammar) -> Any:  # the optional wheel may be missing where types are checked
    """The parser of a grammar, or its fault; one that is broken costs its own language alone."""
    try:
        binding = import_module(_BINDING)
        language = getattr(import_module(grammar.wheel), grammar.function)()
        return binding.Parser(binding.Language(language))
    except Exception as error:  # noqa: BLE001  a damaged wheel, or one of another time than the binding, raises anything
        return _fault(grammar, error)


def _fault(grammar: Grammar, error: Exception) -> Fault:
    if isinstance(error, ModuleNotFoundError) and error.name in {_BINDING, grammar.wheel}:
        return Fault(is_missing=True, detail="", remedy=install_extra(_EXTRA))
    packages = [module.replace("_", "-") for module in (_BINDING, grammar.wheel)]
    detail = one_line(f"{grammar.wheel}: {type(error).__name__}: {error}")
    return Fault(is_missing=False, detail=detail, remedy=install_again(_EXTRA, packages))
