"""Python files: their syntax tree, their outline, and the heads of their definitions. Pure."""

from __future__ import annotations

import ast
import threading
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache

from cascade.repository.outline import Import, Outline, first_line, one_line
from cascade.repository.reasons import NOT_PYTHON

PythonDefinition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_quiet = threading.Lock()  # what is caught of warnings is the whole process's
_BLOCKS = ("body", "handlers", "cases", "orelse", "finalbody")


@lru_cache(maxsize=1)  # a file's outline and its definitions are read one after the other
def parse(source: bytes) -> ast.Module | None:
    """The syntax tree of a file, its coding cookie respected; None when it has none."""
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def python_outline(source: bytes) -> Outline:
    """What a Python file tells about itself."""
    module = parse(source)
    if module is None:
        return Outline(problem=NOT_PYTHON.key)
    tops: dict[str, None] = {}
    names: set[str] = set()
    for node in _statements(module.body, enter_definitions=False):
        if isinstance(node, PythonDefinition):
            if node.name not in names:  # assigned before, so this is its fallback
                tops.setdefault(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    imports = (one for node in _statements(module.body, enter_definitions=True) for one in _imports(node))
    return Outline(
        doc=first_line(ast.get_docstring(module)),
        tops=tuple(tops),
        names=frozenset(names - tops.keys()),
        imports=tuple(dict.fromkeys(imports)),
    )


def _statements(body: Iterable[ast.AST], *, enter_definitions: bool) -> Iterator[ast.AST]:
    """All statements below a body in source order, optionally without the bodies of definitions.

    It keeps its own stack: a chain of a thousand ``elif`` is a thousand levels deep.
    """
    stack = list(body)[::-1]
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node, ast.expr) or (isinstance(node, PythonDefinition) and not enter_definitions):
            continue
        for block in reversed(_BLOCKS):
            children = getattr(node, block, None)
            if isinstance(children, list):
                stack.extend(reversed(children))


def _imports(node: ast.AST) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield Import(module=alias.name, alias=alias.asname or "")
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield Import(module=node.module or "", level=node.level, name=alias.name, alias=alias.asname or "")


def signature(node: PythonDefinition) -> str:
    """The head of a definition; only its name where a default nests too deep to be written out."""
    word = "class" if isinstance(node, ast.ClassDef) else "def"
    if isinstance(node, ast.AsyncFunctionDef):
        word = "async def"
    try:
        return one_line(f"{word} {node.name}{_parameters(node)}")
    except RecursionError:
        return f"{word} {node.name}"


def _parameters(node: PythonDefinition) -> str:
    if not isinstance(node, ast.ClassDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        return f"({ast.unparse(node.args)}){returns}"
    parts = [ast.unparse(base) for base in node.bases]
    parts += [f"{word.arg}={ast.unparse(word.value)}" if word.arg else "**" for word in node.keywords]
    return f"({', '.join(parts)})" if parts else ""
