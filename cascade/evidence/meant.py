"""Whether the name that one symbol mentions surely means another: links go by the bare name alone. Pure."""

from __future__ import annotations

import io
import re

import numpy as np

from cascade.evidence.corpus import Corpus
from cascade.evidence.records import SymbolRecord
from cascade.evidence.terms import terms

_BUILT_IN = frozenset(
    name
    for kind in (str, bytes, int, list, dict, set, BaseException, io.TextIOWrapper, re.Pattern, re.Match)
    for name in dir(kind)
)
"""Names that mostly mean a method of a built-in type, in Python and in others."""

_FOLDERS = frozenset({"__init__", "index", "mod"})
"""Names of files that stand for their folder."""


class Meant:
    """Tells of links whether their name surely means what they lead to.

    Args:
        corpus: All that was read.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._by_name: dict[int, dict[str, list[SymbolRecord]]] = {}

    def __call__(self, row: int) -> bool:
        """Whether a link is sure.

        A parameter of that name is none. Of several symbols of one name that of the same class is meant, or else the
        only one of the same file. One of another file must be tied to it: a top-level symbol by its module's name,
        which whoever imports it writes, and a method by a name that no built-in type has.

        Args:
            row: Place of the link in ``Corpus.links``.
        """
        corpus, links = self._corpus, self._corpus.links
        user, used = int(links.users[row]), int(links.used[row])
        one, other = corpus.symbols[user], corpus.symbols[used]
        if re.search(rf"[(,]\s*\**{re.escape(other.name)}\b", one.signature):
            return False
        if links.weights[row] < 1:
            return other.id in self._nearest(user, other.name)
        if one.path == other.path:
            return True
        return other.name not in _BUILT_IN if other.owner else self._may_import(user, other.path)

    def _nearest(self, user: int, name: str) -> list[str]:
        """The only symbol of a name in a symbol's class, or else in its file."""
        inside = self._named(int(self._corpus.files[user])).get(name, [])
        owner = self._corpus.symbols[user].owner
        found = [one.id for one in inside if owner and one.owner == owner] or [one.id for one in inside]
        return found if len(found) == 1 else []

    def _named(self, file: int) -> dict[str, list[SymbolRecord]]:
        """The symbols of a file by their names."""
        if file not in self._by_name:
            found = self._by_name.setdefault(file, {})
            for one in self._corpus.entries[file].symbols:
                found.setdefault(one.name, []).append(one)
        return self._by_name[file]

    def _may_import(self, user: int, path: str) -> bool:
        """Whether the file of a symbol has the words of a module's name, or lies in the same folder."""
        corpus, file = self._corpus, int(self._corpus.files[user])
        folder, _, name = path.rpartition("/")
        stem = name.partition(".")[0]
        if corpus.paths[file].rpartition("/")[0] == folder and not name.endswith(".py"):
            return True
        needed = terms(folder.rpartition("/")[2] if stem in _FOLDERS else stem)
        start, end = np.searchsorted(corpus.file_words.documents, (file, file + 1))
        return bool(np.isin(needed, corpus.file_words.words[start:end]).all())
