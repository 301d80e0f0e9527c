"""What the adapters are measured against: the ranker, single signals, and boosted trees on all signals.

    python -m adapters.recipe.baselines [--work DIR] [--view VIEW] [--every N]

Trees are fitted to the training tasks and scored on the development tasks; the rows of a question are those whose truth
decides its answer, as in ``cascade evaluate``.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from adapters.recipe.measure import VIEWS, WITHIN_CLASSES
from adapters.recipe.mine import LABELS, Mined, View, read_mined
from cascade.evaluation.metrics import auc, auc_per_task
from cascade.evidence.ranker import Ranker, shipped_ranker
from cascade.evidence.signals import Columns
from cascade.probability import Array

_PRIMARY, _SUPPORTING, _CONTEXT = (LABELS.index(label) for label in ("primary", "supporting", "type_context"))
SINGLE = {
    "words of the body": "body_share",
    "words of the name": "head_share",
    "in the seed file": "file_seed",
    "line count": "lines",
    "words of the file": "words_share",
    "co-change ratio": "ratio",
}
"""What a signal is called -> its column, of symbols or of files."""


@dataclass(slots=True)
class Table:
    """Rows of one question.

    Attributes:
        tasks: Number of the task of each; (n,).
        truths: Whether yes is right; (n,).
        signals: All signals, in the order of their names; (n, s).
        scores: What is compared -> its value for each; (n,).
    """

    tasks: list[NDArray[np.int64]] = field(default_factory=list)
    truths: list[NDArray[np.bool_]] = field(default_factory=list)
    signals: list[Array] = field(default_factory=list)
    scores: dict[str, list[Array]] = field(default_factory=lambda: defaultdict(list))

    def add(self, number: int, columns: Columns, chosen: Array, truths: Array, odds: Array) -> None:
        """Add some rows of a task's columns; ``truths`` and ``odds`` are those of all rows."""
        names = sorted(columns)
        self.tasks.append(np.full(len(chosen), number))
        self.truths.append(truths[chosen])
        self.signals.append(np.stack([columns[name][chosen].astype(np.float32) for name in names], axis=1))
        self.scores["ranker"].append(odds[chosen])
        for shown, name in SINGLE.items():
            if name in columns:
                self.scores[shown].append(columns[name][chosen].astype(np.float64))


def tables(tasks: Iterable[Mined], view: str, ranker: Ranker) -> dict[str, Table]:
    """The rows of every question in one view of the tasks."""
    found: dict[str, Table] = defaultdict(Table)
    for number, mined in enumerate(tasks):
        for seen in (one for one in mined.views if one.name == view and len(one.labels)):
            for question, columns, chosen, truths, odds in _asked(seen, ranker):
                found[question].add(number, columns, chosen, truths, odds)
    return found


def _asked(view: View, ranker: Ranker) -> Iterator[tuple[str, Columns, Array, Array, Array]]:
    """(question, columns, numbers of the rows asked, truth of all rows, log odds of all rows)."""
    odds, labels, read = ranker.symbols.log_odds(view.symbols), view.labels, view.is_labelled
    is_class = np.array([symbol.kind == "class" for symbol in view.corpus.symbols])
    used = read & np.isin(labels, (_SUPPORTING, _CONTEXT))
    for question, rows, truths, output in (
        ("relevant", read, labels > 0, 0),
        ("primary", read & (labels > 0), labels == _PRIMARY, 1),
        ("supporting", used, labels == _SUPPORTING, 1),
        (WITHIN_CLASSES, used & is_class, labels == _SUPPORTING, 1),
    ):
        yield question, view.symbols, np.flatnonzero(rows), truths, odds[:, output]
    if view.records:
        yield from _asked_files(view, ranker.files.log_odds(view.files)[:, 0])


def _asked_files(view: View, odds: Array) -> Iterator[tuple[str, Columns, Array, Array, Array]]:
    paths = view.corpus.paths
    truths = np.array([path in view.changed for path in paths])
    found = np.array([at for at, path in enumerate(paths) if path in view.records], np.int64)
    yield "files, all tiers", view.files, found, truths, odds
    for tier in ("dependency", "co_change", "metadata"):
        rows = np.array([at for at in found.tolist() if tier in view.records[paths[at]].tiers], np.int64)
        yield tier, view.files, rows, truths, odds


def boosted(train: Table, dev: Table) -> Array:
    """p(yes) of the rows of ``dev`` by trees fitted to ``train``."""
    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.06, max_leaf_nodes=31, min_samples_leaf=100, random_state=0
    )
    model.fit(np.concatenate(train.signals), np.concatenate(train.truths))
    found: Array = model.predict_proba(np.concatenate(dev.signals))[:, 1]
    return found


def main() -> None:
    """Print a table of AUCs, pooled and per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("adapters/.work"), help="as for the recipe")
    parser.add_argument("--view", choices=VIEWS, default="right", help="how the tasks are asked")
    parser.add_argument("--every", type=int, default=1, help="fit the trees to every so many tasks")
    options = parser.parse_args()
    ranker = shipped_ranker()
    train, dev = (
        tables(_every(sorted((options.work / "mined" / group).glob("*.pkl")), every), options.view, ranker)
        for group, every in (("train", options.every), ("dev", 1))
    )
    print("| question | rows | base rate | signal | AUC over rows | AUC per task |\n|---|--:|--:|---|--:|--:|")
    for question, table in dev.items():
        truths, tasks = np.concatenate(table.truths), np.concatenate(table.tasks)
        scores = {shown: np.concatenate(values) for shown, values in table.scores.items()}
        scores["boosted trees"] = boosted(train[question], table)
        for shown, values in scores.items():
            figures = f"{auc(values, truths):.3f} | {auc_per_task(values, truths, tasks):.3f}"
            print(f"| {question} | {len(truths)} | {truths.mean():.3f} | {shown} | {figures} |", flush=True)


def _every(paths: Sequence[Path], step: int) -> Iterator[Mined]:
    return (mined for number, mined in enumerate(read_mined(paths)) if number % step == 0)


if __name__ == "__main__":
    main()
