"""Does an audit find the tier that errs, and leave in peace the ones that do not? Simulated tasks with known errors.

    python -m benchmarks.planted_audit                  # one tier at 30 % error among 5 %, and none
    python -m benchmarks.planted_audit --tasks 40 --planted 0.1
    python -m benchmarks.planted_audit --scores scores.npz --cascade precision   # real scores, made-up slices

Errors of one task go together, and those of one tier or one kind in one task still more: a latent normal number for
each of them decides, so that every row's chance of an error is exact and rows are far from independent.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmarks.guarantee import question
from benchmarks.script import check_scores, count, fraction, kept_scores, run_script
from benchmarks.shipped import CASCADES
from cascade.audit.advice import Act, Advice, where_it_errs
from cascade.audit.errors import TIER, slices, slices_of
from cascade.audit.questions import question_rows
from cascade.audit.rates import rate
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import scored_tasks
from cascade.items import Item, Task
from cascade.stages import ANY_TIER, Stage, Target
from cascade.tree import Cascade

TIERS = ("dependency", "co_change", "metadata")
KINDS = ("file", "module", "package")
_SHARES = (0.1, 0.1, 0.05)  # of the latent number: the task's, the tier's in the task, the kind's in the task


def one_question(*, by_tier: bool = False) -> Cascade:
    """Does a file matter? Asked of all alike, or by tier with an adapter for each."""
    asked = {ANY_TIER: question("relevant")}
    if by_tier:
        asked = {tier: replace(question(tier), adapter=tier) for tier in TIERS}
    yes, no = Target("relevant", is_label=True), Target("irrelevant", is_label=True)
    stage = Stage(name="relevant", questions=asked, yes=yes, no=no)
    return Cascade(name="files", instructions="i", labels=("irrelevant", "relevant"), stages=(stage,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is simulated.

    Attributes:
        n_tasks: Tasks.
        n_items: Items of each.
        rate: Error rate of every tier but the planted one.
        planted: Error rate of the tier ``co_change``; equal to ``rate`` where nothing is planted.
        by_tier: Whether each tier has a question of its own.
    """

    n_tasks: int = 100
    n_items: int = 24
    rate: float = 0.05
    planted: float = 0.3
    by_tier: bool = False


def simulated(plan: Plan, seed: int) -> tuple[Cascade, ScoredTasks, list[Labelled]]:
    """A cascade, what it says, and the tasks."""
    rng = np.random.default_rng(seed)
    n, cascade = plan.n_tasks * plan.n_items, one_question(by_tier=plan.by_tier)
    numbers = np.repeat(np.arange(plan.n_tasks), plan.n_items)
    tiers, kinds = rng.integers(0, len(TIERS), n), rng.integers(0, len(KINDS), n)
    is_wrong = clustered_errors(rng, numbers, (tiers, kinds), np.where(tiers == 1, plan.planted, plan.rate))
    truths = rng.random(n) < 0.3
    p = np.where(truths ^ is_wrong, rng.uniform(0.5, 1, n), rng.uniform(0, 0.5, n))
    labels = np.where(truths, "relevant", "irrelevant").tolist()
    items = [
        Item(id=str(at), kind=KINDS[kind], name=str(at), tiers=(TIERS[tier],))
        for at, (tier, kind) in enumerate(zip(tiers.tolist(), kinds.tolist(), strict=True))
    ]
    tasks = [
        Labelled(task=Task(text=f"task {at}"), items=tuple(items[rows]), labels=tuple(labels[rows]))
        for at in range(plan.n_tasks)
        for rows in (slice(at * plan.n_items, (at + 1) * plan.n_items),)
    ]
    scores = {("relevant", tier): np.where(tiers == at, p, np.nan) for at, tier in enumerate(TIERS)}
    return cascade, scored_tasks(cascade, tasks, scores if plan.by_tier else {("relevant", ANY_TIER): p}), tasks


