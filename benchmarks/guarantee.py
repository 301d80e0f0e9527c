"""Is what ``cascade tune`` guarantees true? Many labelled samples of a population whose recalls are known.

    python -m benchmarks.guarantee                                   # two simulated stages
    python -m benchmarks.guarantee --scores scores.npz --cascade precision --tasks 600 --prior

``--scores`` takes a file that ``cascade tune --scores`` wrote: its tasks are the population, samples are drawn with
replacement. For each sample thresholds are tuned; the guarantee is missed where what it is on, in the population, is
below the target.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from benchmarks.script import check_scores, count, fraction, kept_scores, run_script
from benchmarks.shipped import CASCADES
from cascade.config.figures import Metric, Unit
from cascade.errors import InputError
from cascade.evaluation.replay import Replay
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.stages import ANY_TIER, Question, Source, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.objective import Cost
from cascade.tuning.search import TuningResult, tune
from cascade.tuning.target import TuningTarget

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
            features=scored.features.take(at) if scored.features is not None else None,
        )

    return draw


def with_prior_stage(cascade: Cascade, source: Source) -> Cascade:
    """The cascade with a prior stage before its first question, which leads where that does."""
    first = cascade.first
    prior = Stage(name="prior", yes=first.yes, no=first.no, source=source)
    return replace(cascade, prior_stage=prior)


def with_callers_prior(scored: ScoredTasks, seed: int) -> ScoredTasks:
    """Simulated tasks whose callers say how likely an item matters; they know less than the questions."""
    noise = np.random.default_rng((seed, 1)).normal(0, 1, scored.labels.size)
    return replace(scored, priors=1 / (1 + np.exp(-(2.0 * (scored.labels - 0.5) + noise))))


def measured(cascade: Cascade, population: ScoredTasks, tuned: TuningResult, target: TuningTarget) -> float:
    """What is guaranteed, as it is in the population, whose largest task bounds those of samples."""
    if cascade.prior_stage is not None and tuned.prior is not None:
        cascade = replace(cascade, prior_stage=replace(cascade.prior_stage, prior=tuned.prior))
    task_metric = TaskMetric(cascade, population, target.metric, target.unit)
    return float(task_metric.means(task_metric.counts(Replay(cascade, population).labels(tuned.thresholds)))[0])


def metric(cascade: Cascade, population: ScoredTasks, draw: Draw, target: TuningTarget, n_draws: int) -> str:
    """What many samples came to, in one line."""
    found, calls, ratios = [], [], []
    for seed in range(n_draws):
        try:
            tuned = tune(cascade, draw(seed + 1), target, seed)
        except InputError:  # a sample that is refused guarantees nothing
            continue
        found.append(measured(cascade, population, tuned, target))
        calls.append(tuned.held_out.calls)
        if tuned.per_stage and tuned.per_stage.calls:
            ratios.append(tuned.held_out.calls / tuned.per_stage.calls)
    if not found:
        return f"{n_draws} samples: all refused"
    missed, above = np.mean(np.array(found) < target.level), np.mean(found) - target.level
    return (
        f"{n_draws} samples, {n_draws - len(found)} refused; {target.figure.words} {target.level:g} at delta "
        f"{target.delta:g}: missed in {missed:.3f}, mean above it by {above:.3f}; {np.median(calls):.3f} calls per "
        f"item; calls joint over per stage {np.median(ratios) if ratios else float('nan'):.3f}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Is what `cascade tune` guarantees true?")
    parser.add_argument("--scores", type=kept_scores, metavar="FILE", help="what `cascade tune --scores FILE` kept")
    parser.add_argument("--cascade", choices=tuple(CASCADES), default="precision", help="whose scores they are")
    parser.add_argument("--prior", action="store_true", help="with a prior stage, by the caller where simulated")
    parser.add_argument("--tasks", type=count, default=400)
    parser.add_argument("--draws", type=count, default=1_000)
    parser.add_argument("--measure", type=Metric, default=Metric.RECALL)
    parser.add_argument("--unit", type=Unit, default=Unit.TASK)
    parser.add_argument("--level", type=fraction, default=0.9)
    parser.add_argument("--minimise", type=Cost)
    parser.add_argument("--delta", type=fraction, default=0.05)
    given = parser.parse_args()
    target = TuningTarget(
        level=given.level, metric=given.metric, unit=given.unit, delta=given.delta, cost=given.minimise
    )
    cascade, source = two_stages(), Source.CALLER
    population = with_callers_prior(simulated(0, 20_000), 0)
    draw: Draw = lambda seed: with_callers_prior(simulated(seed, given.tasks), seed)  # noqa: E731
    if given.scores:
        cascade, source, population = CASCADES[given.cascade], Source.EVIDENCE, given.scores
        check_scores(parser, cascade, given.scores)
        draw = resampled(given.scores, given.tasks)
    if given.prior:
        cascade = with_prior_stage(cascade, source)
    sys.stdout.write(metric(cascade, population, draw, target, given.draws) + "\n")


if __name__ == "__main__":
    run_script(main)
