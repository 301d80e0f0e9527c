"""Which name a node of a syntax tree defines, and what it is; languages differ most in this. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cascade.repository.grammars import SyntaxNode

FUNCTION, CLASS, OWNER, MODULE, PROTOTYPE = "function", "class", "owner", "module", "prototype"
_RECEIVER = re.compile(r"([A-Za-z_]\w*)\s*(?:\[[^\]]*\])?\s*\)$")  # (s *Server[T]) -> Server
_EXPORTS = re.compile(
    r"^(?:(?:module\.)?exports(?:\.default)?(?:\.|$)|(?:this|self|window|globalThis|global)\.)|\.prototype(?=\.|$)"
)
_LONGEST = 300  # characters of a name; more is no name
_ASSIGNABLE = re.compile(r"[\w$#-]+(?:\.[\w$#-]+)*")
_LAST_WORD = re.compile(r"[\w$]+(?=\W*$)")
_TYPES_WITH_TAG = frozenset({"struct_specifier", "union_specifier", "enum_specifier", "class_specifier"})
_C_NAMES = frozenset(
    """identifier field_identifier type_identifier qualified_identifier destructor_name operator_name
    operator_cast""".split()
)
_SCRIPT_VALUES = {
    "arrow_function": FUNCTION, "function_expression": FUNCTION, "generator_function": FUNCTION,
    "object": OWNER, "class": CLASS,
}  # fmt: skip
_WRAPPED = {"parenthesized_expression", "as_expression", "satisfies_expression"}
_BODIES = frozenset("function_body class_body enum_class_body block".split())
_MAX_STEPS = 50
_MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a node defines.

    Attributes:
        role: ``function``, ``class``, ``owner``, ``module`` or ``prototype``.
        name: Its name, dotted where it tells the owner itself, such as ``Server.serve``.
        body: What is no part of its head; None where it has none.
    """

    role: str
    name: str
    body: SyntaxNode | None


class Names:
    """Names that the nodes of one file define.

    Args:
        source: The file.
    """

    def __init__(self, source: bytes) -> None:
        self._source = source

    def text(self, node: SyntaxNode | None) -> str:
        """The source of a node; empty without one."""
        return self._source[node.start_byte : node.end_byte].decode("utf-8", "replace") if node else ""

    def named(self, tag: str, node: SyntaxNode) -> Named | None:
        """What a node with a tag defines; None where it is a mention or has no name."""
        if tag == "declared":
            found = self._declared(node)
        elif tag == "assigned":
            found = self._assigned(node)
        else:
            found = Named(role=tag, name=self._plain_name(node), body=_body(node))
        return found if found and _is_name(found.name) else None

    def _plain_name(self, node: SyntaxNode) -> str:
        if node.type == "impl_item":
            return self._type_name(node.child_by_field_name("type"))
        if node.type == "operator_declaration":
            return f"operator{self.text(node.child_by_field_name('operator'))}"
        if node.type in _UNNAMED:
            return _UNNAMED[node.type] if _is_code(node) else ""
        if node.type == "property_declaration" and not _is_code(node):
            return ""
        name = self.text(node.child_by_field_name("name")).strip("\"'`")
        if name.startswith("["):  # [Symbol.iterator]() {}
            last = _LAST_WORD.search(name[-_LONGEST:])
            name = last[0] if last else ""
        if node.type == "destructor_declaration":
            return f"~{name}"
        receiver = _RECEIVER.search(self.text(node.child_by_field_name("receiver"))[-_LONGEST:])
        return f"{receiver[1]}.{name}" if receiver else name.replace("::", ".").strip(".")

    def _type_name(self, node: SyntaxNode | None) -> str:
        """``Stack`` of ``&'a mut data::Stack<T>``."""
        found = re.search(r"(\w+)\s*$", self.text(node).partition("<")[0].strip()[-_LONGEST:])
        return found[1] if found else ""

    def _declared(self, node: SyntaxNode) -> Named | None:
        """What a C or C++ node declares: a function, or a type with members."""
        if node.type in _TYPES_WITH_TAG:
            body = node.child_by_field_name("body")
            name = self.text(node.child_by_field_name("name")).partition("<")[0].replace("::", ".").strip()
            return Named(role=CLASS, name=name, body=body) if body else None
        kind = node.child_by_field_name("type")
        at, is_function = _declarator(node)
        if node.type == "type_definition":
            body = kind.child_by_field_name("body") if kind and kind.type in _TYPES_WITH_TAG else None
            return Named(role=CLASS, name=self.text(at), body=body) if body else None
        body = node.child_by_field_name("body")
        if is_function:
            is_defined = node.type == "function_definition"
            return Named(role=FUNCTION if is_defined else PROTOTYPE, name=self._qualified(at), body=body)
        if body and kind and kind.type in _TYPES_WITH_TAG:  # class EXPORT_MACRO Name { ... }
            return Named(role=CLASS, name=self.text(at), body=body)
        return None

    def _qualified(self, node: SyntaxNode | None) -> str:
        """``Stack.push`` of ``Stack<T>::push``."""
        parts: list[str] = []
        while node and node.type == "qualified_identifier" and len(parts) < _MAX_STEPS:
            scope, below = node.child_by_field_name("scope"), node.child_by_field_name("name")
            parts.append(self.text(scope).partition("<")[0].strip())
            if scope and below and b"::" not in self._source[scope.end_byte : below.start_byte]:
                parts.clear()  # EXPORT_MACRO std::string name(): all before the name is its type
            node = below
        if node and node.type == "operator_cast":
            last = f"operator {self.text(node.child_by_field_name('type'))}"
        else:
            last = self.text(node)
        last = last if last.startswith("operator") else last.partition("<")[0]
        return ".".join(filter(None, [*parts, " ".join(last.replace(".", "").split())]))

    def _assigned(self, node: SyntaxNode) -> Named | None:
        """What a script assigns: ``A.b`` for ``A.prototype.b = () => 1``; an object is the owner of its functions."""
        value = _script_value(node)
        role = _SCRIPT_VALUES.get(value.type) if value else None
        if value is None or role is None:
            return None
        left = next(filter(None, map(node.child_by_field_name, ("name", "property", "left", "key"))), None)
        name = _EXPORTS.sub("", self.text(left).strip("\"'"))
        if not name:
            name = self.text(value.child_by_field_name("name"))
        body = value if role == OWNER else value.child_by_field_name("body")
        return Named(role=role, name=name, body=body) if _ASSIGNABLE.fullmatch(name) else None


