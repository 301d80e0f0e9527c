"""How good the answers are: a set, by default the shipped one, on commits of repositories that it was not trained on.

    python -m benchmarks.quality --clones DIR --data DIR [--config FILE] [--tasks N] [--work DIR] [--json]

DIR of clones has a full clone of each repository, as OWNER__NAME or OWNER+NAME; DIR of data has labelled commits, as
OWNER__NAME.jsonl.gz. Each commit's message is the task, the tree of its parent is what is searched, and what the commit
changed is the truth. BM25 over function bodies and a count of the task's words, as grep gives it, stand beside. What is
mined of a repository is kept below --work.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from adapters.recipe.labelled import evidence_of, labelled_files, labelled_symbols
from adapters.recipe.mine import Mined, View, mine_file, read_mined
from benchmarks.script import run_script
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.engine.ranking import ranked
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import auc, auc_per_task
from cascade.evidence.ranker import Ranker, log_p_changes, shipped_ranker
from cascade.probability import Array

FIRST = (1, 5, 10, 200)
CANDIDATES = 200
Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clones", type=Path, required=True, help="folder of full clones")
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled commits, OWNER__NAME.jsonl.gz")
    parser.add_argument(
        "--config", type=Path, default=shipped_config(), help="config with `precision`; `scope` if there is one"
    )
    parser.add_argument("--tasks", type=int, default=250, help="tasks of each repository")
    parser.add_argument("--work", type=Path, default=Path(".benchmarks/quality"), help="what is mined is kept here")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    mined = list(read_mined(mine_all(given.clones, given.data, given.work, given.tasks)))
    figures = measure(mined, given.config)
    sys.stdout.write((json.dumps(figures, indent=1) if given.json else shown(figures)) + "\n")


def mine_all(clones: Path, data: Path, work: Path, n_tasks: int) -> list[Path]:
    """Files of mined tasks, one for each file of labelled commits that has a clone."""
    found = []
    for file in sorted(data.glob("*.jsonl.gz")):
        name = file.name.removesuffix(".jsonl.gz")
        places = [clones / name, clones / name.replace("__", "+"), clones / name / ".git"]
        folder = next((folder for place in places for folder in (place, place / "repo") if is_bare(folder)), None)
        if folder is None:
            sys.stderr.write(f"{name}: left out, there is no clone of it in {clones}\n")
            continue
        found.append(work / f"{name}.{n_tasks}.pickle")
        mine_file(folder, file, found[-1], n_tasks)
    if not found:
        message = f"nothing to measure: no file of {data} has a clone in {clones}"
        raise SystemExit(message)
    return found


def is_bare(folder: Path) -> bool:
    """Whether git keeps its objects in a folder."""
    return (folder / "objects").is_dir()


def measure(mined: Sequence[Mined], config: Path) -> Figures:
    """All figures of some tasks; those of files where the config labels files."""
    ranker, read_in = shipped_ranker(), read_config(config)
    with Engine.open(read_in) as engine:
        whole = {name: whole_tree(engine, mined, name, ranker) for name in ("none", "wrong", "right")}
        read = {name: as_mined(engine, mined, name, ranker) for name in ("right", "none", "own", "source")}
        asked = ("right", "none") if "scope" in read_in.cascades() else ()
        files = {name: of_files(engine, mined, name, ranker) for name in asked}
    return {"tasks": len(mined), "whole_tree": whole, "symbols_as_mined": read, "files": files}


def views(mined: Iterable[Mined], name: str) -> list[tuple[Mined, View]]:
    """The tasks with one of their views."""
    return [(one, view) for one in mined for view in one.views if view.name == name and len(view.labels)]


def whole_tree(engine: Engine, mined: Sequence[Mined], name: str, ranker: Ranker) -> Figures:
    """Share of tasks with all changed functions among the first places, by what puts the tree in order; in percent."""
    tasks = [(one, view) for one, view in views(mined, name) if one.gold]
    orders: dict[str, list[list[str]]] = {
        "BM25 over bodies": [],
        "words counted": [],
        "ranker": [],
        "with questions": [],
    }
    calls = items = kept = right = 0
    tokens, ms, began = 0, 0.0, time.perf_counter()
    for one, view in tasks:
        orders["BM25 over bodies"].append(ids_by(view, view.symbols["body_share"]))
        orders["words counted"].append(ids_by(view, view.symbols["covers"]))
        labelled = labelled_symbols(one, view, ranker, most=CANDIDATES)
        report = engine.classify(labelled.task, labelled.items, "precision")
        by_id = {item.id: item for item in labelled.items}
        functions = {symbol.id for symbol in view.corpus.symbols if symbol.kind != "class"}
        orders["ranker"].append([item.id for item in labelled.items if item.id in functions])
        order = ranked(report.decisions, engine.cascade("precision"), by_id, with_dropped=True)
        orders["with questions"].append([decision.id for decision in order if decision.id in functions])
        calls, items = calls + report.stats.calls, items + report.stats.items
        tokens, ms = tokens + report.stats.tokens_decoded, ms + report.stats.elapsed_ms
        truth = dict(zip((item.id for item in labelled.items), labelled.labels, strict=True))
        kept_ids = [decision.id for decision in report.decisions if decision.label != "excluded"]
        kept, right = kept + len(kept_ids), right + sum(truth[id_] != "excluded" for id_ in kept_ids)
    return {
        "tasks": len(tasks),
        "first": {by: first(tasks, found) for by, found in orders.items()},
        "calls_per_item": calls / max(1, items),
        "tokens_per_task": tokens / max(1, len(tasks)),
        "kept_per_task": kept / max(1, len(tasks)),
        "share_of_kept_that_matters": right / max(1, kept),
        "ms_per_task_of_questions": ms / max(1, len(tasks)),
        "seconds": time.perf_counter() - began,
    }


def ids_by(view: View, scores: Array) -> list[str]:
    """Ids of the functions of a view by a score, the best first."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    symbols = [view.corpus.symbols[at] for at in order.tolist()]
    return [symbol.id for symbol in symbols if symbol.kind != "class"]


