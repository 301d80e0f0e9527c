"""Files of languages other than Python: symbols and imports, read from tree-sitter's tree. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from cascade.evidence.records import Definition
from cascade.repository.grammars import SyntaxNode, SyntaxTree
from cascade.repository.languages import C_FAMILY, HEADERS, language_of, suffix_of
from cascade.repository.outline import Outline, first_line, one_line
from cascade.repository.pieces import MAX_DEPTH, Piece, definitions_of
from cascade.repository.tag_imports import imports_of
from cascade.repository.tag_names import CLASS, FUNCTION, MODULE, OWNER, PROTOTYPE, Named, Names

_DEFINING = frozenset({"class", "function", "owner", "module", "declared", "assigned"})
_LEADING = frozenset({"comment", "above"})
_ABOVE = frozenset({"annotation", "marker_annotation", "attribute_list", "decorator"})
_COMMENT_MARK = re.compile(
    r"^[ \t]*+(?:/\*+!?|//+!?|\*+/?|#+!?)[ \t]?|(?:(?<![ \t])[ \t]++|(?<![ \t*]))\*++/[ \t]*+$", re.MULTILINE
)
_XML_TAG = re.compile(
    r"</?(?:summary|remarks|returns|param|para|value|inheritdoc|typeparam|exception|see)\b[^>\n]{0,300}>"
)
_LICENCE = re.compile(r"copyright|licen[sc]e|SPDX", re.IGNORECASE)
_OPENING = re.compile(r"""^[\w@$#&*]{0,4}?#*["'`]+|["'`]+#*$""")
_STRING_BYTES = 2_000
_PREFIX_BYTES = 200
_MIN_NAME = 3
_HEAD_PARTS = ("name", "parameters", "superclass")


@dataclass(slots=True, kw_only=True)
class _Symbol:
    """A symbol on the way: its piece, where it stands, and for a class its methods' bodies."""

    piece: Piece
    start: int
    end: int
    cuts: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class _Frame:
    """What encloses a place: up to where, its name, and the symbol that names in use belong to."""

    end: int
    owner: str = ""
    role: str = MODULE
    body: int = -1
    symbol: _Symbol | None = None


class _Reader:
    """One walk over the tagged nodes of a file, by where they start."""

    def __init__(self, path: str, source: bytes) -> None:
        self._source = source
        self._names = Names(source)
        self._is_ruby = language_of(path) == "Ruby"
        self._frames = [_Frame(end=len(source) + 1)]
        self._above: list[tuple[int, int, str]] = []  # comments and attributes right above, with their tags
        self.symbols: list[_Symbol] = []

    def read(self, tree: SyntaxTree, *, with_leaves: bool) -> None:
        tagged = tree.tagged(with_leaves=with_leaves)
        places = [
            (node.start_byte, -node.end_byte, tag, node)
            for tag, nodes in tagged.items()
            if tag != "import"
            for node in nodes
        ]
        places.sort(key=lambda place: place[:2])
        for start, end, tag, node in places:
            while self._frames[-1].end <= start:
                self._frames.pop()
            if tag in _DEFINING:
                self._define(tag, node)
            elif tag in _LEADING:
                self._lead(tag, node)
            else:
                self._note(tag, start, -end)

    def _note(self, tag: str, start: int, end: int) -> None:
        """A name in use or a string, for the symbol around it."""
        symbol = self._frames[-1].symbol
        if symbol is None:
            return
        if tag == "use":
            if end - start >= _MIN_NAME:
                symbol.piece.uses.add(self._slice(start, end).lstrip(":"))
        else:
            symbol.piece.strings.append(_OPENING.sub("", self._slice(start, min(end, start + _STRING_BYTES))))

    def _lead(self, tag: str, node: SyntaxNode) -> None:
        """A comment or an attribute, which may belong to the definition after it."""
        start, end = node.start_byte, node.end_byte
        parameters = node.child_by_field_name("parameters") if tag == "above" else None
        if parameters:  # template <typename T>
            end = parameters.end_byte
        end = start + len(self._source[start:end].rstrip())
        if not (self._above and self._is_right_below(start)):
            self._above.clear()
            if tag == "comment" and self._prefix(start).strip():
                return  # it belongs to the code before it
        self._above.append((start, end, tag))

    def _is_right_below(self, start: int) -> bool:
        """Whether nothing but the end of a line stands between the last comment or attribute and a place."""
        between = self._source[self._above[-1][1] : start]
        return len(between) < _PREFIX_BYTES and not between.strip() and between.count(b"\n") <= 1

    def _prefix(self, start: int) -> bytes:
        """What stands before a place in its line."""
        begin = max(self._source.rfind(b"\n", 0, start) + 1, start - _PREFIX_BYTES)
        return self._source[begin:start]

    def _define(self, tag: str, node: SyntaxNode) -> None:
        top = self._frames[-1]
        if top.role == FUNCTION or len(self._frames) > MAX_DEPTH:
            return  # it is a part of what is around it
        named = self._names.named(tag, node)
        if named is None or (named.body and named.body.start_byte == top.body):
            return  # of `typedef struct a { ... } b;` the struct is the same once more
        qualname = f"{top.owner}.{named.name}" if top.owner else named.name
        frame = _Frame(
            end=node.end_byte,
            owner=qualname,
            role=FUNCTION if named.role == PROTOTYPE else named.role,
            body=named.body.start_byte if named.body else -1,
            symbol=top.symbol,
        )
        if named.role not in {OWNER, MODULE}:
            frame.symbol = self._symbol(node, named, qualname)
            self.symbols.append(frame.symbol)
            if top.symbol and named.body:
                top.symbol.cuts.append((named.body.start_byte, named.body.end_byte))
        self._frames.append(frame)

    def _symbol(self, node: SyntaxNode, named: Named, qualname: str) -> _Symbol:
        start, comments = self._beginning(node.start_byte)
        if self._frames[-1].symbol:  # the documentation of a method is not its class's
            self._frames[-1].symbol.cuts.extend(comments)
        end = node.end_byte
        row = node.start_point.row - self._source.count(b"\n", start, node.start_byte)
        kind = named.role
        if kind == FUNCTION and ("." in named.name or self._frames[-1].role in {CLASS, OWNER}):
            kind = "method"
        piece = Piece(
            qualname=qualname,
            kind=kind,
            signature=self._signature(node, named),
            line=row + 1,
            lines=self._source.count(b"\n", start, end) + 1,
            is_shown=named.body is not None or named.role == CLASS,
            doc="\n".join(_plain(self._slice(at, end)) for at, end in comments).strip(),
        )
        return _Symbol(piece=piece, start=start, end=end)

    def _beginning(self, start: int) -> tuple[int, list[tuple[int, int]]]:
        """Where a definition begins, with ``export`` and attributes, and where the comments above it stand."""
        prefix = self._prefix(start)
        if len(prefix) < _PREFIX_BYTES and not re.search(rb"[;{}]", prefix):
            start -= len(prefix.lstrip())
        if not (self._above and self._is_right_below(start)):
            return start, []
        first = next((at for at, _, tag in self._above if tag == "above"), start)
        comments = [(at, end) for at, end, tag in self._above if tag == "comment"]
        self._above.clear()
        if comments and comments[0][0] == 0 and _LICENCE.search(self._slice(*comments[0])):
            del comments[0]
        return first, comments

    def _signature(self, node: SyntaxNode, named: Named) -> str:
        """The head of a definition, up to its body."""
        start, end = _head_start(node), named.body.start_byte if named.body else node.end_byte
        if self._is_ruby:
            parts = [part for name in _HEAD_PARTS if (part := node.child_by_field_name(name))]
            end = max([part.end_byte for part in parts], default=end)
            end += self._source[end : end + 1] == b")"
        head = self._slice(start, end)
        if named.role == CLASS or named.body is None:
            head = head.partition("{")[0]
        elif node.type == "function_definition":
            head = re.sub(r"\)\s*:(?!:).*", ")", head, flags=re.DOTALL)  # Name(int a) : a_(a) { ... }
        head = one_line(f"type {head}" if node.type == "type_spec" else head)
        if node.type == "type_definition":  # typedef struct { ... } name;
            head = f"{head} {named.name}"
        return head.removesuffix(";").removesuffix("=>").removesuffix("=").strip()

    def text(self, symbol: _Symbol) -> str:
        """The source of a symbol, without the bodies of a class's methods."""
        at, kept = symbol.start, []
        for first, last in sorted(symbol.cuts):
            kept.append(self._slice(at, first))
            at = max(at, last)
        return "".join([*kept, self._slice(at, symbol.end)])

    def _slice(self, start: int, end: int) -> str:
        return self._source[start:end].decode("utf-8", "replace")


def _head_start(node: SyntaxNode) -> int:
    """Where the head of a definition starts, after attributes within it such as ``@Override``."""
    start = node.start_byte
    first = next(iter(node.named_children), None)
    if first is None or first.type not in _ABOVE | {"modifiers"}:
        return start
    inner = first if first.type == "modifiers" else node
    for child in inner.named_children:
        if child.type not in _ABOVE and not child.type.endswith("comment"):
            break
        start = child.end_byte
    return start


def _plain(comment: str) -> str:
    """The words of a comment."""
    words = _COMMENT_MARK.sub("", comment)
    return _XML_TAG.sub("", words) if comment.startswith("///") else words


def _pieces(path: str, source: bytes, tree: SyntaxTree, *, with_leaves: bool) -> Iterator[Piece]:
    reader = _Reader(path, source)
    reader.read(tree, with_leaves=with_leaves)
    is_source = language_of(path) in C_FAMILY and suffix_of(path) not in HEADERS
    defined = {symbol.piece.qualname for symbol in reader.symbols if symbol.piece.kind != PROTOTYPE}
    for symbol in reader.symbols:
        piece = symbol.piece
        if is_source and piece.kind == PROTOTYPE and "." not in piece.qualname and piece.qualname not in defined:
            continue  # what a source file declares and does not define is another file's
        if with_leaves:
            piece.text = reader.text(symbol)
        yield piece


def tree_definitions(path: str, source: bytes, tree: SyntaxTree) -> list[Definition]:
    """Functions, methods and types in source order; what is defined or declared twice is one symbol."""
    return definitions_of(path, _pieces(path, source, tree, with_leaves=True))


def tree_outline(path: str, source: bytes, tree: SyntaxTree) -> Outline:
    """What a file tells about itself; only imports of files that may lie beside it are kept."""
    tops = dict.fromkeys(
        piece.qualname for piece in _pieces(path, source, tree, with_leaves=False) if "." not in piece.qualname
    )
    imports = dict.fromkeys(imports_of(path, source, tree))
    return Outline(doc=_head(source, tree.root), tops=tuple(tops), imports=tuple(imports))


def _head(source: bytes, root: SyntaxNode) -> str:
    """First line of the comment that opens a file, unless it is about its licence."""
    first = next((node for node in root.named_children if node.type != "php_tag"), None)
    if first is None or not first.type.endswith("comment"):
        return ""
    text = source[first.start_byte : first.end_byte].decode("utf-8", "replace")
    return "" if _LICENCE.search(text) else first_line(_plain(text))
