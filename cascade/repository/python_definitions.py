"""Symbols of Python files with all that evidence is made from, in one walk of the syntax tree. Pure."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass, field

from cascade.evidence.records import Definition
from cascade.repository.pieces import MAX_DEPTH, Piece, definitions_of
from cascade.repository.python_source import PythonDefinition, parse, signature

_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {}


@dataclass(slots=True, kw_only=True)
class _Symbol:
    """A symbol on the way: its piece, and for a class the lines that are its methods' bodies."""

    piece: Piece
    node: PythonDefinition
    depth: int
    cuts: list[tuple[int, int]] = field(default_factory=list)


def python_definitions(path: str, source: bytes) -> list[Definition]:
    """Functions, methods and classes in source order; a nested function belongs to its outer one.

    A name that is defined more than once is shown by its first definition that is no overload.
    """
    module = parse(source)
    if module is None:
        return []
    symbols = _walk(module)
    lines = _lines(source)
    for symbol in symbols:
        symbol.piece.text = _text(symbol, lines)
    return definitions_of(path, (symbol.piece for symbol in symbols))


def _walk(module: ast.Module) -> list[_Symbol]:
    """The pieces of a file, each with the names and strings that are its own. It keeps its own stack."""
    found: list[_Symbol] = []
    docs: set[ast.AST] = set()
    stack: list[tuple[ast.AST, _Symbol | None]] = [(module, None)]
    while stack:
        node, symbol = stack.pop()
        if isinstance(node, PythonDefinition):
            docs.update(_docstring(node))
            if _is_symbol(symbol):
                symbol = _opened(node, symbol)
                found.append(symbol)
        elif symbol and node not in docs:
            _note(node, symbol.piece)
        stack.extend([(child, symbol) for child in _children(node)])
    return found


def _note(node: ast.AST, piece: Piece) -> None:
    """Adds to a piece the name or the string that a node is."""
    if isinstance(node, ast.Name):
        piece.uses.add(node.id)
    elif isinstance(node, ast.Attribute):
        piece.uses.add(node.attr)
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            piece.strings.append(node.value)
    elif isinstance(node, ast.JoinedStr):
        piece.strings.append("".join(str(one.value) if isinstance(one, ast.Constant) else "{}" for one in node.values))


def _children(node: ast.AST) -> list[ast.AST]:
    """What stands below a node, the last first, so that a stack gives the first first."""
    kind = type(node)
    if kind is ast.JoinedStr:  # its constants are no strings of their own
        return [one for one in getattr(node, "values", ()) if not isinstance(one, ast.Constant)]
    names = _FIELDS.get(kind)
    if names is None:
        names = _FIELDS[kind] = tuple(name for name in reversed(kind._fields) if name not in {"ctx", "op", "ops"})
    below: list[ast.AST] = []
    for name in names:
        value = getattr(node, name, None)
        if isinstance(value, list):
            below.extend(one for one in reversed(value) if isinstance(one, ast.AST))
        elif isinstance(value, ast.AST):
            below.append(value)
    return below


def _is_symbol(around: _Symbol | None) -> bool:
    """Whether a definition is a symbol of its own, by the symbol that is around it."""
    return around is None or (isinstance(around.node, ast.ClassDef) and around.depth < MAX_DEPTH)


def _opened(node: PythonDefinition, around: _Symbol | None) -> _Symbol:
    start, end = _start(node), node.end_lineno or node.lineno
    is_class = isinstance(node, ast.ClassDef)
    piece = Piece(
        qualname=f"{around.piece.qualname}.{node.name}" if around else node.name,
        kind="class" if is_class else "method" if around else "function",
        signature=signature(node),
        line=start,
        lines=end - start + 1,
        is_shown=not any(map(_is_overload, node.decorator_list)),
        doc=ast.get_docstring(node) or "",
    )
    if around:
        first = _start(node.body[0])
        around.cuts.append((first if first > node.lineno else first + 1, end))
    return _Symbol(piece=piece, node=node, depth=around.depth + 1 if around else 1)


def _start(node: ast.stmt) -> int:
    """The first line of a statement, decorators included."""
    decorators = node.decorator_list if isinstance(node, PythonDefinition) else []
    return min([node.lineno, *(one.lineno for one in decorators)])


def _is_overload(decorator: ast.expr) -> bool:
    name = decorator.attr if isinstance(decorator, ast.Attribute) else getattr(decorator, "id", "")
    return name == "overload"


def _docstring(node: PythonDefinition) -> list[ast.AST]:
    first = node.body[0]
    return [first.value] if isinstance(first, ast.Expr) else []


def _text(symbol: _Symbol, lines: list[str]) -> str:
    """The source of a piece, without the bodies of a class's methods."""
    at, end = symbol.piece.line - 1, symbol.piece.line - 1 + symbol.piece.lines
    kept: list[str] = []
    for first, last in symbol.cuts:
        kept += lines[at : first - 1]
        at = max(at, last)
    return "\n".join(kept + lines[at:end])


def _lines(source: bytes) -> list[str]:
    """The lines of a file as the parser counts them, its coding cookie respected."""
    try:
        coding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
    except SyntaxError:
        coding = "utf-8"
    return source.decode(coding, "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
