"""The further tasks on the development set: their adapters, the evidence alone, and a trivial order.

    python -m adapters.recipe.table [--work DIR] [--config FILE] [--every N] [--cascade NAME ...]

The evidence alone is what the ranker says, and boosted trees and a logistic model that are fitted on the training tasks
to the very words of evidence that the adapter reads. Precision and recall are those at the thresholds of the config,
recall as the mean of the tasks that have a yes.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression

from adapters.recipe.further import MADE, labelled_edges, labelled_own_edges, labelled_views
from adapters.recipe.mine import read_mined
from adapters.recipe.parts import read_parts
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import auc, auc_per_task
from cascade.evidence.ranker import Ranker, shipped_ranker
from cascade.items import Item
from cascade.probability import Array, Bools, Ints
from cascade.tree import Cascade

CASCADES = (*MADE, "edge")
_SIZED = re.compile(r"([a-z]+)(\d+)")
TRIVIAL = {
    "routing": ("the stage alone", lambda item: {"dependency": 0, "co_change": 1}.get(item.name, 2)),
    "refilter": ("words of the file", lambda item: words_of(item).get("file", 0)),
    "module": ("words of its files", lambda item: words_of(item).get("file", 0)),
    "edge": ("imports it before", lambda item: words_of(item).get("imports", 0)),
}
"""Cascade -> what a trivial order is called, and the order."""


def words_of(item: Item) -> dict[str, float]:
    """Word of evidence -> its size, 1 for one without a size."""
    found = {}
    for fact in item.evidence:
        sized = _SIZED.fullmatch(fact)
        found[sized[1] if sized else fact] = float(sized[2]) if sized else 1.0
    return found | ({f"stage {item.name}": 1.0} if item.kind == "stage" else {})


@dataclass(frozen=True, slots=True)
class Rows:
    """The items of some tasks in a row; n of them.

    Attributes:
        tasks: Number of the task of each; (n,).
        truths: Whether yes is right; (n,).
        items: The items.
    """

    tasks: Ints
    truths: Bools
    items: list[Item]

    @classmethod
    def of(cls, several: Sequence[Labelled], cascade: Cascade) -> Rows:
        """The rows of labelled tasks."""
        return cls(
            np.repeat(np.arange(len(several)), [len(one.items) for one in several]),
            np.array([label != cascade.dropped for one in several for label in one.labels], np.bool_),
            [item for one in several for item in one.items],
        )

    def figures(self, scores: Array) -> str:
        """AUC per task and over rows."""
        return f"{auc_per_task(scores, self.truths, self.tasks):.3f} | {auc(scores, self.truths):.3f}"

    def at(self, kept: Bools) -> str:
        """Precision over rows, and recall as the mean of the tasks with a yes."""
        n = int(self.tasks.max(initial=0)) + 1
        yes = np.bincount(self.tasks, self.truths, n)
        hit = np.bincount(self.tasks, self.truths & kept, n)
        recall = (hit[yes > 0] / yes[yes > 0]).mean()
        return f"{(self.truths & kept).sum() / max(1, kept.sum()):.3f} | {recall:.3f}"


def labelled(cascade: str, work: Path, group: str, ranker: Ranker, every: int) -> dict[str, list[Labelled]]:
    """View -> the labelled tasks of a cascade."""
    found: dict[str, list[Labelled]] = {}
    for views in _views(cascade, work, group, ranker, every):
        for view, one in views.items():
            if one.items:
                found.setdefault(view, []).append(one)
    return found


def _views(cascade: str, work: Path, group: str, ranker: Ranker, every: int) -> Iterator[Mapping[str, Labelled]]:
    if cascade == "edge":
        edges = (one for path in sorted((work / "parts" / group).glob("*.pkl")) for one in read_parts(path).edges)
        for number, mined in enumerate(edges):
            if number % every == 0:
                yield {"none": labelled_edges(mined), "own": labelled_own_edges(mined, ranker)}
        return
    for number, one in enumerate(read_mined(sorted((work / "mined" / group).glob("*.pkl")))):
        if number % every == 0:
            yield labelled_views(cascade, one, ranker)


def evidence_alone(train: Rows, dev: Rows) -> dict[str, Array]:
    """What is fitted to the words of evidence -> p(yes) of each row of ``dev``."""
    table = DictVectorizer(sparse=False)
    known, asked = table.fit_transform(map(words_of, train.items)), table.transform(map(words_of, dev.items))
    trees = HistGradientBoostingClassifier(max_iter=150, learning_rate=0.06, min_samples_leaf=60, random_state=0)
    linear = LogisticRegression(max_iter=500, C=0.3)
    return {
        name: model.fit(known, train.truths).predict_proba(asked)[:, 1]
        for name, model in (("boosted trees", trees), ("logistic", linear))
    }


def asked(engine: Engine, cascade: Cascade, tasks: Iterable[Labelled]) -> tuple[Array, Bools, float]:
    """p(yes) of each row with its first question put to all, what the cascade keeps, and its calls per item."""
    p, kept, n_calls = [], [], 0
    for one in tasks:
        found = engine.score(one.task, list(one.items), cascade.name, cascade.first.name)
        p += [steps[0].p_yes for steps in found]
        report = engine.classify(one.task, list(one.items), cascade.name)
        kept += [decision.label != cascade.dropped for decision in report.decisions]
        n_calls += report.stats.calls
    return np.array(p), np.array(kept, np.bool_), n_calls / max(1, len(p))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("adapters/.work"), help="as for the recipe")
    parser.add_argument("--config", type=Path, default=shipped_config(), help="adapter map with the cascades")
    parser.add_argument("--every", type=int, default=3, help="fit to and judge every so many tasks")
    parser.add_argument("--cascade", nargs="*", choices=CASCADES, default=CASCADES, help="which tasks")
    options = parser.parse_args()
    ranker = shipped_ranker()
    print("| task | view | items | yes | by | AUC per task | over rows | precision | recall | calls per item |")
    print("|---|---|--:|--:|---|--:|--:|--:|--:|--:|")
    with Engine.open(read_config(options.config)) as engine:
        for name in options.cascade:
            cascade = engine.cascade(name)
            train = labelled(name, options.work, "train", ranker, options.every)
            for view, tasks in labelled(name, options.work, "dev", ranker, options.every).items():
                rows = Rows.of(tasks, cascade)
                head = f"| {name} | {view} | {len(rows.items)} | {rows.truths.mean():.3f}"
                p, kept, calls = asked(engine, cascade, tasks)
                print(f"{head} | adapter | {rows.figures(p)} | {rows.at(kept)} | {calls:.2f} |", flush=True)
                for by, scores in _alone(rows, Rows.of(train[view], cascade), name).items():
                    print(f"{head} | {by} | {rows.figures(scores)} | | | 0 |", flush=True)


def _alone(rows: Rows, train: Rows, cascade: str) -> dict[str, Array]:
    ranker = {"ranker": np.array([item.prior for item in rows.items])} if cascade != "edge" else {}
    trivial, order = TRIVIAL[cascade]
    return ranker | evidence_alone(train, rows) | {trivial: np.array([order(item) for item in rows.items], np.float64)}


if __name__ == "__main__":
    main()
