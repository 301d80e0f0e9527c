"""Pieces of source that define symbols; those of one name are one symbol. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from cascade.evidence.records import Definition, SymbolRecord
from cascade.repository.outline import first_line

MAX_DEPTH = 20  # what is nested deeper belongs to the symbol around it
_MIN_NAME = 3
_MAX_STRING = 400
_SURROGATE = re.compile("[\\ud800-\\udfff]")


@dataclass(slots=True, kw_only=True)
class Piece:
    """One definition or declaration of a symbol, filled while its file is walked.

    Attributes:
        qualname: Dotted name within the file.
        kind: What it is.
        signature: Its head in one line.
        line: Its first line in the file, from 1.
        lines: Number of its lines.
        is_shown: Whether it may stand for its symbol: no overload and no prototype.
        doc: Its documentation.
        text: Its source.
        strings: String literals in it.
        uses: Names that it uses.
    """

    qualname: str
    kind: str
    signature: str
    line: int
    lines: int
    is_shown: bool = True
    doc: str = ""
    text: str = ""
    strings: list[str] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)


def definitions_of(path: str, pieces: Iterable[Piece]) -> list[Definition]:
    """The symbols that the pieces of one file define, by where the first piece of each stands."""
    found: dict[str, list[Piece]] = {}
    for piece in sorted(pieces, key=lambda one: one.line):
        found.setdefault(piece.qualname, []).append(piece)
    return [_definition(path, same) for same in found.values()]


def _definition(path: str, same: list[Piece]) -> Definition:
    shown = next((piece for piece in same if piece.is_shown), same[-1])
    doc = _encodable(shown.doc or next((piece.doc for piece in same if piece.doc), ""))
    record = SymbolRecord(
        path=path,
        qualname=shown.qualname,
        kind=shown.kind,
        signature=shown.signature,
        doc=first_line(doc),
        lines=shown.lines,
        line=shown.line,
    )
    strings = dict.fromkeys(
        _encodable(text[:_MAX_STRING]) for piece in same for text in piece.strings if not text.isspace()
    )
    uses = {name for piece in same for name in piece.uses if len(name) >= _MIN_NAME}
    return Definition(
        record=record,
        text="\n".join(piece.text for piece in same),
        doc=doc,
        strings=tuple(text for text in strings if text),
        uses=frozenset(uses - {record.name}),
    )


def _encodable(text: str) -> str:
    """A text without the lone surrogates that Python's literals may write, which no file and no cache can hold."""
    return text if text.isascii() else _SURROGATE.sub(" ", text)
