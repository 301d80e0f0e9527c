"""Thresholds of the shipped config, from the development tasks: the best F1 of every question.

    python -m adapters.recipe.thresholds --data DIR

Prints what belongs into map.toml. A question is judged on the rows whose truth decides its answer.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from cascade.config import shipped_config
from cascade.engine import Engine
from cascade.evaluate import Evaluation
from cascade.metrics import best_f1_threshold
from cascade.rows import read_labelled
from cascade.tree import ANY_TIER


def main() -> None:
    """Print a threshold a question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    with Engine.open(shipped_config()) as engine:
        for cascade in engine.cascades.values():
            evaluation = Evaluation(engine, cascade)
            for path in sorted((options.data / "dev").glob("*.jsonl.gz")):
                evaluation.add_all(read_labelled(path, cascade))
            for stage in cascade.stages:
                for tier in stage.questions:
                    tally = evaluation.tallies[stage.name][tier]
                    threshold = best_f1_threshold(tally.p, tally.truths)
                    name = f"{cascade.name}.{stage.name}" + (f".{tier}" if tier != ANY_TIER else "")
                    print(f"{name} = {threshold:.3f}", flush=True)


if __name__ == "__main__":
    main()
