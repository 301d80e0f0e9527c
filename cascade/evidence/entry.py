"""What the index holds of one source file: its symbols and the words of their parts. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cascade.evidence.postings import Postings
from cascade.evidence.records import Definition, SymbolRecord
from cascade.evidence.terms import name_term, name_terms, terms

FIELDS = ("body", "head", "doc", "literals", "idents", "uses")
"""The parts of a symbol whose words are kept apart."""

_MOST_WORDS = 400_000  # characters of a file that count as its words
_MOST_BYTES = 200_000_000  # of an entry; a file of 600 kB has a fiftieth
_MOST_LINES = 10_000_000
_COLUMNS = ("qualname", "kind", "signature", "doc", "lines", "line")
_TYPES = [str, str, str, str, int, int]


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
        head = [
            [[getattr(one, column) for column in _COLUMNS] for one in self.symbols],
            [len(part.words) for part in parts],
        ]
        arrays = [column.tobytes() for part in parts for column in (part.words, part.documents, part.counts)]
        text = json.dumps(head, separators=(",", ":")).encode()
        return zlib.compress(b"".join([len(text).to_bytes(4, "little"), text, *arrays]), 1)

    @classmethod
    def load(cls, data: bytes, path: str) -> Entry:
        """An entry from its bytes.

        Raises:
            ValueError: They are no entry.
        """
        try:
            plain = _unpacked(data)
            size = int.from_bytes(plain[:4], "little")
            rows, lengths = json.loads(plain[4 : 4 + size])
            symbols = tuple(_symbol(path, *row) for row in rows)
            *fields, words = _parts(plain, 4 + size, lengths, [len(symbols)] * len(FIELDS) + [1])
            return cls(symbols=symbols, fields=dict(zip(FIELDS, fields, strict=True)), words=words)
        except (zlib.error, TypeError, RecursionError) as error:
            msg = "not an entry of the index"
            raise ValueError(msg) from error


def _unpacked(data: bytes) -> bytes:
    """Bytes that were compressed, and nothing behind them.

    Raises:
        ValueError: There is more, less, or too much.
        zlib.error: They are damaged.
    """
    stream = zlib.decompressobj()
    plain = stream.decompress(data, _MOST_BYTES)
    if not stream.eof or stream.unused_data:
        msg = "more or fewer bytes than an entry has"
        raise ValueError(msg)
    return plain


def _symbol(path: str, *row: Any) -> SymbolRecord:
    """A symbol from the row that ``Entry.dump`` wrote.

    Raises:
        ValueError: It wrote no such row.
    """
    if [*map(type, row)] != _TYPES or not all(0 < number < _MOST_LINES for number in row[-2:]):
        msg = "not a symbol"
        raise ValueError(msg)
    return SymbolRecord(path=path, **dict(zip(_COLUMNS, row, strict=True)))


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


def _parts(data: bytes, at: int, lengths: Sequence[int], documents: Sequence[int]) -> Iterable[Postings]:
    """Postings from the bytes behind a place.

    Raises:
        ValueError: The bytes do not fit.
    """
    for length, n in zip(lengths, documents, strict=True):
        if length < 0:  # numpy would take all that is left
            msg = "a negative length"
            raise ValueError(msg)
        words = np.frombuffer(data, np.uint32, length, at)
        places = np.frombuffer(data, np.int32, length, at + words.nbytes)
        counts = np.frombuffer(data, np.uint8, length, at + words.nbytes + places.nbytes)
        at += words.nbytes + places.nbytes + counts.nbytes
        if length and not (places[0] >= 0 and places[-1] < n and (np.diff(places) >= 0).all()):
            msg = "documents are not in order"
            raise ValueError(msg)
        yield Postings(n_documents=n, words=words, documents=places, counts=counts)
    if at != len(data):
        msg = "more bytes than an entry has"
        raise ValueError(msg)
