"""Sets of files as items: what a retrieval stage finds, or what a folder holds. Pure."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cascade.evidence.making import Evidence
from cascade.evidence.records import FileRecord
from cascade.evidence.signals import Columns
from cascade.evidence.wording import file_facts, odds_facts
from cascade.items import Item
from cascade.probability import Array, finite_logit, p_yes

STAGES = {
    "dependency": "Files that the seeds import, or that import them.",
    "co_change": "Files that earlier commits changed together with the seeds.",
    "metadata": "Files that have words of the task in their text, path or history.",
}
"""Retrieval stage -> what it finds."""

ROOT = "."
"""Name of the folder at the top."""

MOST_FOLDERS = 40
"""Folders that are asked about, the likeliest first."""

_MOST_NAMES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """Files that are asked about as one.

    Attributes:
        name: Its name, such as a folder's path.
        kind: What it is: ``stage`` or ``folder``.
        doc: What its files have in common.
        files: Their numbers.
    """

    name: str
    kind: str
    doc: str = ""
    files: tuple[int, ...] = ()


def stage_sets(evidence: Evidence, records: Mapping[str, FileRecord]) -> list[FileSet]:
    """What each retrieval stage finds.

    Args:
        evidence: What is known of all files.
        records: Path -> what is shown of a file, and the stages that found it.
    """
    paths = evidence.signals.corpus.paths
    return [
        FileSet(
            name=name,
            kind="stage",
            doc=doc,
            files=tuple(at for at, path in enumerate(paths) if path in records and name in records[path].tiers),
        )
        for name, doc in STAGES.items()
    ]


def folder_sets(evidence: Evidence) -> list[FileSet]:
    """The folders in which files lie, each with those that lie in it and in no folder of it; the likeliest 40."""
    found: dict[str, list[int]] = defaultdict(list)
    for at, path in enumerate(evidence.signals.corpus.paths):
        found[folder_of(path)].append(at)
    sets = [FileSet(name=name, kind="folder", files=tuple(files)) for name, files in sorted(found.items())]
    best = np.argsort(-set_odds(evidence, sets), kind="stable")[:MOST_FOLDERS]
    return [sets[at] for at in best.tolist()]


def folder_of(path: str) -> str:
    """The folder that a file lies in."""
    return posixpath.dirname(path) or ROOT


def set_odds(evidence: Evidence, sets: Sequence[FileSet]) -> Array:
    """Log odds that any file of each set matters, were the files independent; (n,)."""
    p = p_yes(evidence.file_odds)
    return finite_logit([1 - float(np.prod(1 - p[list(one.files)])) for one in sets])


def set_columns(signals: Columns, sets: Sequence[FileSet]) -> Columns:
    """Signal of files -> the best of each set; 0 for a set without files; ``n_symbols`` counts the files; (n,)."""
    chosen = [list(one.files) for one in sets]
    found = {}
    for name, values in signals.items():
        best = np.min if name == "never" or name.endswith("_rank") else np.max
        found[name] = np.array([float(best(values[files])) if files else 0.0 for files in chosen])
    return found | {"n_symbols": np.log1p([float(len(files)) for files in chosen])}


def set_items(evidence: Evidence, sets: Sequence[FileSet]) -> list[Item]:
    """Sets of files as items, in order: each is told by the best that is known of its files, which it names."""
    odds = set_odds(evidence, sets)
    matters = odds_facts("matters", odds)
    facts = file_facts(set_columns(evidence.signals.files, sets), range(len(sets)))
    return [
        Item(
            id=one.name,
            kind=one.kind,
            name=one.name,
            signature=" ".join(posixpath.basename(evidence.signals.corpus.paths[at]) for at in best_of(evidence, one)),
            doc=one.doc,
            evidence=(said, *others),
            priority=prior,
            prior=prior,
        )
        for one, said, others, prior in zip(sets, matters, facts, p_yes(odds).tolist(), strict=True)
    ]


def best_of(evidence: Evidence, one: FileSet, most: int = _MOST_NAMES) -> list[int]:
    """Numbers of a set's likeliest files."""
    odds = evidence.file_odds
    return sorted(one.files, key=lambda at: (-odds[at], at))[:most]
