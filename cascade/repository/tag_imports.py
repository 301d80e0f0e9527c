"""Which files a file names, in languages other than Python. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from cascade.repository.grammars import SyntaxNode, SyntaxTree
from cascade.repository.languages import language_of, suffix_of
from cascade.repository.outline import Import

_QUOTED = re.compile(r"""["']([^"'\n]+)["']""")
_LIMIT = 500


def imports_of(path: str, source: bytes, tree: SyntaxTree) -> Iterator[Import]:
    """The files that a file imports, includes or requires, as paths that may lie beside it or end another path."""
    for node in tree.tagged(with_leaves=False).get("import", ()):
        text = source[node.start_byte : min(node.end_byte, node.start_byte + _LIMIT)].decode("utf-8", "replace")
        for module in _modules(path, node, text):
            yield Import(module=module)


def _modules(path: str, node: SyntaxNode, text: str) -> Iterator[str]:
    language = language_of(path)
    if language in {"C", "C++"}:
        quoted = _QUOTED.search(text)
        yield from [quoted[1]] if quoted else []
    elif language in {"JavaScript", "TypeScript"}:
        yield from _script_modules(node, text)
    elif language in {"Java", "Kotlin"}:  # import a.b.Name: a/b/Name.java
        named = re.match(r"import\s+(?:static\s+)?([\w.]+)", text)
        yield from [f"{named[1].strip('.').replace('.', '/')}{suffix_of(path)}"] if named else []
    elif language == "PHP":
        quoted = _QUOTED.search(text)
        parts = re.findall(r"\w+", text.partition(" as ")[0])
        yield quoted[1].lstrip("/") if quoted else f"{'/'.join(parts[-2:])}.php"
    elif language == "Ruby":
        required = re.match(r"""require(_relative)?[ (]+["']([^"'\n]+)["']""", text)
        folder = "" if required and required[1] else "lib/"
        yield from [f"{folder}{required[2].removesuffix('.rb')}.rb"] if required else []
    elif language == "Rust" and text.endswith(";"):  # mod name;
        name = text.rstrip("; ").split()[-1]
        stem = posixpath.splitext(posixpath.basename(path))[0]
        yield from (f"{name}.rs", f"{name}/mod.rs", f"{stem}/{name}.rs")


def _script_modules(node: SyntaxNode, text: str) -> Iterator[str]:
    if node.type == "variable_declarator":
        required = re.search(r"""=\s*require\(\s*["'`]([^"'`\n]+)""", text)
        found = required[1] if required else ""
    else:
        source = node.child_by_field_name("source")
        quoted = _QUOTED.search(text[source.start_byte - node.start_byte :]) if source else None
        found = quoted[1] if quoted else ""
    if found.startswith("."):
        yield found
