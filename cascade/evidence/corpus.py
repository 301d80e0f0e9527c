"""All symbols and files that compete for a task, as arrays. Pure numpy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cascade.evidence.entry import Entry
from cascade.evidence.history import History
from cascade.evidence.postings import Places, Postings
from cascade.evidence.records import SymbolRecord
from cascade.evidence.terms import name_term, terms
from cascade.probability import Array

_MOST_DEFINED = 4  # a name with more definitions says nothing about who uses whom


@dataclass(frozen=True, eq=False, slots=True)
class Links:
    """Who uses whom, by name.

    Attributes:
        users: Symbol that uses; (m,).
        used: Symbol that it uses; (m,).
        weights: One over the number of symbols that the name may mean, in (0, 1]; (m,).
    """

    users: Places
    used: Places
    weights: Array

    def best_user(self, values: Array) -> Array:
        """The best of those who use each symbol; (n,), like the values."""
        found = np.zeros(len(values))
        np.maximum.at(found, self.used, values[self.users] * self.weights)
        return found

    def best_used(self, values: Array) -> Array:
        """The best of those that each symbol uses; (n,)."""
        found = np.zeros(len(values))
        np.maximum.at(found, self.users, values[self.used] * self.weights)
        return found


@dataclass(frozen=True, eq=False)
class Corpus:
    """The symbols and files that compete; n symbols of f files.

    Attributes:
        paths: The files.
        entries: What is known of each.
        history: Earlier commits; None where there are none.
    """

    paths: tuple[str, ...]
    entries: tuple[Entry, ...]
    history: History | None = None
    _postings: dict[str, Postings] = field(default_factory=dict, repr=False)

    @cached_property
    def symbols(self) -> tuple[SymbolRecord, ...]:
        """All symbols, file by file in source order."""
        return tuple(symbol for entry in self.entries for symbol in entry.symbols)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Number of each file's first symbol, and the number of symbols; (f + 1,)."""
        return np.cumsum([0, *(len(entry.symbols) for entry in self.entries)])

    @cached_property
    def files(self) -> Places:
        """File of each symbol; (n,)."""
        return np.repeat(np.arange(len(self.paths), dtype=np.int32), np.diff(self.starts))

    def postings(self, part: str) -> Postings:
        """The words of a part of every symbol; see ``cascade.evidence.entry.FIELDS``."""
        if part not in self._postings:
            self._postings[part] = Postings.joined([entry.fields[part] for entry in self.entries])
        return self._postings[part]

    @cached_property
    def file_words(self) -> Postings:
        """The words of every file."""
        return Postings.joined([entry.words for entry in self.entries])

    @cached_property
    def path_words(self) -> Postings:
        """The words of every file's path."""
        return Postings.of([terms(path) for path in self.paths])

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The last part of every symbol's name."""
        return tuple(symbol.name for symbol in self.symbols)

    @cached_property
    def owners(self) -> tuple[str, ...]:
        """The name of what encloses every symbol, without its own owners; empty at the top level."""
        return tuple(symbol.owner.rpartition(".")[2] for symbol in self.symbols)

    @cached_property
    def namesakes(self) -> Array:
        """How many symbols have the name of each, itself included; (n,)."""
        counts = Counter(self.names)
        return np.array([counts[name] for name in self.names], np.float64)

    @cached_property
    def mates(self) -> Places:
        """Number of each symbol's class, or of its file's top level; a class counts to its own members; (n,)."""
        numbers: dict[tuple[str, str], int] = {}
        keys = ((one.path, one.qualname if one.kind == "class" else one.owner) for one in self.symbols)
        return np.fromiter((numbers.setdefault(key, len(numbers)) for key in keys), np.int32)

    @cached_property
    def sizes(self) -> Array:
        """Source lines of each symbol; (n,)."""
        return np.array([symbol.lines for symbol in self.symbols], np.float64)

    @cached_property
    def has_body(self) -> NDArray[np.bool_]:
        """Whether the source of each symbol is known; (n,)."""
        return self.postings("body").lengths > 0

    @cached_property
    def links(self) -> Links:
        """Who uses whom, where a name has at most four definitions."""
        uses = self.postings("uses")
        own = np.array([name_term(name) for name in self.names], np.uint32)
        order = np.argsort(own, kind="stable").astype(np.int32)
        known, first, counts = np.unique(own[order], return_index=True, return_counts=True)
        places = np.minimum(np.searchsorted(known, uses.words), max(len(known) - 1, 0))
        fits = known[places] == uses.words if len(known) else np.zeros(0, np.bool_)
        fits &= counts[places] <= _MOST_DEFINED if len(known) else fits
        places, users = places[fits], uses.documents[fits]
        found = [
            (users[rows], order[first[places[rows]] + turn], 1 / counts[places[rows]])
            for turn in range(_MOST_DEFINED)
            for rows in [counts[places] > turn]
        ]
        who, whom, weights = (np.concatenate(column) for column in zip(*found, strict=True))
        apart = who != whom
        return Links(who[apart], whom[apart], weights[apart])