_UNNAMED = {"secondary_constructor": "constructor", "indexer_declaration": "this"}


def _is_name(text: str) -> bool:
    """Whether a text may stand as a name: broken source has nodes whose names are whole blocks."""
    return 0 < len(text) <= _MAX_NAME and text.isprintable()


def _is_code(node: SyntaxNode) -> bool:
    """Whether a property of C# computes something, rather than being a field in disguise."""
    accessors = node.child_by_field_name("accessors")
    if accessors is None:
        value = node.child_by_field_name("value")
        return node.type == "secondary_constructor" or (value is not None and value.type == "arrow_expression_clause")
    return any(one.child_by_field_name("body") for one in accessors.named_children)


def _body(node: SyntaxNode) -> SyntaxNode | None:
    for name in ("body", "accessors"):
        body = node.child_by_field_name(name)
        if body:
            return body
    value = node.child_by_field_name("value")
    if value and value.type == "arrow_expression_clause":
        return value
    return next((one for one in reversed(node.named_children) if one.type in _BODIES), None)


def _declarator(node: SyntaxNode) -> tuple[SyntaxNode | None, bool]:
    """The name in a C declarator, and whether it is a function's."""
    at, above = node.child_by_field_name("declarator"), None
    while at and at.type not in _C_NAMES:
        below = _first(at) if at.type == "reference_declarator" else at.child_by_field_name("declarator")
        at, above = below, at
    is_function = at is not None and (at.type == "operator_cast" or (above and above.type == "function_declarator"))
    if at and at.type == "qualified_identifier" and not is_function:
        is_function = _ends_in_cast(at)
    return at, bool(is_function)


def _first(node: SyntaxNode) -> SyntaxNode | None:
    return next(iter(node.named_children), None)


def _ends_in_cast(node: SyntaxNode) -> bool:
    at: SyntaxNode | None = node
    while at and at.type == "qualified_identifier":
        at = at.child_by_field_name("name")
    return at is not None and at.type == "operator_cast"


def _script_value(node: SyntaxNode) -> SyntaxNode | None:
    """The function, object or class that an assignment ends in, also ``b = memo(function () { ... })``."""
    value = node.child_by_field_name("value") or node.child_by_field_name("right")
    for _ in range(_MAX_STEPS):
        if value is None or value.type in _SCRIPT_VALUES:
            break
        if value.type == "assignment_expression":
            value = value.child_by_field_name("right")
        elif value.type in _WRAPPED:
            value = _first(value)
        elif value.type == "call_expression":
            value = _argument(value)
        else:
            return None
    return value


def _argument(call: SyntaxNode) -> SyntaxNode | None:
    """The first argument that is an object, or a function of statements: no ``items.map(item => item.name)``."""
    arguments = call.child_by_field_name("arguments")
    for one in arguments.named_children if arguments else ():
        body = one.child_by_field_name("body")
        if one.type == "object" or (one.type in _SCRIPT_VALUES and body and body.type == "statement_block"):
            return one
    return None
