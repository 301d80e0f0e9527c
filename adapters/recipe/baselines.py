"""What the adapters are measured against: single signals, and boosted trees on the same evidence.

    python -m adapters.recipe.baselines --data DIR [--json OUT]

Trees are fitted on train/ and scored on dev/; the rows of a question are those whose truth decides
its answer, as in ``cascade evaluate``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from adapters.recipe.tasks import WITHIN_CLASSES, read_tasks
from cascade.config.schema import read_config
from cascade.evaluation.commits import CommitTask
from cascade.evaluation.metrics import auc, auc_per_task
from cascade.items import Item
from cascade.tree import Cascade

_FACT = re.compile(r"([a-z]+)(\d+)$")
_KINDS = ("function", "method", "class", "file")
Signals = dict[str, Callable[[Item, "Row"], float]]


@dataclass(frozen=True, slots=True)
class Row:
    """An item of a labelled task with what single signals need."""

    item: Item
    label: str
    seed: str
    lines: int
    co_change_ratio: float


@dataclass(slots=True)
class Table:
    """Rows of one question."""

    tasks: list[int] = field(default_factory=list)
    facts: list[dict[str, float]] = field(default_factory=list)
    signals: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    truths: list[bool] = field(default_factory=list)


def features_of(item: Item) -> dict[str, float]:
    """The item's evidence as numbers: a digit after a word is its size, a list of hits its length."""
    found = {f"kind {kind}": float(item.kind == kind) for kind in _KINDS}
    found |= {f"tier {tier}": 1.0 for tier in item.tiers}
    name = item.name.rpartition(".")[2]
    found["private"] = float(name.startswith("_")) + float(name.startswith("__"))
    found["documented"] = float(bool(item.doc))
    found["parameters"] = float(item.signature.count(","))
    for prefix, evidence in (("", item.evidence), ("group ", item.group.evidence if item.group else ())):
        for fact in evidence:
            sized = _FACT.match(fact)
            words = fact.split()
            if sized:
                found[prefix + sized[1]] = float(sized[2]) + 1
            else:
                found[prefix + words[0]] = float(max(1, len(words) - 1))
    return found


SIGNALS: Signals = {
    "lexical overlap": lambda item, _: features_of(item).get("match", 0.0) * 10 + features_of(item).get("covers", 0.0),
    "in the seed file": lambda _, row: float(row.item.group is not None and row.item.group.name == row.seed),
    "line count": lambda _, row: float(row.lines),
    "co-change ratio": lambda _, row: row.co_change_ratio,
    "is no class": lambda item, _: float(item.kind != "class"),
}


def rows_of(task: CommitTask) -> Iterator[tuple[str, Row]]:
    """(cascade, row) of every symbol and file."""
    for item, symbol in zip(task.symbol_items(), task.symbols, strict=True):
        yield "precision", Row(item, symbol.label, task.seed, symbol.lines, 0.0)
    for item, label, file in zip(task.file_items(), task.file_labels, task.files, strict=True):
        yield "scope", Row(item, label, task.seed, 0, file.record().co_change_ratio)


def tables(tasks: Iterator[CommitTask], cascades: dict[str, Cascade], every: int) -> dict[str, Table]:
    """The rows of every question, from every so many tasks."""
    found: dict[str, Table] = defaultdict(Table)
    for number, task in enumerate(tasks):
        if number % every:
            continue
        for name, row in rows_of(task):
            facts = features_of(row.item)
            for question, truth in _asked(cascades[name], row):
                table = found[question]
                table.tasks.append(number)
                table.facts.append(facts)
                table.truths.append(truth)
                for signal, score in SIGNALS.items():
                    table.signals[signal].append(score(row.item, row))
    return found


def _asked(cascade: Cascade, row: Row) -> Iterator[tuple[str, bool]]:
    for stage, truth in cascade.truths(row.label):
        if stage.is_tiered:
            yield "files, all tiers", truth
            yield from ((stage.question(tier).marker, truth) for tier in row.item.tiers)
            continue
        yield stage.name, truth
        if stage.name == "supporting" and row.item.kind == "class":
            yield WITHIN_CLASSES, truth


def boosted(train: Table, dev: Table) -> np.ndarray:
    """p(yes) of the rows of ``dev`` by trees fitted to ``train``."""
    names = sorted({name for facts in train.facts for name in facts})
    found: np.ndarray = fit(_matrix(train, names), np.array(train.truths)).predict_proba(_matrix(dev, names))[:, 1]
    return found


def fit(table: np.ndarray, truths: np.ndarray) -> HistGradientBoostingClassifier:
    """Boosted trees on evidence as numbers."""
    model = HistGradientBoostingClassifier(
        max_iter=200, learning_rate=0.06, max_leaf_nodes=31, min_samples_leaf=100, random_state=0
    )
    return model.fit(table, truths)


def _matrix(table: Table, names: Sequence[str]) -> np.ndarray:
    return np.array([[facts.get(name, 0.0) for name in names] for facts in table.facts], np.float32)


def main() -> None:
    """Print a table of AUCs, pooled and per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=Path("adapters/map.toml"))
    parser.add_argument("--every", type=int, default=3, help="fit the trees to every so many tasks")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cascades = read_config(options.config).cascades()
    found = {
        group: tables(read_tasks(sorted((options.data / group).glob("*.gz"))), cascades, every)
        for group, every in (("train", options.every), ("dev", 1))
    }
    figures = {}
    print("| question | rows | base rate | signal | AUC over rows | AUC per task |\n|---|--:|--:|---|--:|--:|")
    for question, dev in found["dev"].items():
        scores = dict(dev.signals) | {"boosted trees": boosted(found["train"][question], dev)}
        rate = float(np.mean(dev.truths))
        for signal, values in scores.items():
            pooled, per_task = auc(values, dev.truths), auc_per_task(values, dev.truths, dev.tasks)
            figures[f"{question}: {signal}"] = {"auc_over_rows": pooled, "auc_per_task": per_task}
            print(
                f"| {question} | {len(dev.truths)} | {rate:.3f} | {signal} | {pooled:.3f} | {per_task:.3f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
