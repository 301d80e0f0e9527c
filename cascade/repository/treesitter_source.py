"""C, Go, JavaScript and TypeScript files: symbols and imports, read from tree-sitter's tree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cascade.repository.languages import SyntaxNode
from cascade.repository.outline import Import, Outline, first_line, one_line
from cascade.evidence.records import SymbolRecord

_KINDS = {
    "function_declaration": "function",
    "generator_function_declaration": "function",
    "function_definition": "function",
    "function_signature": "function",
    "abstract_method_signature": "method",
    "method_declaration": "method",
    "method_definition": "method",
    "class_declaration": "class",
    "abstract_class_declaration": "class",
    "interface_declaration": "class",
    "enum_declaration": "class",
    "type_alias_declaration": "class",
    "type_spec": "class",
    "type_definition": "class",
    "struct_specifier": "class",
    "union_specifier": "class",
    "enum_specifier": "class",
}
_TYPES_WITH_TAG = frozenset({"struct_specifier", "union_specifier", "enum_specifier"})
_FUNCTION_VALUES = frozenset({"arrow_function", "function_expression", "generator_function"})
_FIELDS = frozenset({"variable_declarator", "field_definition", "public_field_definition", "assignment_expression"})
_NAMESPACES = frozenset({"internal_module", "module"})
_WRAPPERS = frozenset(
    """export_statement ambient_declaration lexical_declaration variable_declaration expression_statement
    type_declaration declaration""".split()
)
_CONTAINERS = _WRAPPERS | frozenset(
    """program translation_unit source_file class_body statement_block declaration_list linkage_specification
    preproc_if preproc_ifdef preproc_else preproc_elif preproc_elifdef""".split()
)
_RECEIVER = re.compile(r"([A-Za-z_]\w*)\s*(?:\[[^\]]*\])?\s*\)$")  # (s *Server[T]) -> Server
_EXPORTS = re.compile(r"^(?:module\.)?exports\.|\.prototype(?=\.)")
_COMMENT_MARK = re.compile(r"^\s*(?:/\*+!?|//+!?|\*+/?)\s?|\s*\*/\s*$", re.MULTILINE)
_LICENCE = re.compile(r"copyright|licen[sc]e|SPDX", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A node on the way, what encloses it, and the outermost statement that wraps it."""

    node: SyntaxNode
    owner: str = ""
    wrapper: SyntaxNode | None = None


