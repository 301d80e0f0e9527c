"""Why a symbol or a file may matter for a task, in words for people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cascade.evidence.meant import Meant
from cascade.evidence.postings import Hits, Postings
from cascade.evidence.signals import Columns, Signals
from cascade.evidence.terms import terms

_LEAST_MATCH = 0.35  # share of the best match from which one is worth a word
_MOST_WORDS = 3
_LEAST_RARITY = 1.5  # of a word that stands in a fifth of the documents; half the rarest where all are common
_LEAST_QUOTED = 0.6  # share of a message's words from which a symbol has it; the rest was filled in
_FEW_WORDS = 3  # that any two texts may share by chance are fewer
_MOST_MESSAGES, _MOST_LINKS = 20, 20
_SHORT_NUMBER = 3  # digits below which a number tells nothing
_MANY = 2  # commits from which two files count as changed together


class Reasons:
    """The reasons of a task's candidates.

    Args:
        signals: What ties them to the task.
    """

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._corpus = signals.corpus
        self._meant = Meant(signals.corpus)
        self._words = signals.task.written

    def of_symbol(self, at: int) -> list[str]:
        """Why a symbol may matter, the strongest reason first."""
        columns, file = self._signals.symbols, int(self._corpus.files[at])
        return [*self._mentions(columns, at), *self._matches(at), *self._references(at), *self._of_its_file(file)]

    def of_file(self, at: int) -> list[str]:
        """Why a file may matter."""
        columns = self._signals.files
        found = list(self._located(columns, at))
        if columns["named"][at] > 0:
            found.append("the task names code of it")
        words = self._rarest(self._file_hits, at)
        if words and columns["words_share"][at] >= _LEAST_MATCH:
            found.append(f"its text has {words}")
        return [*found, *self._tied(at)]

    def _mentions(self, columns: Columns, at: int) -> Iterator[str]:
        if columns["traced"][at] > 0:
            yield "in a traceback of the task" if self._is_alone(at) else "named like a call in the task's traceback"
        if columns["qualified"][at] > 0 or columns["named_code"][at] > 0:
            yield "named in the task"
        elif columns["owner_code"][at] > 0:
            yield f"{self._corpus.owners[at]} is named in the task"

    def _matches(self, at: int) -> Iterator[str]:
        columns = self._signals.symbols
        if self._quoted[at] >= _LEAST_QUOTED:
            yield "has a message that the task quotes"
        body, head = self._rarest(self._body_hits, at), self._rarest(self._head_hits, at)
        if head and columns["head_share"][at] >= _LEAST_MATCH:
            yield f"its name or head has {head}"
        if body and body != head and columns["body_share"][at] >= _LEAST_MATCH:
            yield f"its body has {body}"

    def _is_alone(self, at: int) -> bool:
        """Whether no other symbol of its file bears its name: a traceback tells the name alone."""
        corpus, file = self._corpus, int(self._corpus.files[at])
        return corpus.names[corpus.starts[file] : corpus.starts[file + 1]].count(corpus.names[at]) == 1

    @cached_property
    def _quoted(self) -> NDArray[np.float64]:
        """Share of a quoted message's words that stand in each symbol's string literals, of the message with the most.

        One of which only two or fewer do counts as none.
        """
        literals, found = self._corpus.postings("literals"), np.zeros(len(self._corpus.symbols))
        for message in sorted(self._signals.task.messages, key=len)[-_MOST_MESSAGES:]:
            words = np.unique(np.array(terms(message), np.uint32))
            n = np.bincount(literals.hits(words).documents, minlength=len(found))
            found = np.maximum(found, np.where(n >= _FEW_WORDS, n / max(len(words), 1), 0.0))
        return found

    def _references(self, at: int) -> Iterator[str]:
        links = self._corpus.links
        for here, there, verb in ((links.used, links.users, "mentioned by"), (links.users, links.used, "mentions")):
            rows = np.flatnonzero(here == at)
            shares = self._signals.symbols["body_share"][there[rows]]
            order = np.argsort(-shares, kind="stable")[: min(_MOST_LINKS, int((shares >= _LEAST_MATCH).sum()))]
            best = next((int(there[row]) for row in rows[order].tolist() if self._meant(row)), None)
            words = self._rarest(self._body_hits, best) if best is not None else ""
            if best is not None and words:
                yield f"{verb} {self._corpus.symbols[best].qualname}, which has {words}"

    def _of_its_file(self, file: int) -> Iterator[str]:
        yield from self._located(self._signals.files, file)
        yield from self._tied(file)

    def _located(self, columns: Columns, file: int) -> Iterator[str]:
        if columns["located"][file] > 0:
            yield "the task names its file" if columns["traced"][file] == 0 else "its file is in a traceback"

    def _tied(self, file: int) -> Iterator[str]:
        ties, path = self._signals.ties, self._corpus.paths[file]
        if path in ties.seeds:
            yield "in a file that the work starts from"
        if path in ties.imported:
            yield "imported by a file that the work starts from"
        elif path in ties.importers:
            yield "imports a file that the work starts from"
        if ties.together.get(path, 0) >= _MANY:
            yield f"changed with {ties.seeds[0]} in {ties.together[path]} commits"
        if self._signals.files["history_share"][file] >= _LEAST_MATCH:
            yield "changed by earlier commits with words of the task"

    def _rarest(self, hits: tuple[Hits, NDArray[np.intp]], at: int) -> str:
        """The rarest words of the task that stand in a document, quoted; empty where none does."""
        found, order = hits
        start, end = np.searchsorted(found.documents[order], (at, at + 1))
        places = found.places[order[start:end]]
        least = min(_LEAST_RARITY, float(found.rarity.max(initial=0)) / 2)
        places = places[found.rarity[places] >= least]
        best = places[np.argsort(-found.rarity[places], kind="stable")][:_MOST_WORDS]
        words = [self._words.get(int(self._signals.task.words[place]), "") for place in best]
        return ", ".join(f"'{word}'" for word in words if word and not (word.isdigit() and len(word) < _SHORT_NUMBER))

    def _hits(self, postings: Postings) -> tuple[Hits, NDArray[np.intp]]:
        hits = postings.hits(self._signals.task.words)
        return hits, np.argsort(hits.documents, kind="stable")

    @cached_property
    def _body_hits(self) -> tuple[Hits, NDArray[np.intp]]:
        return self._hits(self._corpus.postings("body"))

    @cached_property
    def _head_hits(self) -> tuple[Hits, NDArray[np.intp]]:
        return self._hits(self._corpus.postings("head"))

    @cached_property
    def _file_hits(self) -> tuple[Hits, NDArray[np.intp]]:
        return self._hits(self._corpus.file_words)
