"""The three tiers of scope candidates: who finds a file, and which files come first. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath

from cascade.repository.git import CoChanges
from cascade.repository.outline import Outline
from cascade.evidence.records import FileRecord
from cascade.evidence.words import stem, telling_words

MAX_FILES = 40
_TOP = 15  # files of the co_change and of the metadata tier
_MAX_SYMBOLS = 12
_MAX_HITS = 8
_MIN_WORD = 3
_PATH_WEIGHT = 2
_SATURATION, _LENGTH_WEIGHT = 1.2, 0.75  # BM25's usual k1 and b; source: Robertson and Zaragoza, 2009


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """What ties files to the seeds.

    Attributes:
        imported: Files that a seed imports.
        importers: Files that import a seed.
        together: Files that changed together with a seed.
    """

    imported: frozenset[str] = frozenset()
    importers: frozenset[str] = frozenset()
    together: CoChanges = field(default_factory=CoChanges)


@dataclass(frozen=True, slots=True, kw_only=True)
class WordMatch:
    """How well files match the words of a task.

    Attributes:
        scores: Path -> BM25 score, above 0; a file without a hit is missing.
        hits: Path -> the task's words found in it, in the task's order.
    """

    scores: Mapping[str, float]
    hits: Mapping[str, tuple[str, ...]]


def match_words(text: str, candidates: Mapping[str, Outline]) -> WordMatch:
    """BM25 of a task's words against each file's path and top-level names.

    Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009.
    """
    words = {key: word for key, word in telling_words(text).items() if len(word) >= _MIN_WORD}
    terms = {path: _terms(path, outline) for path, outline in candidates.items()}
    total = len(terms)
    frequency = Counter(word for has in terms.values() for word in words if word in has)
    telling = [word for word in words if frequency[word] <= max(3, total // 2)]  # not the package's own name
    hits = {path: found for path, has in terms.items() if (found := [word for word in telling if word in has])}
    lengths = {path: sum(has.values()) for path, has in terms.items()}
    average = sum(lengths.values()) / max(1, total)
    scores: dict[str, float] = {}
    for path, found in hits.items():
        norm = _SATURATION * (1 - _LENGTH_WEIGHT + _LENGTH_WEIGHT * lengths[path] / average)
        scores[path] = sum(
            math.log(1 + (total - frequency[word] + 0.5) / (frequency[word] + 0.5))
            * (terms[path][word] * (_SATURATION + 1) / (terms[path][word] + norm))
            for word in found
        )
    return WordMatch(
        scores=scores, hits={path: tuple(words[word] for word in found[:_MAX_HITS]) for path, found in hits.items()}
    )


def rank_files(text: str, candidates: Mapping[str, Outline], ties: Ties) -> list[FileRecord]:
    """The files that a tier finds, at most 40, the strongest evidence first.

    Args:
        text: The task in plain words.
        candidates: Every source file but the seeds, with its outline.
        ties: What ties them to the seeds.
    """
    words = match_words(text, candidates)
    counts = {path: count for path, count in ties.together.counts.items() if path in candidates}
    tiers = _tiers(candidates, ties, words, counts)
    found: dict[str, list[str]] = defaultdict(list)
    for tier, paths in tiers.items():
        for path in paths:
            found[path].append(tier)
    best_score = max(words.scores.values(), default=1.0)
    best_count = max(counts.values(), default=1)

    def strength(path: str) -> float:
        linked = 1.0 * (path in ties.imported) + 0.4 * (path in ties.importers)
        return linked + words.scores.get(path, 0.0) / best_score + counts.get(path, 0) / best_count

    return [
        FileRecord(
            path=path,
            doc=candidates[path].doc,
            symbols=tuple(sorted(candidates[path].tops, key=lambda name: name.startswith("_"))[:_MAX_SYMBOLS]),
            tiers=tuple(found[path]),
            imports_seed=path in ties.importers,
            imported_by_seed=path in ties.imported,
            co_changes=counts.get(path, 0),
            seed_changes=ties.together.seed_changes,
            keyword_hits=words.hits.get(path, ()),
        )
        for path in sorted(_in_turns(list(tiers.values())), key=lambda path: (-strength(path), path))
    ]


def _tiers(
    candidates: Mapping[str, Outline], ties: Ties, words: WordMatch, counts: Mapping[str, int]
) -> dict[str, list[str]]:
    """Each tier's files, its best first."""
    linked = (ties.imported | ties.importers) & candidates.keys()
    return {
        "dependency": sorted(
            linked,
            key=lambda path: (path not in ties.imported, -words.scores.get(path, 0.0), -counts.get(path, 0), path),
        ),
        "co_change": sorted(counts, key=lambda path: (-counts[path], path))[:_TOP],
        "metadata": sorted(words.scores, key=lambda path: (-words.scores[path], path))[:_TOP],
    }


def _in_turns(queues: list[list[str]]) -> list[str]:
    """The first 40 files when the tiers take turns, each giving its best that is not taken yet."""
    taken: dict[str, None] = {}
    waiting = [iter(queue) for queue in queues]
    while waiting and len(taken) < MAX_FILES:
        for queue in list(waiting):
            path = next((path for path in queue if path not in taken), None)
            if path is None:
                waiting.remove(queue)
            elif len(taken) < MAX_FILES:
                taken[path] = None
    return list(taken)


def _terms(path: str, outline: Outline) -> Counter[str]:
    """Stem -> weight: words of the path count double, each top-level name adds its words."""
    terms = Counter(dict.fromkeys(_words(str(PurePosixPath(path).with_suffix(""))), _PATH_WEIGHT))
    for name in outline.tops:
        terms.update(_words(name))
    return terms


@lru_cache(maxsize=100_000)
def _words(text: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in telling_words(text).values() if len(word) >= _MIN_WORD)
