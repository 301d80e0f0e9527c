"""Postings against BM25 written from its formula, one document and word at a time."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from cascade.evidence.postings import Hits, Postings

K1, B = 1.2, 0.75
Documents = Sequence[Sequence[int]]


def drawn(seed: int, n: int = 30) -> list[list[int]]:
    """Documents of words that are rare or frequent, some of them empty."""
    rng = random.Random(seed)
    return [[min(int(rng.expovariate(0.3)), 20) for _ in range(rng.choice((0, 1, 5, 40)))] for _ in range(n)]


def rarity(documents: Documents, word: int) -> float:
    """Inverse document frequency."""
    frequency = sum(word in document for document in documents)
    return math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5)) if frequency else 0.0


def reference(documents: Documents, query: dict[int, float], *, is_binary: bool = False) -> list[float]:
    """BM25 of each document; words of a query weighted."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts = Counter(document)
        norm = K1 * (1 - B + B * len(document) / mean)
        found = {word: min(counts[word], 1) if is_binary else counts[word] for word in query}
        scores.append(sum(
            query[word] * rarity(documents, word) * n * (K1 + 1) / (n + norm) for word, n in found.items()
        ))  # fmt: skip
    return scores


def hits(documents: Documents, words: Sequence[int]) -> Hits:
    """Where words stand."""
    return Postings.of(documents).hits(np.array(words, np.uint32))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_binary", [False, True])
def test_bm25_is_that_of_the_formula(seed: int, *, is_binary: bool) -> None:
    """With weights of the words, some of which no document has, counted or once."""
    documents = drawn(seed)
    query = {0: 1.0, 3: 2.0, 7: 0.5, 19: 1.0, 500: 4.0}
    scores = hits(documents, list(query)).bm25(np.array(list(query.values())), is_binary=is_binary)
    assert scores == pytest.approx(reference(documents, query, is_binary=is_binary), rel=1e-12)
    assert scores.shape == (len(documents),)


@pytest.mark.parametrize("seed", range(5))
def test_coverage_and_the_rarest_word(seed: int) -> None:
    """Each is that of the words that a document has."""
    documents, words = drawn(seed), [0, 3, 7, 19, 500]
    total = sum(rarity(documents, word) for word in words)
    found = [[rarity(documents, word) for word in words if word in document] for document in documents]
    assert hits(documents, words).coverage() == pytest.approx([sum(each) / total for each in found])
    most = math.log(len(documents) + 1)
    assert hits(documents, words).rarest() == pytest.approx([max(each, default=0) / most for each in found])


def test_where_nothing_is_nothing_matches() -> None:
    """No documents, empty ones, a query without words, and one of unknown words have scores of 0."""
    nothing = np.zeros(0, np.uint32)
    for documents, words in (([], [1]), ([], []), ([[], []], [1]), ([[1], [2, 2]], []), ([[1], [2, 2]], [9])):
        found = Postings.of(documents).hits(np.array(words, np.uint32))
        weights = np.ones(len(words))
        for scores in (found.bm25(weights), found.bm25(weights, is_binary=True), found.coverage(), found.rarest()):
            assert scores.tolist() == [0.0] * len(documents)
            assert scores.dtype == np.float64
    assert Postings.joined([]).hits(nothing).bm25(np.zeros(0)).tolist() == []


def test_counts_are_kept_up_to_255() -> None:
    """More of a word says no more; the words of a document are counted alike."""
    found = Postings.of([[7] * 1_000, [7] * 255, [8]])
    assert found.counts.tolist() == [255, 255, 1]
    assert found.lengths.tolist() == [255.0, 255.0, 1.0]


def test_numbers_of_words_fill_32_bits() -> None:
    """The largest number is a word as any other, and no word is taken for its neighbour."""
    most = 2**32 - 1
    found = Postings.of([[most, 1], [most - 1]])
    assert found.hits(np.array([1, most], np.uint32)).documents.tolist() == [0, 0]
    assert found.words.dtype == np.uint32


@pytest.mark.parametrize("seed", range(3))
def test_parts_join_to_the_whole(seed: int) -> None:
    """Also where parts are empty."""
    documents = drawn(seed)
    pieces: list[list[list[int]]] = [documents[:7], [], documents[7:8], [[]], documents[8:]]
    parts = [Postings.of(piece) for piece in pieces]
    whole, joined = Postings.of([*documents[:8], [], *documents[8:]]), Postings.joined(parts)
    assert joined.n_documents == whole.n_documents
    for column in ("words", "documents", "counts"):
        one, other = getattr(joined, column), getattr(whole, column)
        assert one.tolist() == other.tolist()
        assert one.dtype == other.dtype


@pytest.mark.parametrize("seed", range(3))
def test_some_documents_are_as_if_they_were_all(seed: int) -> None:
    """Rarity and lengths are then of those alone."""
    documents = drawn(seed)
    is_taken = np.array([at % 3 > 0 for at in range(len(documents))])
    taken = Postings.of(documents).take(is_taken)
    whole = Postings.of([one for at, one in enumerate(documents) if at % 3 > 0])
    assert (taken.n_documents, taken.documents.tolist()) == (whole.n_documents, whole.documents.tolist())
    assert (taken.words.tolist(), taken.counts.tolist()) == (whole.words.tolist(), whole.counts.tolist())
    assert Postings.of(documents).take(np.zeros(len(documents), np.bool_)).n_documents == 0
