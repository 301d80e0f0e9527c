"""Scores of labelled tasks for the commands that judge a cascade: from a file where it has them, else the engine's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cascade.cli.labelled_tasks import labelled_tasks
from cascade.cli.output import progress
from cascade.cli.outputs import Output
from cascade.config import Config
from cascade.engine import Engine
from cascade.errors import InputError
from cascade.files import check_readable, is_file
from cascade.lock import questions_at_hand
from cascade.rows import Labelled
from cascade.tree import Cascade
from cascade.tuning.outcome import Prices
from cascade.tuning.prices import prices_of
from cascade.tuning.scored import Origin, ScoredTasks
from cascade.tuning.scoring import data_fingerprint, load_scores, save_scores, score_tasks

Refuse = Callable[[Sequence[Labelled], Origin], object]
"""Told of labelled tasks and of what their scores will come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScores:
    """What a model says of labelled tasks.

    Attributes:
        cascade: The cascade, with the thresholds of its config.
        tasks: The tasks, each once.
        scored: What every question says of every item of them.
        origin: What the scores were made from.
        prices: What an item costs by what it is asked.
        n_repeated: Tasks that were given again, and are left out.
    """

    cascade: Cascade
    tasks: tuple[Labelled, ...]
    scored: ScoredTasks
    origin: Origin
    prices: Prices
    n_repeated: int = 0


def labelled_scores(
    config: Config,
    name: str,
    paths: list[Path],
    cache: Output | None,
    *,
    refuse: Refuse = lambda _tasks, _origin: None,
    may_contradict: bool = False,
) -> LabelledScores:
    """Score labelled tasks, or find their scores in a file.

    Args:
        config: Where the cascade, its model and adapters are.
        name: Name of the cascade.
        paths: Labelled tasks as JSON lines.
        cache: A file of scores, used where they are of this model, these adapters, questions and tasks, and written
            where it is new or may be replaced; None for none.
        refuse: Told of the tasks before they are scored; raises an InputError where that would be of no use.
        may_contradict: Whether tasks that are the same may have other labels.

    Raises:
        InputError: A file or a row cannot be used, or a file to write holds something else.
        MachineError: The scores cannot be kept.
    """
    check_readable(paths)
    with progress() as bar, Engine.open(config) as engine:
        cascade = engine.cascade(name)
        line = bar.add_task("tasks", total=None)
        found = labelled_tasks(paths, cascade, may_contradict=may_contradict)
        tasks = found.tasks
        bar.update(line, total=len(tasks))
        origin = origin_of(config, engine, cascade, tasks)
        refuse(tasks, origin)
        scored = _kept(cache, origin, cascade)
        if scored is None:
            scored = score_tasks(engine, cascade, tasks, lambda: bar.advance(line))
            if cache is not None:
                save_scores(scored, origin, cache.path)
        prices = prices_of(cascade, tasks, engine.facts, config.model.limits.limits())
    return LabelledScores(
        cascade=cascade,
        tasks=tasks,
        scored=scored,
        origin=origin,
        prices=prices,
        n_repeated=len(found.repeated),
    )


def _kept(cache: Output | None, origin: Origin, cascade: Cascade) -> ScoredTasks | None:
    """The scores of a file; None where it has none of this origin and may be replaced."""
    if cache is None or not is_file(cache.path):
        return None
    cache.check(origin)
    try:
        scored = load_scores(cache.path, origin)
    except InputError:
        if cache.is_taken:
            raise
        return None
    if scored is None or scored.fits(cascade):
        return scored
    if cache.is_taken:
        msg = f"{cache.path}: holds scores that do not fit together. Name another file, or replace it with --force."
        raise InputError(msg)
    return None


def origin_of(config: Config, engine: Engine, cascade: Cascade, tasks: Sequence[Labelled]) -> Origin:
    """What comes of a cascade, its backend and labelled tasks depends on."""
    facts = engine.facts.provenance
    return Origin(
        model=facts.model,
        adapters={adapter: facts.adapters[adapter] for adapter in cascade.adapters()},
        data=data_fingerprint(tasks),
        questions=questions_at_hand(config, cascade, facts),
    )
