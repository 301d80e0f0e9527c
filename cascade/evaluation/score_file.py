"""Labelled tasks and their scores, for whatever judges a cascade: from a file of scores, or else from an engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from cascade.config.lock import questions_at_hand
from cascade.config.schema import Config, Untuned
from cascade.engine.engine import Engine
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import Format, Labelled, read_tasks
from cascade.evaluation.latency import prices_of
from cascade.evaluation.output_file import Output
from cascade.evaluation.repeats import Distinct, Pair, contradiction, distinct
from cascade.evaluation.replay import Prices
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import data_fingerprint, load_scores, save_scores, score_tasks
from cascade.files import check_readable, is_file
from cascade.report import Origin
from cascade.tree import Cascade

Note = Callable[[str], object]
"""Told, in one line each, of what a user should know that is no error."""


def _nobody(*_: object) -> None:
    """Tells nobody."""


def labelled_tasks(
    paths: Sequence[Path],
    cascade: Cascade,
    form: Format | None = None,
    *,
    may_contradict: bool = False,
    note: Note = _nobody,
) -> Distinct:
    """The labelled tasks of files, those that are equal counted once.

    Args:
        paths: The files.
        cascade: Whose labels the truths are.
        form: How the files are written; None recognises each line by its fields.
        may_contradict: Whether tasks that are the same with other labels are told of, and not refused.
        note: Told of tasks that are left out or do not fit together, and of what the tasks do not show.

    Raises:
        InputError: A file or a row cannot be used, or two tasks contradict each other.
    """
    found = distinct(read_tasks(paths, cascade, form))
    n_again = len(found.repeated)
    if n_again:
        of = f"{n_again:,} of {counted(n_again + len(found.tasks), 'task')}"
        verb = "is" if n_again == 1 else "are"
        note(f"{of} {verb} equal to an earlier one, and not counted: {_first(found.repeated)}")
    if found.contradicting:
        told = f"{_first(found.contradicting)}. {_difference(found.contradicting[0])}"
        if not may_contradict:
            msg = (
                f"Tasks that are the same have other labels: {told} At most one of the two is right: mend or leave out "
                "the other. `cascade audit` takes them as they are, and shows what the model says of such items."
            )
            raise InputError(msg)
        note(f"tasks that are the same have other labels, and all count: {told}")
    if found.overlapping:
        note(
            f"tasks have the text and some of the items of an earlier one, and count by themselves: "
            f"{_first(found.overlapping)}; where it is the same task, give it once"
        )
    missing = _missing(found.tasks, cascade)
    if missing:
        note(f"these tasks do not show all of cascade {cascade.name!r}: {'; '.join(missing)}")
    return found


def _missing(tasks: Sequence[Labelled], cascade: Cascade) -> list[str]:
    """Classes that no item has, so that some figures are undefined or tell little."""
    labels = {label for labelled in tasks for label in labelled.labels}
    found = []
    if labels == {cascade.dropped}:
        found.append(f"no item matters, all are {cascade.dropped!r}")
    elif cascade.dropped not in labels:
        found.append(f"every item matters, none is {cascade.dropped!r}")
    true_answers = cascade.true_answers()
    for stage in cascade.stages:
        truths = {true_answers[label][stage.name] for label in labels if stage.name in true_answers[label]}
        if len(truths) == 1:
            found.append(f"the true answer to {stage.name!r} is never {'no' if truths.pop() else 'yes'}")
        elif not truths:
            found.append(f"no label tells the true answer to {stage.name!r}")
    return found


def _first(pairs: Sequence[Pair]) -> str:
    """The first pair by its places, and how many more there are."""
    later, earlier = pairs[0]
    more = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    return f"{later.where} ({earlier.where}){more}"


def _difference(pair: Pair) -> str:
    item, later, earlier = contradiction(pair)
    return f"There the item {item.id!r} is {later!r}, and before it was {earlier!r}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """Callbacks while labelled tasks are scored.

    Attributes:
        refuse: Called with the tasks and what their scores will come from, before they are scored; raises an InputError
            if that would be of no use.
        note: See ``labelled_tasks``.
        progress: Called after each task that is scored, with the number of those done and of all.
    """

    refuse: Callable[[Sequence[Labelled], Origin], object] = _nobody
    note: Note = _nobody
    progress: Callable[[int, int], object] = _nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledScores:
    """Labelled tasks and their scores.

    Attributes:
        cascade: The cascade, with the thresholds of its config.
        tasks: The tasks, each once.
        scored: Scores of every question for every item.
        origin: Model, adapters, data and questions of the scores.
        prices: Predicted costs of an item.
        n_repeated: Number of tasks left out because they equal an earlier one.
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
    may_contradict: bool = False,
    hooks: Hooks | None = None,
) -> LabelledScores:
    """Score labelled tasks, or find their scores in a file.

    Args:
        config: The config with the cascade, model and adapters.
        name: Name of the cascade.
        paths: Labelled tasks as JSON lines.
        cache: A file of scores; None for none. It is read if its scores are of this model and of these adapters,
            questions and tasks, and written if it is new or may be replaced.
        may_contradict: Whether tasks that are the same may have other labels.
        hooks: Callbacks; None for none.

    Raises:
        InputError: A file or a row cannot be used, or a file to write holds something else.
        MachineError: The scores cannot be kept.
    """
    hooks = hooks or Hooks()
    check_readable(paths)
    with Engine.open(config, log=None) as engine:
        cascade = engine.cascade(name)
        found = labelled_tasks(paths, cascade, may_contradict=may_contradict, note=hooks.note)
        tasks = found.tasks
        origin = origin_of(config, engine, cascade, tasks)
        hooks.refuse(tasks, origin)
        scored = _kept(cache, origin, cascade)
        if scored is None:
            done = count(1)
            scored = score_tasks(engine, cascade, tasks, lambda: hooks.progress(next(done), len(tasks)))
            if cache is not None:
                save_scores(scored, origin, cache.path)
        prices = prices_of(cascade, tasks, engine.info)
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
    """The origin of whatever is computed from a cascade, its backend and labelled tasks."""
    info = engine.info.provenance_of(cascade)
    return Origin(
        model=info.model,
        adapters=info.adapters,
        data=data_fingerprint(tasks),
        questions=questions_at_hand(config, cascade, info),
    )


def in_use(untuned: Untuned, name: str, origin: Origin, note: Note = _nobody) -> Cascade:
    """A cascade with the thresholds, curves and prior that an engine would take, or else with the config's own.

    Args:
        untuned: The config, and the thresholds that it names.
        name: Name of the cascade.
        origin: What the cascade was just scored with.
        note: Told why thresholds that the config names are not in use.
    """
    entry, file, problem = untuned.config.cascade[name], untuned.thresholds, untuned.problem
    if file is not None and untuned.config.engine.on_threshold_mismatch == "refuse":
        differs = replace(file.made_for.origin(), data=origin.data).differences(origin)
        if differs:
            file, problem = None, f"they were made for something else ({', '.join(differs)})"
    if problem:
        note(f"the thresholds that cascade {name!r} names are not in use: {problem}; what is kept is the config's own")
    return entry.model_copy(update={"thresholds": file}).cascade(name)


def with_stages(cascade: Cascade, other: Cascade, names: Collection[str]) -> Cascade:
    """A cascade with some of the stages of another one that asks the same."""
    stages = tuple(other.stage(stage.name) if stage.name in names else stage for stage in cascade.stages)
    return replace(cascade, stages=stages)
