"""The source of candidates, for cascades whose stages read it: of each its own lines, read from the checkout."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from cascade.evidence.records import SymbolRecord
from cascade.items import Item
from cascade.repository.find import Candidates
from cascade.repository.languages import PYTHON, suffix_of
from cascade.repository.reasons import MAX_BYTES
from cascade.repository.source import read_regular, unfit

MOST_CHARACTERS = 65_536
"""Characters of a file's head that its item gets: more than the longest text that a stage may read."""

_COMMENT = re.compile(r"\s*(?:(?P<mark>#|//|--)[^\n]*\n(?:[ \t]*(?P=mark)[^\n]*\n)*|/\*.*?\*/|<!--.*?-->)", re.DOTALL)
_LEGAL = re.compile(r"copyright|licen[cs]e|spdx", re.IGNORECASE)


def with_texts(found: Candidates, items: Iterable[Item]) -> list[Item]:
    """Symbols and files with their source as text, in the given order; other items stay as they are.

    A symbol gets its lines, decorators and inner definitions included; a file its source without a licence at its head,
    at most ``MOST_CHARACTERS`` of it. Each file is read once. One that cannot be read any more gives no text.

    Args:
        found: Says where the candidates lie.
        items: Some of its items.
    """
    items = list(items)
    wanted = {item.id for item in items}
    symbols = {record.id: record for record in found.evidence.signals.corpus.symbols if record.id in wanted}
    files = wanted & found.outlines.keys()
    texts = dict(_texts(found, symbols, files))
    return [replace(item, text=texts[item.id]) if item.id in texts else item for item in items]


def without_licence(source: str) -> str:
    """A source without the comments at its head that speak of copyright or a licence. Pure."""
    while (comment := _COMMENT.match(source)) and _LEGAL.search(comment.group()):
        source = source[comment.end() :]
    return source


def _texts(found: Candidates, symbols: Mapping[str, SymbolRecord], files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Id -> text of symbols and files."""
    for path in files:
        yield path, without_licence(_read(found, path).decode(errors="replace"))[:MOST_CHARACTERS]
    by_file: dict[str, list[tuple[str, SymbolRecord]]] = {}
    for id_, record in symbols.items():
        by_file.setdefault(record.path, []).append((id_, record))
    for path, records in by_file.items():
        lines = _lines(path, _read(found, path))
        for id_, record in records:
            own = lines[record.line - 1 : record.line - 1 + record.lines]
            yield id_, b"\n".join(own).decode(errors="replace")


def _read(found: Candidates, path: str) -> bytes:
    """The bytes of a file; none where it cannot be read."""
    with suppress(OSError, ValueError):
        source = read_regular(found.root / path, MAX_BYTES + 1)
        if source is not None and unfit(source) is None:
            return source
    return b""


def _lines(path: str, source: bytes) -> list[bytes]:
    """The lines of a source as its reader counts them; only Python takes a lone carriage return for an end."""
    return re.split(rb"\r\n|\r|\n" if suffix_of(path) == PYTHON else rb"\n", source)
