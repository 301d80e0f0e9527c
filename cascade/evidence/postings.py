"""Which words stand in which documents, and how well documents match a query. Pure numpy.

Why not a search library: the parts of an index are kept by the contents of a file, are joined anew for every checkout
that has the file, and are asked for more than an order: a weight for each word of the query, its rarity over the whole
tree in six fields, how much of the query a document covers, and its rarest hit, for every document. SQLite's FTS5,
bm25s and tantivy hold one index of one tree, which a changed file rewrites or, with bm25s, makes anew; they answer with
the best few and their scores. All four find the same first ten. `python -m benchmarks.index` measures them: for 23,396
bodies the postings are made in a third to a fifth of the processor time of the others. A query of 60 words takes 12 ms,
where FTS5 takes 59, and tantivy and bm25s 1: that is no time beside the rest of the evidence, which takes 230.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cascade.probability import Array

Terms = NDArray[np.uint32]
Places = NDArray[np.int32]
_K1, _B = 1.2, 0.75  # source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009
_MOST_COUNT = 255


@dataclass(frozen=True, eq=False)
class Postings:
    """Words of documents with their counts, one row for each word of each document.

    Attributes:
        n_documents: Number of documents, those without a word included.
        words: Numbers of words, as ``cascade.evidence.terms`` has them; (n,).
        documents: Document of each, rising; (n,).
        counts: How often it stands there, at most 255; (n,).
    """

    n_documents: int
    words: Terms
    documents: Places
    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, documents: Sequence[Iterable[int]]) -> Postings:
        """Counts the words of documents."""
        found = [np.fromiter(words, np.uint64) for words in documents]
        lengths = np.array([len(words) for words in found], np.int64)
        which = np.repeat(np.arange(len(found), dtype=np.uint64), lengths) << np.uint64(32)
        keys = which | np.concatenate(found) if found else np.zeros(0, np.uint64)
        keys, counts = np.unique(keys, return_counts=True)
        return cls(
            n_documents=len(found),
            words=keys.astype(np.uint32),
            documents=(keys >> np.uint64(32)).astype(np.int32),
            counts=np.minimum(counts, _MOST_COUNT).astype(np.uint8),
        )

    @classmethod
    def joined(cls, parts: Sequence[Postings]) -> Postings:
        """The documents of all parts, one part after the other."""
        starts = np.cumsum([0, *(part.n_documents for part in parts)], dtype=np.int32)
        if not parts:
            return cls.of(())
        return cls(
            n_documents=int(starts[-1]),
            words=np.concatenate([part.words for part in parts]),
            documents=np.concatenate([part.documents + start for part, start in zip(parts, starts, strict=False)]),
            counts=np.concatenate([part.counts for part in parts]),
        )

    def take(self, is_taken: NDArray[np.bool_]) -> Postings:
        """Some of the documents, by mask; (n_documents,)."""
        numbers = np.cumsum(is_taken, dtype=np.int32) - 1
        rows = is_taken[self.documents]
        return Postings(
            n_documents=int(is_taken.sum()),
            words=self.words[rows],
            documents=numbers[self.documents[rows]],
            counts=self.counts[rows],
        )

    @cached_property
    def lengths(self) -> Array:
        """Words of each document; (n_documents,)."""
        return np.bincount(self.documents, self.counts, self.n_documents).astype(np.float64)

    def hits(self, words: Terms) -> Hits:
        """Where words of a query stand.

        Args:
            words: The query's words, each once and rising; (k,).
        """
        places = np.searchsorted(words, self.words)
        is_hit = np.zeros(len(places), np.bool_)
        inside = places < len(words)
        is_hit[inside] = words[places[inside]] == self.words[inside]
        places = places[is_hit]
        frequency = np.bincount(places, minlength=len(words))
        rarity = np.log1p((self.n_documents - frequency + 0.5) / (frequency + 0.5)) * (frequency > 0)
        return Hits(self, places, self.documents[is_hit], self.counts[is_hit].astype(np.float64), rarity)


@dataclass(frozen=True, eq=False, slots=True)
class Hits:
    """Where the words of a query stand in documents; m hits of k words.

    Attributes:
        postings: What was searched.
        places: Which word of the query; (m,).
        documents: In which document; (m,).
        counts: How often; (m,).
        rarity: Inverse document frequency of each word of the query, 0 for one that stands nowhere; (k,).
    """

    postings: Postings
    places: NDArray[np.int64]
    documents: Places
    counts: Array
    rarity: Array

    def bm25(self, weights: Array, *, is_binary: bool = False) -> Array:
        """BM25 of each document, at least 0; (n_documents,).

        Args:
            weights: How much each word of the query counts; (k,).
            is_binary: Whether a word counts once however often it stands in a document.
        """
        lengths, n = self.postings.lengths, self.postings.n_documents
        mean = max(float(lengths.mean()) if n else 0.0, 1e-9)
        counts = np.minimum(self.counts, 1) if is_binary else self.counts
        norm = _K1 * (1 - _B + _B * lengths[self.documents] / mean)
        each = (weights * self.rarity)[self.places] * counts * (_K1 + 1) / (counts + norm)
        return np.bincount(self.documents, each, n).astype(np.float64)

    def coverage(self) -> Array:
        """Share of the query's rarity that a document has, in [0, 1]; (n_documents,)."""
        n = self.postings.n_documents
        return np.bincount(self.documents, weights=self.rarity[self.places], minlength=n) / max(
            float(self.rarity.sum()), 1e-9
        )

    def rarest(self) -> Array:
        """Rarity of the rarest word that a document has, over that of a word of one document; (n_documents,)."""
        found = np.zeros(self.postings.n_documents)
        np.maximum.at(found, self.documents, self.rarity[self.places])
        return found / np.log(self.postings.n_documents + 1) if len(found) else found
