"""How often does ``cascade check`` raise a false alarm, and what does it find? Halves of labelled tasks are compared.

    python -m benchmarks.alarms                                     # two simulated stages
    python -m benchmarks.alarms --scores scores.npz --cascade precision

``--scores`` takes a file that ``cascade tune --scores`` wrote. Each run deals its tasks into two halves, so that both
come from one source, and takes the mean recall of all of them for what was guaranteed, so that it is just kept. In
every fifth run the same halves are also checked with a shift or a broken guarantee planted in the second one.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benchmarks.guarantee import simulated, two_stages
from benchmarks.script import check_scores, count, fraction, kept_scores, run_script
from benchmarks.shipped import CASCADES
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import logit, p_yes
from cascade.profile import Inputs
from cascade.tree import Cascade
from cascade.tuning.check import Guarantee, Verdict, check_guarantee
from cascade.tuning.shift import inputs_of, shifts

_SHIFTS = (0.25, 0.5, 1.0)
_DEFICITS = (0.02, 0.05, 0.1)
_NOTHING = "nothing"
_EVERY = 5


def halves(scored: ScoredTasks, n_runs: int) -> Iterator[tuple[int, ScoredTasks, ScoredTasks]]:
    """Number of the run, and the two halves of the tasks."""
    for run in range(n_runs):
        order = np.random.default_rng(run).permutation(scored.n_tasks)
        middle = order.size // 2
        yield run, scored.take(order[:middle]), scored.take(order[middle:])


def moved(cascade: Cascade, scored: ScoredTasks, by: float) -> ScoredTasks:
    """The same tasks, the log odds of the first stage higher."""
    first = cascade.first.name
    return replace(
        scored,
        p={key: p_yes(logit(values) + by) if key[0] == first else values for key, values in scored.p.items()},
    )


def measure(cascade: Cascade, scored: ScoredTasks, n_runs: int, alpha: float) -> dict[str, float]:
    """The share of the runs that raised an alarm, by what was planted."""
    recall = 1 - float(Replay(cascade, scored).losses(own_thresholds(cascade)).mean())
    found: dict[str, list[bool]] = defaultdict(list)
    for run, then, now in halves(scored, n_runs):
        inputs = inputs_of(cascade, then, run)

        def is_shifted(new: ScoredTasks, inputs: Inputs = inputs, run: int = run) -> bool:
            return any(shift.is_shifted for shift in shifts(inputs, cascade, new, alpha / 2, run))

        def is_broken(level: float, now: ScoredTasks = now, run: int = run) -> bool:
            return check_guarantee(cascade, now, Guarantee(level=level), alpha, seed=run).verdict is Verdict.BROKEN

        found[_NOTHING].append(is_shifted(now) or is_broken(recall))
        if run % _EVERY == 0:
            for by in _SHIFTS:
                found[f"log odds higher by {by:g}"].append(is_shifted(moved(cascade, now, by)))
            for by in _DEFICITS:
                found[f"recall below the guarantee by {by:g}"].append(is_broken(min(recall + by, 1 - 1e-6)))
    return {planted: float(np.mean(alarms)) for planted, alarms in found.items()}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="How often does `cascade check` raise a false alarm?")
    parser.add_argument("--scores", type=kept_scores, metavar="FILE", help="what `cascade tune --scores FILE` kept")
    parser.add_argument("--cascade", choices=tuple(CASCADES), default="precision", help="whose scores they are")
    parser.add_argument("--tasks", type=count, default=400)
    parser.add_argument("--runs", type=count, default=200)
    parser.add_argument("--alpha", type=fraction, default=0.05)
    given = parser.parse_args()
    cascade, scored = two_stages(), simulated(0, given.tasks)
    if given.scores:
        cascade, scored = CASCADES[given.cascade], given.scores
        check_scores(parser, cascade, given.scores)
    alarms = measure(cascade, scored, given.runs, given.alpha)
    sys.stdout.write(
        f"{scored.n_tasks} tasks, {given.runs} runs at alpha {given.alpha:g}; alarms by what was planted:\n"
    )
    for planted, share in alarms.items():
        sys.stdout.write(f"{planted}: {share:.3f}\n")


if __name__ == "__main__":
    run_script(main)
