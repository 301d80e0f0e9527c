"""Is what ``cascade tune`` promises true? Many labelled samples of a population whose recalls are known.

    python -m benchmarks.promise                                   # two simulated stages
    python -m benchmarks.promise --scores scores.npz --cascade precision --tasks 600

``--scores`` takes a file that ``cascade tune --scores`` wrote: its tasks are the population, samples are drawn with
replacement. For each sample thresholds are tuned; the promise is missed where their recall in the population is below
the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cascade.config import read_config, shipped_config
from cascade.errors import InputError
from cascade.stage import ANY_TIER, Question, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.outcome import Replay
from cascade.tuning.scored import ScoredTasks
from cascade.tuning.scoring import load_scores
from cascade.tuning.search import Wish, tune

Draw = Callable[[int], ScoredTasks]
"""Number of a sample -> the sample."""


def question(marker: str, threshold: float = 0.5) -> Question:
    """A question of the base model."""
    return Question(marker=marker, wording=f"{marker}?", adapter="base", threshold=threshold)


def two_stages() -> Cascade:
    """An item is kept if both stages say yes."""
    no = Target("drop", is_label=True)
    return Cascade(
        name="two",
        instructions="i",
        labels=("drop", "keep"),
        stages=(
            Stage(name="a", questions={ANY_TIER: question("a")}, yes=Target("b", is_label=False), no=no),
            Stage(name="b", questions={ANY_TIER: question("b")}, yes=Target("keep", is_label=True), no=no),
        ),
    )


def simulated(seed: int, n_tasks: int, n_items: int = 12) -> ScoredTasks:
    """Scores of two stages of unequal skill; hard tasks have items that score low together."""
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    tasks = np.repeat(np.arange(n_tasks), n_items)
    labels = (rng.random(n) < 0.25).astype(np.int64)
    labels[::n_items] = 1
    ease = np.repeat(rng.normal(0, 0.5, n_tasks), n_items)
    p = {
        (stage, ANY_TIER): 1 / (1 + np.exp(-(skill * (labels - 0.5) + ease + rng.normal(0, 1, n))))
        for stage, skill in (("a", 3.0), ("b", 2.0))
    }
    return ScoredTasks(tasks=tasks, labels=labels, p=p, n_tasks=n_tasks)


def resampled(scored: ScoredTasks, n_tasks: int) -> Draw:
    """Samples of scored tasks, with replacement."""
    order = np.argsort(scored.tasks, kind="stable")
    rows = np.split(order, np.searchsorted(scored.tasks[order], np.arange(1, scored.n_tasks)))

    def draw(seed: int) -> ScoredTasks:
        picked = [rows[task] for task in np.random.default_rng(seed).integers(0, scored.n_tasks, n_tasks)]
        at = np.concatenate(picked)
        return ScoredTasks(
            tasks=np.repeat(np.arange(n_tasks), [part.size for part in picked]),
            labels=scored.labels[at],
            p={key: values[at] for key, values in scored.p.items()},
            n_tasks=n_tasks,
            priors=scored.priors[at] if scored.priors is not None else None,
            facts=scored.facts.take(at) if scored.facts is not None else None,
        )

    return draw


def measure(cascade: Cascade, truth: Replay, draw: Draw, wish: Wish, n_draws: int) -> str:
    """What many samples came to, in one line."""
    recalls, ratios = [], []
    for seed in range(n_draws):
        try:
            tuned = tune(cascade, draw(seed + 1), wish, seed)
        except InputError:  # a sample that is refused promises nothing
            continue
        recalls.append(truth.outcome(tuned.thresholds).recall)
        if tuned.per_stage:
            ratios.append(tuned.held_out.calls / tuned.per_stage.calls)
    if not recalls:
        return f"{n_draws} samples: all refused"
    missed, above = np.mean(np.array(recalls) < wish.level), np.mean(recalls) - wish.level
    return (
        f"{n_draws} samples, {n_draws - len(recalls)} refused; recall {wish.level:g} at delta {wish.delta:g}: "
        f"missed in {missed:.3f}, mean recall above it by {above:.3f}; calls joint over per stage "
        f"{np.median(ratios) if ratios else float('nan'):.3f}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Is what `cascade tune` promises true?")
    parser.add_argument("--scores", type=Path)
    parser.add_argument("--cascade", default="precision")
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--draws", type=int, default=1_000)
    parser.add_argument("--recall", type=float, default=0.9)
    parser.add_argument("--delta", type=float, default=0.05)
    given = parser.parse_args()
    cascade, population = two_stages(), simulated(0, 20_000)
    draw: Draw = lambda seed: simulated(seed, given.tasks)  # noqa: E731
    if given.scores:
        found = load_scores(given.scores, None)
        if found is None:
            parser.error(f"{given.scores}: there is no such file")
        cascade, population = read_config(shipped_config()).cascades()[given.cascade], found
        draw = resampled(found, given.tasks)
    wish = Wish(level=given.recall, delta=given.delta)
    sys.stdout.write(measure(cascade, Replay(cascade, population), draw, wish, given.draws) + "\n")


if __name__ == "__main__":
    main()