def clustered_errors(
    rng: np.random.Generator,
    tasks: NDArray[np.int64],
    groups: tuple[NDArray[np.int64], NDArray[np.int64]],
    rates: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Errors with exact rates that go together within a task, and within its groups."""
    n_tasks, size = int(tasks.max()) + 1, max(len(TIERS), len(KINDS))
    parts = [rng.normal(size=n_tasks)[tasks], *(rng.normal(size=(n_tasks, size))[tasks, group] for group in groups)]
    latent = sum(np.sqrt(share) * part for share, part in zip(_SHARES, parts, strict=True))
    latent = latent + np.sqrt(1 - sum(_SHARES)) * rng.normal(size=tasks.size)
    limits = {rate: NormalDist().inv_cdf(rate) for rate in np.unique(rates).tolist()}
    return np.asarray(latent < np.array([limits[rate] for rate in rates.tolist()]))


def named(plan: Plan, seed: int) -> list[Advice]:
    """The slices that an audit of one simulation names."""
    cascade, scored, tasks = simulated(plan, seed)
    return where_it_errs(cascade, slices_of(question_rows(cascade, scored), slices(scored, tasks)))


def is_planted(advice: Advice) -> bool:
    """Whether it names the tier that was planted, and that it needs an adapter or training of its own."""
    return (advice.dimension, advice.value) == ("tier", "co_change") and advice.act in {Act.SPLIT, Act.TRAIN}


def shuffled(scored: ScoredTasks, seed: int) -> ScoredTasks:
    """Real scores with made-up slices that cannot matter: a kind for each row, a repository for each task."""
    rng = np.random.default_rng(seed)
    kinds = rng.choice(KINDS, scored.tasks.size)
    repositories = rng.choice(("one", "two", "three"), scored.n_tasks)[scored.tasks]
    return replace(scored, slices={"kind": kinds, "repository": repositories})


def covers(plan: Plan, seed: int) -> bool:
    """Whether the interval of one simulation, all at one rate, holds that rate."""
    cascade, scored, _ = simulated(replace(plan, planted=plan.rate), seed)
    (rows, *_) = question_rows(cascade, scored)
    found = rate(rows.wrong, rows.tasks)
    return found.low <= plan.rate <= found.high


def measure(plan: Plan, n_runs: int) -> str:
    """What many simulations came to, in one line."""
    null, how = replace(plan, planted=plan.rate), "asked by tier" if plan.by_tier else "one question"
    runs = [named(plan, seed) for seed in range(n_runs)]
    found = np.mean([any(map(is_planted, advice)) for advice in runs])
    other = np.mean([not all(map(is_planted, advice)) for advice in runs])
    false = np.mean([bool(named(null, seed)) for seed in range(n_runs)])
    covered = np.mean([covers(plan, seed) for seed in range(n_runs)])
    return (
        f"{how}, {plan.n_tasks} tasks of {plan.n_items} items, {n_runs} "
        f"runs: co_change at {plan.planted:.0%} among {plan.rate:.0%} named in {found:.1%}, another slice in "
        f"{other:.1%}; all at {plan.rate:.0%}: any named in {false:.1%}, interval holds the rate in {covered:.1%}"
    )


def measure_shuffled(cascade: Cascade, scored: ScoredTasks, n_runs: int) -> str:
    """How often made-up slices of real scores are named, in one line."""
    hits = []
    for seed in range(n_runs):
        drawn = shuffled(scored, seed)
        # Tiers are real, so they are left out by name.
        found = where_it_errs(
            cascade,
            [part for part in slices_of(question_rows(cascade, drawn), slices(drawn, ())) if part.dimension != TIER],
        )
        hits.append(bool(found))
    return (
        f"{cascade.name}, {n_runs} runs with kinds and repositories drawn at random: any named in {np.mean(hits):.1%}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Does an audit find the tier that errs, and only that?")
    parser.add_argument("--tasks", type=count, default=100)
    parser.add_argument("--items", type=count, default=24)
    parser.add_argument("--rate", type=fraction, default=0.05)
    parser.add_argument("--planted", type=fraction, default=0.3)
    parser.add_argument("--runs", type=count, default=200)
    parser.add_argument("--scores", type=kept_scores, metavar="FILE", help="what `cascade tune --scores FILE` kept")
    parser.add_argument("--cascade", choices=tuple(CASCADES), default="precision", help="whose scores they are")
    given = parser.parse_args()
    if given.scores:
        cascade = CASCADES[given.cascade]
        check_scores(parser, cascade, given.scores)
        sys.stdout.write(measure_shuffled(cascade, given.scores, given.runs) + "\n")
        return
    for by_tier in (False, True):
        plan = Plan(n_tasks=given.tasks, n_items=given.items, rate=given.rate, planted=given.planted, by_tier=by_tier)
        sys.stdout.write(measure(plan, given.runs) + "\n")


if __name__ == "__main__":
    run_script(main)
