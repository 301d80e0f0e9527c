"""Are thresholds from few labelled tasks better than those of stages tuned one by one? Judged on the tasks not drawn.

    python -m benchmarks.few_tasks                                       # three simulated stages
    python -m benchmarks.few_tasks --scores scores.npz --cascade precision
    python -m benchmarks.few_tasks --scores scores.npz --cascade precision --within repository
    python -m benchmarks.few_tasks --scores scores.npz --cascade precision --target recall=0.9

``--scores`` takes a file that ``cascade tune --scores`` wrote. Each draw takes some of its tasks, chooses thresholds on
them in four ways, and runs the cascade on all others. ``--within`` draws the tasks from one value of a slice and judges
on the rest of it, each value in turn.

The ways: ``tune_few_tasks`` is ``cascade tune --no-guarantee --target macro_f1``; ``per_stage`` gives each question the
threshold of its own best F1, on rows whose true answer is known; ``joint`` is the same search on the labels as they
are; ``reachable`` is that on all tasks at once, those that are judged included: what more could hardly give.

``--target`` shows instead what became of a recall or a precision that ``tune_few_tasks`` aimed for.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.guarantee import question
from benchmarks.script import check_scores, count, kept_scores, run_script
from benchmarks.shipped import CASCADES
from cascade.cli.output import progress
from cascade.config.figures import Figure, Metric, Unit, figure_of
from cascade.errors import InputError
from cascade.evaluation.metrics import best_f1_threshold
from cascade.evaluation.replay import Outcome, Replay, Thresholds, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import p_yes
from cascade.stages import ANY_TIER, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.few_tasks import LabelReplay, tune_few_tasks
from cascade.tuning.target import TuningTarget

PER_STAGE = "per_stage"
SHARES = (0.83, 0.06, 0.08, 0.03)
"""How often each label is true in the simulated tasks."""

MEANS = {"a": (-2.6, -0.2, -0.9, -1.6), "b": (-1.8, 0.0, -1.1, -1.4), "c": (0.2, 0.6, 0.9, -0.3)}
"""Stage -> mean log odds of each label's items in the simulated tasks."""


def three_stages() -> Cascade:
    """Four labels, three of them rare."""

    def stage(name: str, yes: str, no: str) -> Stage:
        ends = [Target(end, is_label=end not in MEANS) for end in (yes, no)]
        return Stage(name=name, questions={ANY_TIER: question(name)}, yes=ends[0], no=ends[1])

    stages = (stage("a", "b", "drop"), stage("b", "first", "c"), stage("c", "second", "third"))
    return Cascade(name="three", instructions="i", labels=("drop", "first", "second", "third"), stages=stages)


def simulated(seed: int, n_tasks: int, n_items: int = 60) -> ScoredTasks:
    """Scores of three stages that are skewed, go together within an item, and are higher in some tasks than in others.

    They are no probabilities of anything: a model of labels has to find out.
    """
    rng = np.random.default_rng(seed)
    n = n_tasks * n_items
    tasks = np.repeat(np.arange(n_tasks), n_items)
    levels = np.cumsum(rng.dirichlet(np.array(SHARES) * 12, n_tasks), axis=1)[tasks]
    labels = (rng.random((n, 1)) >= levels[:, :-1]).sum(axis=1)
    of_task, of_item = rng.normal(0, 0.5, n_tasks)[tasks], rng.normal(0, 1, n)
    p = {}
    for name, means in MEANS.items():
        noise = 0.5 * of_item + 0.85 * rng.normal(0, 1, n)
        skewed = np.where(noise > 0, 1.6 * noise, 0.7 * noise)
        p[name, ANY_TIER] = p_yes(np.array(means)[labels] + of_task + 1.1 * skewed)
    return ScoredTasks(tasks=tasks, labels=labels.astype(np.int64), p=p, n_tasks=n_tasks)


def per_stage(cascade: Cascade, scored: ScoredTasks) -> Thresholds:
    """Each question's threshold of the best F1, by itself."""
    found = {}
    for stage, tier in own_thresholds(cascade):
        truths, p = scored.truths(cascade, stage), scored.p[stage, tier]
        known = (truths >= 0) & ~np.isnan(p)
        found[stage, tier] = best_f1_threshold(p[known], truths[known] == 1)
    return found


