"""How the shipped adapters do on the development tasks, and the thresholds that map.toml should have.

    python -m adapters.recipe.measure --data DIR [--base]

A question is judged on the rows whose truth decides its answer; its threshold is that of the best
F1. ``--base`` asks the base model alone, to see what the adapters add.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from adapters.recipe.tasks import WITHIN_CLASSES
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled, read_labelled
from cascade.evaluation.evaluate import Evaluation, Tally
from cascade.evaluation.metrics import best_f1_threshold, f1
from cascade.stages import ANY_TIER, BASE
from cascade.tree import Cascade


def measure(engine: Engine, cascade: Cascade, paths: list[Path]) -> Iterator[tuple[str, Tally]]:
    """(question, tally) over all tasks of the files."""
    evaluation = Evaluation(engine, cascade)
    classes = Tally()
    for path in paths:
        for number, labelled in enumerate(read_labelled(path, cascade)):
            evaluation.add(labelled)
            if cascade.name == "precision":
                _add_classes(engine, labelled, classes, hash((path, number)))
    for stage in cascade.stages:
        for tier in (ANY_TIER, *stage.questions) if stage.is_tiered else (ANY_TIER,):
            yield tier or stage.name + (", all tiers" if stage.is_tiered else ""), evaluation.tallies[stage.name][tier]
    if cascade.name == "precision":
        yield WITHIN_CLASSES, classes


def _add_classes(engine: Engine, labelled: Labelled, tally: Tally, task: int) -> None:
    """The last question put to classes alone: among all symbols, being no class gives the answer away."""
    rows = [
        (item, label == "supporting")
        for item, label in zip(labelled.items, labelled.labels, strict=True)
        if item.kind == "class" and label in {"supporting", "type_context"}
    ]
    if rows:
        asked = engine.score(labelled.task, [item for item, _ in rows], "precision", "supporting")
        for (_, truth), (step,) in zip(rows, asked, strict=True):
            tally.add(task, step.p_yes, answer=step.answer, truth=truth)


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
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--base", action="store_true", help="ask the base model alone")
    options = parser.parse_args()
    config = read_config(shipped_config())
    cascades = on_base(config.cascades()) if options.base else config.cascades()
    paths = sorted((options.data / "dev").glob("*.jsonl.gz"))
    print("| question | rows | base rate | AUC over all rows | AUC per task | ECE | best F1 | at threshold |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with Engine.open(config, cascades=cascades) as engine:
        for cascade in cascades.values():
            for question, tally in measure(engine, cascade, paths):
                threshold = best_f1_threshold(tally.p, tally.truths)
                best = f1(np.array(tally.p) >= threshold, tally.truths)
                figures = tally.as_dict()
                numbers = [figures[key] for key in ("base_rate", "auc_over_rows", "auc_per_task", "ece")]
                shown = " | ".join(f"{number:.3f}" for number in (*numbers, best, threshold))
                print(f"| {question} | {figures['n']} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
