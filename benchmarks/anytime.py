"""What half the time still finds of what matters, with a cascade's prior and without.

    python -m benchmarks.anytime FILE... [--cascade precision] [--share 0.5] [--config my.toml] [--json]

Every labelled task is run in full, and then with a share of the time that this very run took, on one
engine with the cascade's profile as it is and on one whose profile has no prior; they take turns.
Prints, for each, the recall of what matters in full and in the share, their ratio, and which share
of the items that matter and that the full run kept were kept again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.script import run_script
from cascade.config.schema import Config, read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled, read_labelled
from cascade.tree import Cascade

N_WARM = 10  # tasks from which cost models learn before anything counts


@dataclass(slots=True)
class Found:
    """What one engine found of the items that matter.

    Attributes:
        engine: The engine.
        n_matter: Items that matter.
        n_full: Of those, kept by the full run.
        n_short: Kept in the share of its time.
        n_both: Kept by both.
        used: Of every task, the time taken over the time allowed.
    """

    engine: Engine
    n_matter: int = 0
    n_full: int = 0
    n_short: int = 0
    n_both: int = 0
    used: list[float] = field(default_factory=list)

    def add(self, labelled: Labelled, cascade: Cascade, share: float) -> None:
        """Run a task in full and in a share of that time."""
        full = self.engine.classify(labelled.task, labelled.items, cascade.name, budget=None)
        allowed = share * full.stats.elapsed_ms
        short = self.engine.classify(labelled.task, labelled.items, cascade.name, budget=allowed)
        for truth, first, second in zip(labelled.labels, full.decisions, short.decisions, strict=True):
            if truth != cascade.dropped:
                is_full, is_short = first.label != cascade.dropped, second.label != cascade.dropped
                self.n_matter += 1
                self.n_full += is_full
                self.n_short += is_short
                self.n_both += is_full and is_short
        self.used.append(short.stats.elapsed_ms / allowed)

    def as_dict(self) -> dict[str, float | int]:
        """The figures."""
        return {
            "n_matter": self.n_matter,
            "recall_full": self.n_full / self.n_matter,
            "recall_short": self.n_short / self.n_matter,
            "ratio": self.n_short / self.n_full,
            "kept_again": self.n_both / self.n_full,
            "time_used": median(self.used),
        }


def engine(config: Config, cascade: str, *, has_prior: bool) -> Engine:
    """An engine with one cascade."""
    tree = config.cascades()[cascade]
    profile = tree.profile if has_prior else replace(tree.profile, prior=None)
    cascades = {cascade: replace(tree, profile=profile)}
    return Engine.open(config, cascades=cascades)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--cascade", default="precision")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    config = read_config(options.config or shipped_config())
    tree = config.cascades()[options.cascade]
    tasks = [labelled for path in options.files for labelled in read_labelled(path, tree) if labelled.items]
    with (
        engine(config, tree.name, has_prior=True) as with_prior,
        engine(config, tree.name, has_prior=False) as without,
    ):
        found = {"with the prior": Found(with_prior), "without": Found(without)}
        for labelled in islice(tasks, N_WARM):
            for one in (with_prior, without):
                one.classify(labelled.task, labelled.items, tree.name, budget=None)
        for labelled in tasks:
            for entry in found.values():
                entry.add(labelled, tree, options.share)
    if not all(entry.n_full for entry in found.values()):
        msg = f"A full run of {tree.name} keeps nothing that matters in these tasks. Give more of them."
        raise InputError(msg)
    figures = {name: entry.as_dict() for name, entry in found.items()}
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    for name, row in figures.items():
        sys.stdout.write(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in row.items()) + "\n")


if __name__ == "__main__":
    run_script(main)