WAYS: Mapping[str, Callable[[Cascade, ScoredTasks], Thresholds]] = {
    "no_guarantee": lambda cascade, drawn: tune_few_tasks(cascade, drawn).thresholds,
    PER_STAGE: per_stage,
    "joint": lambda cascade, drawn: LabelReplay(cascade, drawn).best(own_thresholds(cascade)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How tasks are drawn.

    Attributes:
        n_tasks: Tasks of a draw.
        n_draws: Draws, each with as many others to be judged on as there are.
        within: Slice whose values are drawn from one after the other; "" for all tasks alike.
        seed: Of the draws.
    """

    n_tasks: int = 30
    n_draws: int = 100
    within: str = ""
    seed: int = 1

    def of(self, pools: Sequence[ScoredTasks]) -> Iterator[tuple[int, ScoredTasks, ScoredTasks]]:
        """Each pool in turn: its number, the tasks that thresholds are chosen on, those that they are judged on."""
        rng = np.random.default_rng(self.seed)
        for number in range(self.n_draws):
            pool = pools[number % len(pools)]
            order = rng.permutation(pool.n_tasks)
            yield number % len(pools), pool.take(order[: self.n_tasks]), pool.take(order[self.n_tasks :])

    def pools(self, scored: ScoredTasks) -> list[ScoredTasks]:
        """What is drawn from.

        Raises:
            InputError: There is no such slice.
        """
        if not self.within:
            return [scored]
        if self.within not in scored.slices:
            msg = f"--within {self.within!r} is no slice of these scores. Known: {', '.join(scored.slices) or 'none'}."
            raise InputError(msg)
        values = scored.slices[self.within]
        return [scored.take(np.unique(scored.tasks[values == value])) for value in np.unique(values)]


def compare(cascade: Cascade, scored: ScoredTasks, draws: Draws, advance: Callable[[], object]) -> dict[str, Any]:
    """Mean macro F1 of every way, and the ratio of their means to that of stages tuned one by one.

    Args:
        cascade: The cascade.
        scored: Its scores of all tasks.
        draws: How tasks are drawn.
        advance: Told of each draw that is done.

    Raises:
        InputError: No draw has enough to find.
    """
    found: dict[str, list[float]] = {name: [] for name in (*WAYS, "own", "reachable")}
    pools, n_refused = draws.pools(scored), 0
    reachable = [LabelReplay(cascade, pool).best(own_thresholds(cascade)) for pool in pools]
    for number, drawn, judged in draws.of(pools):
        advance()
        try:
            chosen = {name: way(cascade, drawn) for name, way in WAYS.items()}
        except InputError:  # a draw that is refused chooses nothing
            n_refused += 1
            continue
        judge = LabelReplay(cascade, judged)
        chosen |= {"own": own_thresholds(cascade), "reachable": reachable[number]}
        for name, thresholds in chosen.items():
            found[name].append(judge.macro_f1(thresholds))
    if n_refused == draws.n_draws:
        msg = f"All {n_refused} draws of {draws.n_tasks} tasks were refused. Draw more tasks."
        raise InputError(msg)
    base = np.array(found[PER_STAGE])
    return {
        "tasks": draws.n_tasks,
        "draws": draws.n_draws,
        "refused": n_refused,
        "within": draws.within or None,
        "macro_f1": {name: float(np.mean(values)) for name, values in found.items()},
        "deviation": {name: float(np.std(values)) for name, values in found.items()},
        "over_per_stage": {name: float(np.mean(values) / base.mean()) for name, values in found.items()},
        "no_guarantee_better_in": float(np.mean(np.array(found["no_guarantee"]) > base)),
    }


def aimed(
    cascade: Cascade, scored: ScoredTasks, draws: Draws, tuning_target: TuningTarget, advance: Callable[[], object]
) -> dict[str, Any]:
    """What came of a target on the tasks that were not drawn, over all draws.

    Raises:
        InputError: No draw has enough to find, or none reaches the target.
    """
    found: list[Outcome] = []
    for _, drawn, judged in draws.of(draws.pools(scored)):
        advance()
        try:
            chosen = tune_few_tasks(cascade, drawn, tuning_target).thresholds
        except InputError:
            continue
        found.append(Replay(cascade, judged).outcome(chosen))
    if not found:
        msg = f"All {draws.n_draws} draws of {draws.n_tasks} tasks were refused. Draw more tasks, or aim lower."
        raise InputError(msg)
    rows = [asdict(outcome) for outcome in found]
    reached = [row[figure_of(tuning_target.metric, Unit.TASK)] for row in rows]
    return {
        "tasks": draws.n_tasks,
        "draws": draws.n_draws,
        "refused": draws.n_draws - len(found),
        "within": draws.within or None,
        "target": f"{tuning_target.figure}={tuning_target.level:g}",
        "reached": float(np.mean(reached)),
        "deviation": float(np.std(reached)),
        "calls": float(np.mean([row["calls"] for row in rows])),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scores", type=kept_scores, metavar="FILE", help="what `cascade tune --scores FILE` kept")
    parser.add_argument("--cascade", choices=tuple(CASCADES), default="precision", help="whose scores they are")
    parser.add_argument("--tasks", type=count, default=30)
    parser.add_argument("--draws", type=count, default=100)
    parser.add_argument("--within", default="", metavar="SLICE")
    parser.add_argument("--target", type=tuning_target, metavar="MEASURE=LEVEL")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    cascade, scored = three_stages(), simulated(0, 750)
    if given.scores:
        cascade, scored = CASCADES[given.cascade], given.scores
        check_scores(parser, cascade, given.scores)
    draws = Draws(n_tasks=given.tasks, n_draws=given.draws, within=given.within)
    with progress() as bar:
        line = bar.add_task("draws", total=draws.n_draws)
        advance = partial(bar.advance, line)
        if given.target:
            figures = aimed(cascade, scored, draws, given.target, advance)
        else:
            figures = compare(cascade, scored, draws, advance)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n" if given.json else _in_words(figures))


def tuning_target(target: str) -> TuningTarget:
    """What ``MEASURE=LEVEL`` aims for, for argparse."""
    name, _, level = target.partition("=")
    return TuningTarget(level=float(level), metric=Metric(name))


def _in_words(figures: Mapping[str, Any]) -> str:
    head = f"{figures['draws']} draws of {figures['tasks']} tasks, {figures['refused']} refused; "
    if "target" in figures:
        return head + (
            f"{figures['target']} became {figures['reached']:.3f} on the tasks not drawn (deviation "
            f"{figures['deviation']:.3f}), at {figures['calls']:.3f} calls per item\n"
        )
    lines = [f"{Figure.MACRO_F1_OVER_ROWS.words} on the tasks not drawn, and over {PER_STAGE}:"]
    for name, ratio in figures["over_per_stage"].items():
        mean, spread = figures["macro_f1"][name], figures["deviation"][name]
        lines.append(f"{name:<10} {mean:.4f} (deviation {spread:.4f})  {ratio:.4f}")
    lines.append(f"no_guarantee is above {PER_STAGE} in {figures['no_guarantee_better_in']:.2f} of the draws\n")
    return head + "\n".join(lines)


if __name__ == "__main__":
    run_script(main)
