"""What the index holds of a file comes back whole, or is refused."""

from __future__ import annotations

import random
import zlib
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cascade.evidence.entry import FIELDS, Entry
from cascade.evidence.packing import pack, unpack
from cascade.evidence.terms import name_term, terms
from cascade.repository.source import read_definitions

SOURCE = '''"""Größe."""
class Cache(dict):
    """Keeps answers."""
    def load(self, key):
        """Load one.

        All of it."""
        return self.read_answer(key, "no such answer")
def empty(): ...
'''


@pytest.fixture(scope="module")
def entry() -> Entry:
    """An entry of three symbols."""
    return Entry.of(read_definitions("a/cache.py", SOURCE.encode()), SOURCE)


def words_of(entry: Entry, field: str, symbol: int) -> set[int]:
    """The words of a part of a symbol."""
    part = entry.fields[field]
    return set(part.words[part.documents == symbol].tolist())


def test_parts_have_their_words(entry: Entry) -> None:
    """Names, documentation in full, literals, identifiers as written, and what is used."""
    assert [one.qualname for one in entry.symbols] == ["Cache", "Cache.load", "empty"]
    assert set(terms("load key answer")) <= words_of(entry, "body", 1)
    assert set(terms("cache load")) <= words_of(entry, "head", 1)
    assert words_of(entry, "doc", 1) == set(terms("Load one. All of it."))
    assert words_of(entry, "literals", 1) == set(terms("no such answer"))
    assert name_term("read_answer") in words_of(entry, "idents", 1)
    assert name_term("read_answer") in words_of(entry, "uses", 1)
    assert name_term("read_answer") not in words_of(entry, "body", 0)
    assert set(terms("größe answers empty")) <= set(entry.words.words.tolist())


def test_an_entry_comes_back_under_any_path(entry: Entry) -> None:
    """Its path is not kept with it, and moving it changes nothing else."""
    again = Entry.load(entry.dump(), "b.py")
    assert again.dump() == entry.dump()
    assert again.symbols == entry.at("b.py").symbols
    assert {one.path for one in again.symbols} == {"b.py"}
    nothing = Entry.of([], "")
    assert Entry.load(nothing.dump(), "b.py").dump() == nothing.dump()


def test_some_of_the_symbols(entry: Entry) -> None:
    """The words of the others leave, those of the file stay."""
    taken = entry.take([False, True, False])
    assert [one.name for one in taken.symbols] == ["load"]
    assert all(taken.fields[field].n_documents == 1 for field in FIELDS)
    assert words_of(taken, "body", 0) == words_of(entry, "body", 1)
    assert taken.words is entry.words
    assert entry.take([True] * 3) is entry


def test_damaged_bytes_are_refused(entry: Entry) -> None:
    """With a ValueError, whatever happened to them, compressed or before."""
    data = entry.dump()
    plain = zlib.decompress(data)
    rng = random.Random(0)
    for _ in range(1_500):
        inner = bytearray(plain)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(inner))
            match rng.randrange(4):
                case 0:
                    inner[at] = rng.randrange(256)
                case 1:
                    del inner[at : at + rng.randint(1, 9)]
                case 2:
                    inner[at:at] = rng.choice([b"0", b"-1", b"[", b"]", b'"', b"null", b"1e9", b"\xff", b"9" * 30])
                case 3:
                    inner[at:at] = inner[: rng.randint(0, 30)]
        try:
            found = Entry.load(zlib.compress(bytes(inner), 1), "a.py")
        except ValueError:
            continue
        for part in (*(found.fields[field] for field in FIELDS), found.words):
            assert len(part.lengths) == part.n_documents
        assert all(one.id.startswith("a.py::") and one.lines > 0 for one in found.symbols)
    for cut in range(0, len(data), 7):
        with pytest.raises(ValueError, match=r"."):
            Entry.load(data[:cut], "a.py")


@pytest.mark.parametrize(
    "head",
    [None, 7, "text", {}, [], [[]], [[]] * 5, [["f"], [], [], [], [], []], [["f"], ["k"], ["s"], ["d"], [0], [1]],
     [["f"], ["k"], ["s"], ["d"], [1], [True]], [["f"], ["k"], ["s"], [None], [1], [1]],
     [["f"], ["k"], ["s"], ["d"], [1], [10**40]]],
)  # fmt: skip
def test_other_heads_are_refused(head: object) -> None:
    """Values that JSON has and an entry has not."""
    parts: list[NDArray[Any]] = [
        np.zeros(0, kind) for _ in range(len(FIELDS) + 1) for kind in (np.uint32, np.int32, np.uint8)
    ]
    with pytest.raises(ValueError, match=r"."):
        Entry.load(pack(head, parts), "a.py")


def test_arrays_come_back_as_they_were() -> None:
    """Also empty ones; arrays of other types are refused."""
    arrays: list[NDArray[Any]] = [np.array([1, 2**32 - 1], np.uint32), np.zeros(0, np.int32), np.array([255], np.uint8)]
    head, found = unpack(pack({"a": ["ö"]}, arrays), ("<u4", "<i4", "|u1"))
    assert head == {"a": ["ö"]}
    assert [one.tolist() for one in found] == [[1, 2**32 - 1], [], [255]]
    for types in (("<u4", "<i4"), ("<u4", "<i4", "<u4"), ()):
        with pytest.raises(ValueError, match=r"packed|lengths"):
            unpack(pack(None, arrays), types)
