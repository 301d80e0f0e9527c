"""What the index holds of one source file: its symbols and the words of their parts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cascade.evidence.packing import pack, unpack
from cascade.evidence.postings import Postings
from cascade.evidence.records import Definition, SymbolRecord
from cascade.evidence.terms import name_term, name_terms, terms

FIELDS = ("body", "head", "doc", "literals", "idents", "uses")
"""The parts of a symbol whose words are kept apart."""

_MOST_WORDS = 400_000  # characters of a file that count as its words
_MOST_LINES = 10_000_000
_COLUMNS = {"qualname": str, "kind": str, "signature": str, "doc": str, "lines": int, "line": int}
_ARRAYS = ("<u4", "<i4", "|u1") * (len(FIELDS) + 1)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Entry:
    """The symbols of a file, and the words of their parts and of the file.

    Attributes:
        symbols: Its symbols in source order.
        fields: Part of a symbol, one of ``FIELDS``, -> its words; a document for each symbol.
        words: Words of the whole file, as one document.
    """

    symbols: tuple[SymbolRecord, ...]
    fields: dict[str, Postings]
    words: Postings

    @classmethod
    def of(cls, definitions: Sequence[Definition], text: str) -> Entry:
        """Counts the words of a file.

        Args:
            definitions: Its symbols; without source they have heads and documentation alone.
            text: The whole file; empty where it is not known.
        """
        found = [_words(one) for one in definitions]
        return cls(
            symbols=tuple(one.record for one in definitions),
            fields={field: Postings.of([words[field] for words in found]) for field in FIELDS},
            words=Postings.of([terms(text[:_MOST_WORDS])]),
        )

    def at(self, path: str) -> Entry:
        """The same file under another path."""
        symbols = tuple(one if one.path == path else replace(one, path=path) for one in self.symbols)
        return replace(self, symbols=symbols)

    def take(self, is_taken: Sequence[bool]) -> Entry:
        """Some of the symbols, by mask; the words of the file stay."""
        mask = np.array(is_taken, np.bool_)
        if mask.all():
            return self
        symbols = tuple(one for one, taken in zip(self.symbols, is_taken, strict=True) if taken)
        return replace(self, symbols=symbols, fields={name: part.take(mask) for name, part in self.fields.items()})

    def dump(self) -> bytes:
        """The entry without its path, as bytes that ``load`` reads back."""
        parts = [*(self.fields[field] for field in FIELDS), self.words]
        columns = [[getattr(one, column) for one in self.symbols] for column in _COLUMNS]
        return pack(columns, [array for part in parts for array in (part.words, part.documents, part.counts)])

    @classmethod
    def load(cls, data: bytes, path: str) -> Entry:
        """An entry from its bytes.

        Raises:
            ValueError: They are no entry.
        """
        columns, arrays = unpack(data, _ARRAYS)
        symbols = _symbols(path, columns)
        documents = [len(symbols)] * len(FIELDS) + [1]
        *fields, words = (_part(n, *arrays[3 * at : 3 * at + 3]) for at, n in enumerate(documents))
        return cls(symbols=symbols, fields=dict(zip(FIELDS, fields, strict=True)), words=words)


def _symbols(path: str, columns: Any) -> tuple[SymbolRecord, ...]:
    """Symbols from the columns that ``Entry.dump`` wrote.

    Raises:
        ValueError: It wrote no such columns.
    """
    if not (
        isinstance(columns, list)
        and [*map(type, columns)] == [list] * len(_COLUMNS)
        and all({*map(type, column)} <= {kind} for column, kind in zip(columns, _COLUMNS.values(), strict=True))
        and all(0 < number < _MOST_LINES for column in columns[-2:] for number in column)
    ):
        msg = "not the symbols of an entry"
        raise ValueError(msg)
    return tuple(
        SymbolRecord(path=path, qualname=qualname, kind=kind, signature=signature, doc=doc, lines=lines, line=line)
        for qualname, kind, signature, doc, lines, line in zip(*columns, strict=True)
    )


def _part(n: int, words: Any, documents: Any, counts: Any) -> Postings:
    """The words of n documents.

    Raises:
        ValueError: They do not fit together.
    """
    if not len(words) == len(documents) == len(counts):
        msg = "columns of several lengths"
        raise ValueError(msg)
    if len(documents) and not (documents[0] >= 0 and documents[-1] < n and (np.diff(documents) >= 0).all()):
        msg = "documents are not in order"
        raise ValueError(msg)
    return Postings(n_documents=n, words=words, documents=documents, counts=counts)


def _words(one: Definition) -> dict[str, Iterable[int]]:
    """Part -> its words; those of a body count the symbol's own name once more, those of a head twice."""
    name = terms(one.record.qualname)
    return {
        "body": [*name, *terms(one.text)] if one.text else [],
        "head": [*name, *name, *terms(one.record.signature)],
        "doc": terms(one.doc or one.record.doc),
        "literals": terms(" ".join(one.strings)),
        "idents": name_terms(one.text or f"{one.record.qualname} {one.record.signature}"),
        "uses": [name_term(name) for name in one.uses],
    }
