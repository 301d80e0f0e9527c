"""Mined tasks as labelled tasks of the further cascades: routing, refilter, module and edge."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from adapters.recipe.labelled import evidence_of
from adapters.recipe.mine import Mined, View
from adapters.recipe.parts import MinedEdges
from cascade.evaluation.dataset import Labelled
from cascade.evidence.edges import edge_item
from cascade.evidence.making import Evidence
from cascade.evidence.own import own_evidence
from cascade.evidence.ranker import Ranker
from cascade.evidence.records import FileRecord
from cascade.evidence.sets import FileSet, folder_of, folder_sets, set_items, stage_sets
from cascade.evidence.signals import Columns
from cascade.evidence.wording import edge_facts
from cascade.items import Item, Task

CHECKOUT = ("none", "right", "wrong")
"""Views of a checkout, after the file to start from."""

_FOUND = 15  # files of a stage of one's own
_OWN_STAGES: dict[str, tuple[str, Callable[[Columns], np.ndarray]]] = {
    "same_folder": ("Files in the folder of a file that the work starts from.", lambda files: files["beside"]),
    "similar_names": ("Files whose names are like those of the seeds.", lambda files: files["alike"]),
    "recently_changed": ("Files that were changed often in the last commits.", lambda files: files["churn"]),
    "matching_commits": ("Files of earlier commits whose messages are like the task.", lambda f: f["history_share"]),
    "matching_paths": ("Files whose paths have words of the task.", lambda files: files["path_share"]),
    "named_code": ("Files with a function or class that the task names.", lambda files: files["named"]),
    "text_search": ("A full-text search for the words of the task.", lambda files: files["words_share"]),
}
"""A stage that a caller may list -> its description, and what orders the files that it finds."""

HELD_OUT = "matching_commits"
"""A stage that is never trained on, to see what a new description does."""

_SAID_OTHERWISE = {
    "dependency": "The import graph around the files that the work starts from.",
    "co_change": "What the history changed in the same commits as the seeds.",
    "metadata": "A search for the task's words in text, paths and messages of commits.",
}


def labelled_stages(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """Retrieval stages: does each find a file that the commit changed, beside the seeds?"""
    evidence = evidence_of(view, ranker)
    sets = stage_sets(evidence, view.records)
    return _labelled(mined, view, set_items(evidence, sets), [_finds(view, one.files) for one in sets], ("out", "in"))


def labelled_own_stages(mined: Mined, view: View, ranker: Ranker, *, unseen: bool = False) -> Labelled:
    """The same of stages that a caller lists, of which nothing is known but a description.

    Args:
        mined: The task.
        view: How it was asked.
        ranker: What says from signals how likely a file matters.
        unseen: Whether the stage is among them that is never trained on.
    """
    evidence, rng = evidence_of(view, ranker), random.Random(mined.id)
    sets = [
        replace(one, doc=rng.choice((one.doc, _SAID_OTHERWISE[one.name]))) for one in stage_sets(evidence, view.records)
    ]
    sets += [_own_stage(name, view) for name in _OWN_STAGES if unseen or name != HELD_OUT]
    found = [Item(id=one.name, kind="stage", name=one.name, doc=one.doc) for one in sets]
    task = Task(text=mined.text, seeds=view.seeds)
    items = own_evidence(task, found, ranker)
    return _labelled(mined, view, items, [_finds(view, one.files) for one in sets], ("out", "in"))


def _own_stage(name: str, view: View) -> FileSet:
    doc, order = _OWN_STAGES[name]
    scores = order(view.files).astype(np.float64)
    seeds = set(view.seeds)
    best = [at for at in np.argsort(-scores, kind="stable").tolist() if view.corpus.paths[at] not in seeds]
    return FileSet(name=name, kind="stage", doc=doc, files=tuple(at for at in best[:_FOUND] if scores[at] > 0))


def _finds(view: View, files: Sequence[int]) -> bool:
    return any(view.corpus.paths[at] in view.changed for at in files)


def labelled_kept(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """Files that a tier finds: was each changed, or used by what was?"""
    evidence = evidence_of(view, ranker)
    chosen = _found(view)
    return _labelled(mined, view, evidence.file_items(chosen, view.records), _needed(view, chosen), _KEPT)


def labelled_own_files(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """The same of a caller's files, of which nothing is known but names and documentation."""
    chosen = _found(view)
    records = [view.records[view.corpus.paths[at]] for at in chosen]
    found = [
        Item(id=one.path, kind="file", name=one.path, signature=" ".join(one.symbols), doc=one.doc) for one in records
    ]
    items = own_evidence(Task(text=mined.text, seeds=view.seeds), found, ranker)
    return _labelled(mined, view, items, _needed(view, chosen), _KEPT)


_KEPT = ("dropped", "kept")


def _found(view: View) -> list[int]:
    return [at for at, path in enumerate(view.corpus.paths) if path in view.records]


