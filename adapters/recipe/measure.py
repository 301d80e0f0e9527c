"""How the shipped adapters do on the development tasks, and the thresholds that map.toml should have.

    python -m adapters.recipe.measure [--work DIR] [--view VIEW] [--base]

A question is judged on the rows whose truth decides its answer; its threshold is that of the best
F1. ``--base`` asks the base model alone, to see what the adapters add.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapters.recipe.labelled import labelled_files, labelled_symbols
from adapters.recipe.mine import read_mined
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.evaluate import Evaluation, Tally
from cascade.evaluation.metrics import best_f1_threshold, f1
from cascade.evidence.ranker import shipped_ranker
from cascade.stages import ANY_TIER, BASE
from cascade.tree import Cascade

VIEWS = ("none", "right", "wrong", "own", "source")
WITHIN_CLASSES = "supporting, classes only"
"""Name of the last question where it is put to classes alone."""


def labelled(view: str, cascade: str, paths: Sequence[Path]) -> Iterator[Labelled]:
    """One view of mined tasks: the symbols whose label was read, or the files that a tier finds."""
    ranker = shipped_ranker()
    for mined in read_mined(paths):
        for seen in (one for one in mined.views if one.name == view):
            if cascade == "precision":
                yield labelled_symbols(mined, seen, ranker, most=None)
            elif seen.records:
                yield labelled_files(mined, seen, ranker)


def measure(engine: Engine, cascade: Cascade, tasks: Iterable[Labelled]) -> Iterator[tuple[str, Tally]]:
    """(question, tally) over all tasks."""
    evaluation = Evaluation(engine, cascade)
    classes = Tally()
    for number, task in enumerate(tasks):
        evaluation.add(task)
        if cascade.name == "precision":
            _add_classes(engine, task, classes, number)
    for stage in cascade.stages:
        for tier in (ANY_TIER, *stage.questions) if stage.is_tiered else (ANY_TIER,):
            yield tier or stage.name + (", all tiers" if stage.is_tiered else ""), evaluation.tallies[stage.name][tier]
    if cascade.name == "precision":
        yield WITHIN_CLASSES, classes


def _add_classes(engine: Engine, task: Labelled, tally: Tally, number: int) -> None:
    """The last question put to classes alone: among all symbols, being no class gives the answer away."""
    rows = [
        (item, label == "supporting")
        for item, label in zip(task.items, task.labels, strict=True)
        if item.kind == "class" and label in {"supporting", "type_context"}
    ]
    if rows:
        asked = engine.score(task.task, [item for item, _ in rows], "precision", "supporting")
        for (_, truth), (step,) in zip(rows, asked, strict=True):
            tally.add(number, step.p_yes, step.threshold, truth=truth)


def on_base(cascades: Mapping[str, Cascade]) -> dict[str, Cascade]:
    """The same cascades with every question answered by the base model."""
    return {
        name: replace(
            cascade,
            stages=tuple(
                replace(stage, questions={tier: replace(q, adapter=BASE) for tier, q in stage.questions.items()})
                for stage in cascade.stages
            ),
        )
        for name, cascade in cascades.items()
    }


def main() -> None:
    """Print a table and the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("adapters/.work"), help="as for the recipe")
    parser.add_argument("--view", choices=VIEWS, default="right", help="how the tasks are asked")
    parser.add_argument("--base", action="store_true", help="ask the base model alone")
    options = parser.parse_args()
    config = read_config(shipped_config())
    cascades = on_base(config.cascades()) if options.base else config.cascades()
    paths = sorted((options.work / "mined" / "dev").glob("*.pkl"))
    print("| question | rows | base rate | AUC over all rows | AUC per task | ECE | best F1 | at threshold |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with Engine.open(config, cascades=cascades) as engine:
        for cascade in cascades.values():
            for question, tally in measure(engine, cascade, labelled(options.view, cascade.name, paths)):
                threshold = best_f1_threshold(tally.p, tally.truths)
                best = f1(np.array(tally.p) >= threshold, tally.truths)
                figures = tally.as_dict()
                numbers = [figures[key] for key in ("base_rate", "auc_over_rows", "auc_per_task", "ece")]
                shown = " | ".join(f"{number:.3f}" for number in (*numbers, best, threshold))
                print(f"| {question} | {figures['n']} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
