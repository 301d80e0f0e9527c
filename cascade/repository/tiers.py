"""The three tiers of scope candidates: who finds a file, and which files come first. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from cascade.evidence.history import CoChanges, History
from cascade.evidence.records import FileRecord
from cascade.evidence.signals import Columns
from cascade.evidence.ties import Ties
from cascade.repository.imports import ImportGraph
from cascade.repository.outline import Outline

MAX_FILES = 40
_TOP = 15  # files of the co_change and of the metadata tier
_MAX_SYMBOLS = 12
_MATCH = {"words_share": 0.35, "top_share": 0.35, "path_share": 0.2, "history_share": 0.1}  # add up to 1


def ties_to(seeds: Sequence[str], paths: Collection[str], graph: ImportGraph, history: History | None) -> Ties:
    """What ties files to those that the work starts from.

    Args:
        seeds: The files that the work starts from.
        paths: All files that were read.
        graph: Who imports whom.
        history: Earlier commits; None where there are none.
    """
    if not seeds:
        return Ties()
    wanted = frozenset(seeds)
    together = history.together(wanted) if history is not None else CoChanges(counts={})
    return Ties(
        seeds=tuple(seeds),
        imported=frozenset().union(*map(graph.targets, seeds)),
        importers=frozenset(path for path in paths if path not in wanted and graph.targets(path) & wanted),
        together=together.counts,
        seed_changes=together.seed_changes,
    )


def rank_files(paths: Sequence[str], signals: Columns, ties: Ties, outlines: Mapping[str, Outline]) -> list[FileRecord]:
    """The files that a tier finds, at most 40, the strongest evidence first.

    Args:
        paths: The files; (f,).
        signals: What ties each of them to the task; see ``cascade.evidence.signals``.
        ties: What ties them to the seeds, which are none of those found.
        outlines: What each file tells about itself.
    """
    scores = np.stack([weight * signals[name] for name, weight in _MATCH.items()]).sum(axis=0).tolist()
    matches = {path: score for path, score in zip(paths, scores, strict=True) if score > 0 and path not in ties.seeds}
    paths = [path for path in paths if path not in ties.seeds]
    counts = {path: count for path, count in ties.together.items() if path in outlines and path not in ties.seeds}
    tiers = _tiers(paths, ties, matches, counts)
    found: dict[str, list[str]] = defaultdict(list)
    for tier, several in tiers.items():
        for path in several:
            found[path].append(tier)
    most = max(counts.values(), default=1)

    def strength(path: str) -> float:
        linked = 1.0 * (path in ties.imported) + 0.4 * (path in ties.importers)
        return float(linked + matches.get(path, 0.0) + counts.get(path, 0) / most)

    return [
        replace(
            file_record(path, outlines[path]),
            tiers=tuple(found[path]),
            imports_seed=path in ties.importers,
            imported_by_seed=path in ties.imported,
            co_changes=counts.get(path, 0),
            seed_changes=ties.seed_changes,
        )
        for path in sorted(_in_turns(list(tiers.values())), key=lambda path: (-strength(path), path))
    ]


def file_record(path: str, outline: Outline) -> FileRecord:
    """What is shown of a file, without its ties."""
    names = sorted(outline.tops, key=lambda name: name.startswith("_"))
    return FileRecord(path=path, doc=outline.doc, symbols=tuple(names[:_MAX_SYMBOLS]))


def _tiers(
    paths: Sequence[str], ties: Ties, matches: Mapping[str, float], counts: Mapping[str, int]
) -> dict[str, list[str]]:
    """Each tier's files, its best first."""
    linked = (ties.imported | ties.importers) & set(paths)
    return {
        "dependency": sorted(
            linked, key=lambda path: (path not in ties.imported, -matches.get(path, 0.0), -counts.get(path, 0), path)
        ),
        "co_change": sorted(counts, key=lambda path: (-counts[path], path))[:_TOP],
        "metadata": sorted(matches, key=lambda path: (-matches[path], path))[:_TOP],
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