def _needed(view: View, chosen: Sequence[int]) -> list[bool]:
    """Whether each file was changed or has a symbol that matters."""
    files = view.corpus.files[np.flatnonzero(view.labels > 0)]
    used = {view.corpus.paths[at] for at in files.tolist()} | view.changed
    return [view.corpus.paths[at] in used for at in chosen]


def labelled_folders(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """Folders: did the commit change a file in each?"""
    evidence = evidence_of(view, ranker)
    sets = folder_sets(evidence)
    return _labelled(mined, view, set_items(evidence, sets), _touched(view, sets), _TOUCHED)


def labelled_own_folders(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """The same of a caller's folders, of which nothing is known but the names of their files."""
    evidence: Evidence = evidence_of(view, ranker)
    sets = folder_sets(evidence)
    made = set_items(evidence, sets)
    rng = random.Random(mined.id)
    found = [replace(one, evidence=(), prior=None, priority=0.0, signature=_some(one.signature, rng)) for one in made]
    items = own_evidence(Task(text=mined.text, seeds=view.seeds), found, ranker)
    return _labelled(mined, view, items, _touched(view, sets), _TOUCHED)


_TOUCHED = ("untouched", "touched")


def _some(names: str, rng: random.Random) -> str:
    """The names in the order of the alphabet, or none: a caller does not know which are the likeliest."""
    return " ".join(sorted(names.split())) if rng.random() < 0.5 else ""


def _touched(view: View, sets: Sequence[FileSet]) -> list[bool]:
    touched = {folder_of(path) for path in view.changed}
    return [one.name in touched for one in sets]


def labelled_edges(mined: MinedEdges) -> Labelled:
    """Pairs of changed files of a checkout: does the first depend on the second after the commit?"""
    facts = edge_facts(mined.columns, range(len(mined.columns["imports"])))
    items = [
        edge_item(first, second, tuple(said)) for (first, second), said in zip(_pairs(mined.before), facts, strict=True)
    ]
    return _labelled_edges(mined, items, mined.before)


def labelled_own_edges(mined: MinedEdges, ranker: Ranker) -> Labelled:
    """The same of parts of a plan, of which nothing is known but names and documentation."""
    found = [edge_item(first, second) for first, second in _pairs(mined.after)]
    return _labelled_edges(mined, own_evidence(Task(text=mined.text), found, ranker), mined.after)


def _pairs(parts: Sequence[FileRecord]) -> Iterator[tuple[FileRecord, FileRecord]]:
    return ((first, second) for first in parts for second in parts if first is not second)


def _labelled_edges(mined: MinedEdges, items: Sequence[Item], parts: Sequence[FileRecord]) -> Labelled:
    truths = ((first.path, second.path) in mined.depends for first, second in _pairs(parts))
    return Labelled(
        task=Task(text=mined.text),
        items=tuple(items),
        labels=tuple("depends" if truth else "independent" for truth in truths),
        repository=mined.id.partition(":")[0],
    )


def _labelled(
    mined: Mined, view: View, items: Sequence[Item], truths: Sequence[bool], labels: tuple[str, str]
) -> Labelled:
    return Labelled(
        task=Task(text=mined.text, seeds=view.seeds),
        items=tuple(items),
        labels=tuple(labels[truth] for truth in truths),
        repository=mined.id.partition(":")[0],
    )


Labeller = Callable[[Mined, View, Ranker], Labelled]
MADE: dict[str, tuple[Labeller, Labeller]] = {
    "routing": (labelled_stages, labelled_own_stages),
    "refilter": (labelled_kept, labelled_own_files),
    "module": (labelled_folders, labelled_own_folders),
}
"""Cascade -> what labels the candidates of a checkout, and items of one's own."""


def labelled_views(cascade: str, mined: Mined, ranker: Ranker) -> dict[str, Labelled]:
    """View -> a mined task as the items of a cascade; ``own`` is one of the views of a checkout, drawn by its id."""
    of_checkout, of_own = MADE[cascade]
    views = {view.name: view for view in mined.views if view.name in CHECKOUT and len(view.corpus.paths)}
    found = {name: of_checkout(mined, view, ranker) for name, view in views.items()}
    if views:
        found["own"] = of_own(mined, random.Random(mined.id).choice(list(views.values())), ranker)
    return {name: one for name, one in found.items() if one.items}


def to_tune_on(cascade: str, mined: Sequence[Mined], edges: Sequence[MinedEdges], ranker: Ranker) -> list[Labelled]:
    """Development tasks to tune a further cascade on: two of three are asked with no file, one with the right one."""
    if cascade == "edge":
        return [one for one in map(labelled_edges, edges) if one.items]
    of_checkout, _ = MADE[cascade]
    found = []
    for number, one in enumerate(mined):
        wanted = "right" if number % 3 == 2 else "none"
        found += [
            of_checkout(one, view, ranker) for view in one.views if view.name == wanted and len(view.corpus.paths)
        ]
    return [one for one in found if one.items]