def first(tasks: Sequence[tuple[Mined, View]], orders: Sequence[Sequence[str]]) -> dict[str, float]:
    """Percent of tasks with all changed functions among the first so many, and whose first file was changed."""
    found = {
        f"first {most}": sum(one.gold <= set(order[:most]) for (one, _), order in zip(tasks, orders, strict=True))
        for most in FIRST
    }
    found["first file"] = sum(
        bool(order) and order[0].partition("::")[0] in {id_.partition("::")[0] for id_ in one.gold}
        for (one, _), order in zip(tasks, orders, strict=True)
    )
    return {name: 100 * n / max(1, len(tasks)) for name, n in found.items()}


def as_mined(engine: Engine, mined: Sequence[Mined], name: str, ranker: Ranker) -> Figures:
    """AUC per task and pooled of the questions and of the ranker, on symbols whose labels were read."""
    labelled = [labelled_symbols(one, view, ranker, most=None) for one, view in views(mined, name)]
    scores = scored(engine, labelled, "precision")
    odds = [evidence_of(view, ranker).symbol_odds[view.is_labelled] for _, view in views(mined, name)]
    by_ranker = np.concatenate(odds) if odds else np.zeros((0, 2))
    truths = np.array([label for one in labelled for label in one.labels])
    tasks = np.repeat(np.arange(len(labelled)), [len(one.labels) for one in labelled])
    matters, primary = truths != "excluded", truths == "primary"
    relevant, change = scores["relevant"], scores["primary"]
    joint = log_p_changes(by_ranker)
    return {
        "tasks": len(labelled),
        "relevant": aucs(relevant, matters, tasks),
        "relevant, ranker alone": aucs(by_ranker[:, 0], matters, tasks),
        "primary among all": aucs(relevant * change, primary, tasks),
        "primary among all, ranker alone": aucs(joint, primary, tasks),
        "primary among relevant": aucs(change[matters], primary[matters], tasks[matters]),
        "primary among relevant, ranker alone": aucs(by_ranker[matters, 1], primary[matters], tasks[matters]),
    }


def of_files(engine: Engine, mined: Sequence[Mined], name: str, ranker: Ranker) -> Figures:
    """AUC per task and pooled of the scope cascade, all tiers together, and of the ranker."""
    tasks = [(one, view) for one, view in views(mined, name) if view.records]
    labelled = [labelled_files(one, view, ranker) for one, view in tasks]
    scores = scored(engine, labelled, "scope")["relevant"]
    priors = np.array([item.prior or 0.0 for one in labelled for item in one.items])
    truths = np.array([label == "relevant" for one in labelled for label in one.labels])
    numbers = np.repeat(np.arange(len(labelled)), [len(one.labels) for one in labelled])
    return {
        "tasks": len(labelled),
        "all tiers": aucs(scores, truths, numbers),
        "ranker alone": aucs(priors, truths, numbers),
    }


def scored(engine: Engine, labelled: Sequence[Labelled], cascade: str) -> dict[str, Array]:
    """Stage -> p(yes) of every item, the highest of its tiers."""
    found: dict[str, list[float]] = {stage.name: [] for stage in engine.cascade(cascade).stages}
    for one in labelled:
        for steps in engine.score(one.task, one.items, cascade) if one.items else ():
            for stage, values in found.items():
                values.append(max((step.p_yes for step in steps if step.stage == stage), default=np.nan))
    return {stage: np.array(values) for stage, values in found.items()}


def aucs(scores: Array, truths: np.ndarray, tasks: np.ndarray) -> dict[str, float]:
    """ROC-AUC, as the mean of the tasks' own and over all rows."""
    return {"per task": auc_per_task(scores, truths, tasks), "pooled": auc(scores, truths)}


def shown(figures: Figures) -> str:
    """The figures as tables in Markdown."""
    lines = [f"{figures['tasks']} tasks", "", "| whole tree, seed | order | " + " | ".join(COLUMNS) + " |"]
    lines.append("|---|---|" + "--:|" * len(COLUMNS))
    for name, found in figures["whole_tree"].items():
        lines += [
            f"| {name} | {by} | " + " | ".join(f"{values[column]:.1f}" for column in COLUMNS) + " |"
            for by, values in found["first"].items()
        ]
    lines += ["", "| whole tree, seed | calls per item | share of kept that matters | kept per task | ms per task |"]
    lines.append("|---|--:|--:|--:|--:|")
    lines += [
        f"| {name} | {found['calls_per_item']:.2f} | {found['share_of_kept_that_matters']:.2f} "
        f"| {found['kept_per_task']:.1f} | {found['ms_per_task_of_questions']:.0f} |"
        for name, found in figures["whole_tree"].items()
    ]
    lines += ["", "| items | question | AUC per task | pooled |", "|---|---|--:|--:|"]
    for kind in ("symbols_as_mined", "files"):
        for name, found in figures[kind].items():
            lines += [_line(f"{kind}, {name}", *pair) for pair in found.items() if isinstance(pair[1], dict)]
    return "\n".join(lines)


def _line(items: str, question: str, found: Mapping[str, float]) -> str:
    return f"| {items} | {question} | {found['per task']:.3f} | {found['pooled']:.3f} |"


COLUMNS = (*(f"first {most}" for most in FIRST), "first file")

if __name__ == "__main__":
    run_script(main)
