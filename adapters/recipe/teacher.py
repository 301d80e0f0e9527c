"""Soft targets: what boosted trees on the same evidence say of every training row.

A yes is rare and the labels are noisy, so one row tells little; the trees' probability tells much
more. The model learns from a mixture of both, and has the text besides, which the trees never see.
Every target is out of sample: the trees fitted to one half of the tasks answer for the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from adapters.recipe.baselines import features_of, fit
from cascade.evaluation.commits import CommitTask
from cascade.tree import Cascade

FOLDS = 2
Soft = list[list[tuple[float, ...]]]
"""Of one task: for each cascade, for each row, p(yes) of each question asked."""


def soft_targets(tasks: Iterable[CommitTask], cascades: Mapping[str, Cascade]) -> list[Soft]:
    """The trees' p(yes) for every row of every task, in the order of the tries."""
    facts: list[dict[str, float]] = []
    asked: dict[str, list[tuple[int, bool, int]]] = {}  # question -> (row of facts, truth, task)
    shape: list[list[list[list[tuple[str, int]]]]] = []  # where each answer goes
    for number, task in enumerate(tasks):
        both = (
            ("precision", task.symbol_items(), task.symbol_labels),
            ("scope", task.file_items(), task.file_labels),
        )
        places: list[list[list[tuple[str, int]]]] = []
        for name, items, truths in both:
            rows = []
            for item, label in zip(items, truths, strict=True):
                facts.append(features_of(item))
                row = []
                for stage, truth in cascades[name].truths(label):
                    for tier in stage.tiers_of(item):
                        entries = asked.setdefault(stage.question(tier).marker, [])
                        row.append((stage.question(tier).marker, len(entries)))
                        entries.append((len(facts) - 1, truth, number))
                if row:
                    rows.append(row)
            places.append(rows)
        shape.append(places)
    names = sorted({name for entry in facts[:50_000] for name in entry})
    table = np.array([[entry.get(name, 0.0) for name in names] for entry in facts], np.float32)
    del facts
    p = {question: _predicted(table, entries) for question, entries in asked.items()}
    return [
        [[tuple(float(p[question][at]) for question, at in row) for row in rows] for rows in places] for places in shape
    ]


def _predicted(table: np.ndarray, entries: list[tuple[int, bool, int]]) -> np.ndarray:
    rows, truths, tasks = (np.array(column) for column in zip(*entries, strict=True))
    found = np.empty(len(rows))
    for fold in range(FOLDS):
        held_out = tasks % FOLDS == fold
        model = fit(table[rows[~held_out]], truths[~held_out])
        found[held_out] = model.predict_proba(table[rows[held_out]])[:, 1]
    return found
