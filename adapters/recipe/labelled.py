"""Mined tasks as labelled tasks: what is tuned on, and what quality is measured on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.recipe.mine import LABELS, OWN, Mined, View
from cascade.evaluation.dataset import Labelled
from cascade.evidence.making import Evidence
from cascade.evidence.ranker import Ranker
from cascade.evidence.signals import Columns
from cascade.items import Group, Item, Task


def evidence_of(view: View, ranker: Ranker) -> Evidence:
    """The evidence of a mined view, whose signals are kept in half precision."""
    exact = replace(view, symbols=_exact(view.symbols), files=_exact(view.files))
    return Evidence(exact, ranker)  # type: ignore[arg-type]  # a view stands in for signals


def _exact(columns: Columns) -> Columns:
    return {name: values.astype(np.float64) for name, values in columns.items()}


def symbol_items(view: View, evidence: Evidence, chosen: NDArray[np.int64]) -> list[Item]:
    """Items of some symbols of a view; those of one's own are as they were given, with their evidence."""
    items = evidence.symbol_items(chosen)
    if view.name not in OWN:
        return items
    given = [(at, view.corpus.symbols[at].signature) for at in chosen.tolist()]
    return [
        replace(item, id=f"{at}::{item.id}", signature=signature, group=_named(item.group))
        for item, (at, signature) in zip(items, given, strict=True)
    ]


def _named(group: Group | None) -> Group | None:
    """A group that the caller named, and not the one that holds all items without one."""
    return group if group is not None and group.name else None


def labelled_symbols(mined: Mined, view: View, ranker: Ranker, *, most: int | None) -> Labelled:
    """Symbols of a view with their labels; one whose label nobody read counts as excluded.

    Args:
        mined: The task.
        view: How it was asked.
        ranker: What says from signals how likely a symbol matters.
        most: How many of the likeliest are taken; None for those whose labels were read.
    """
    evidence = evidence_of(view, ranker)
    chosen = np.flatnonzero(view.is_labelled) if most is None else evidence.best_symbols(most)
    return Labelled(
        task=Task(text=mined.text, seeds=view.seeds),
        items=tuple(symbol_items(view, evidence, chosen)),
        labels=tuple(LABELS[view.labels[at]] for at in chosen.tolist()),
        repository=mined.id.partition(":")[0],
    )


def labelled_files(mined: Mined, view: View, ranker: Ranker) -> Labelled:
    """Files of a view that a tier finds, with their labels."""
    evidence = evidence_of(view, ranker)
    chosen = [at for at, path in enumerate(view.corpus.paths) if path in view.records]
    paths = [view.corpus.paths[at] for at in chosen]
    return Labelled(
        task=Task(text=mined.text, seeds=view.seeds),
        items=tuple(evidence.file_items(chosen, view.records)),
        labels=tuple("relevant" if path in view.changed else "irrelevant" for path in paths),
        repository=mined.id.partition(":")[0],
    )


def write_rows(labelled: Iterable[Labelled], path: Path) -> None:
    """Writes labelled tasks in the ``items`` format, one a line."""
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(_row(one, number)) + "\n" for number, one in enumerate(labelled, 1))


def _row(one: Labelled, number: int) -> dict[str, Any]:
    items = [
        {name: value for name, value in asdict(item).items() if value not in ("", None, ())} | {"label": label}
        for item, label in zip(one.items, one.labels, strict=True)
    ]
    seeds = list(one.task.seeds)
    return {"id": str(number), "repository": one.repository, "task": one.task.text, "seeds": seeds, "items": items}