@dataclass(slots=True)
class _Tree:
    path: str
    source: bytes
    symbols: dict[str, SymbolRecord] = field(default_factory=dict)
    imports: list[Import] = field(default_factory=list)

    def text(self, start: int, end: int) -> str:
        return self.source[start:end].decode("utf-8", "replace")

    def text_of(self, node: SyntaxNode | None) -> str:
        return self.text(node.start_byte, node.end_byte) if node else ""

    def read(self, root: SyntaxNode) -> None:
        stack = [_Place(node=root)]
        while stack:
            place = stack.pop()
            self.imports.extend(self.imported(place.node))
            name = self.name(place)
            if name:
                qualname = f"{place.owner}.{name}" if place.owner else name
                if place.node.type not in _NAMESPACES:
                    self.add(place, qualname)
                stack.extend(reversed(list(_members(place, qualname))))
            elif place.node.type in _CONTAINERS:
                wrapper = (place.wrapper or place.node) if place.node.type in _WRAPPERS else None
                children = [
                    _Place(node=child, owner=place.owner, wrapper=wrapper) for child in place.node.named_children
                ]
                stack.extend(reversed(children))

    def imported(self, node: SyntaxNode) -> Iterator[Import]:
        """The relative files that a statement imports or includes."""
        if node.type == "preproc_include":
            target = node.child_by_field_name("path")
            found = self.text_of(target) if target and target.type == "string_literal" else ""
        elif node.type in {"import_statement", "export_statement"}:
            found = self.text_of(node.child_by_field_name("source"))
        elif node.type == "variable_declarator":
            value = self.text_of(node.child_by_field_name("value"))
            found = value[len("require(") :].partition(")")[0] if value.startswith("require(") else ""
        else:
            return
        module = found.strip().strip("\"'`")
        if module and (node.type == "preproc_include" or module.startswith(".")):
            yield Import(module=module)

    def name(self, place: _Place) -> str:
        """The name a node defines, with its receiver; empty when it defines none."""
        node = place.node
        if node.type in _FIELDS:
            return self.assigned(node)
        if node.type == "declaration":
            return self.declared(node) if self.path.endswith(".h") else ""
        if node.type in {"function_definition", "type_definition"}:
            return self.declared(node)
        if node.type in _TYPES_WITH_TAG and not node.child_by_field_name("body"):
            return ""  # a mention, not a definition
        if node.type not in _KINDS and node.type not in _NAMESPACES:
            return ""
        name = self.text_of(node.child_by_field_name("name")).strip("\"'")
        receiver = _RECEIVER.search(self.text_of(node.child_by_field_name("receiver")))
        return f"{receiver[1]}.{name}" if receiver else name

    def assigned(self, node: SyntaxNode) -> str:
        """The name that a function is assigned to, such as ``A.b`` for ``A.prototype.b = () => 1``."""
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        if value is None or value.type not in _FUNCTION_VALUES:
            return ""
        left = next(filter(None, map(node.child_by_field_name, ("name", "property", "left"))), None)
        name = _EXPORTS.sub("", self.text_of(left))
        return name if re.fullmatch(r"[\w$#.]+", name) and not name.startswith("module.") else ""

    def declared(self, node: SyntaxNode) -> str:
        """The name in a C declarator, where it declares a function or a type with members."""
        is_type = node.type == "type_definition"
        kind = node.child_by_field_name("type")
        if is_type and not (kind and kind.type in _TYPES_WITH_TAG and kind.child_by_field_name("body")):
            return ""
        at, above = node.child_by_field_name("declarator"), kind
        while at and at.type not in {"identifier", "type_identifier"}:
            at, above = at.child_by_field_name("declarator"), at
        return self.text_of(at) if is_type or (above and above.type == "function_declarator") else ""

    def add(self, place: _Place, qualname: str) -> None:
        node = place.node
        whole = place.wrapper if place.wrapper and place.wrapper.start_point.row == node.start_point.row else node
        kind = _KINDS.get(node.type, "function")
        if node.type in _FIELDS and "." in qualname:
            kind = "method"
        self.symbols.setdefault(
            qualname,
            SymbolRecord(
                path=self.path,
                qualname=qualname,
                kind=kind,
                signature=self.signature(node, kind),
                doc=self.doc(node) or (self.doc(whole) if whole is not node else ""),
                lines=node.end_point.row - node.start_point.row + 1,
            ),
        )

    def signature(self, node: SyntaxNode, kind: str) -> str:
        """The head of a definition, up to its body."""
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        body = (value or node).child_by_field_name("body")
        head = self.text(node.start_byte, body.start_byte if body and kind != "class" else node.end_byte)
        if kind == "class":
            head = head.partition("{")[0]
        head = one_line(f"type {head}" if node.type == "type_spec" else head)
        if node.type == "type_definition":  # typedef struct { ... } name;
            head = f"{head} {self.declared(node)}"
        return head.removesuffix(";").removesuffix("=>").removesuffix("=").strip()

    def doc(self, node: SyntaxNode) -> str:
        """First line of the comment right above a node."""
        first, below = None, node
        above = node.prev_named_sibling
        while above and above.type == "comment" and below.start_point.row - above.end_point.row <= 1:
            first, below = above, above
            above = above.prev_named_sibling
        return self.comment(first) if first else ""

    def comment(self, node: SyntaxNode) -> str:
        return first_line(_COMMENT_MARK.sub("", self.text_of(node)))

    def head(self, root: SyntaxNode) -> str:
        """First line of the comment that opens a file, unless it is about its licence."""
        first = next(iter(root.named_children), None)
        if first is None or first.type != "comment" or _LICENCE.search(self.text_of(first)):
            return ""
        return self.comment(first)


def tree_symbols(path: str, source: bytes, root: SyntaxNode) -> list[SymbolRecord]:
    """Functions, methods and types in source order; of a name defined twice the first."""
    tree = _Tree(path, source)
    tree.read(root)
    return list(tree.symbols.values())


def tree_outline(path: str, source: bytes, root: SyntaxNode) -> Outline:
    """What a file tells about itself; only imports of files beside it are kept."""
    tree = _Tree(path, source)
    tree.read(root)
    tops = tuple(name for name in tree.symbols if "." not in name)
    return Outline(doc=tree.head(root), tops=tops, imports=tuple(dict.fromkeys(tree.imports)))


def _members(place: _Place, qualname: str) -> Iterator[_Place]:
    body = place.node.child_by_field_name("body")
    if body and body.type in {"class_body", "statement_block"} and place.node.type not in _FIELDS:
        is_scope = place.node.type in _NAMESPACES or _KINDS.get(place.node.type) == "class"
        yield from (_Place(node=child, owner=qualname) for child in body.named_children if is_scope)
