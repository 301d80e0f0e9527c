"""Whether the engine answers with an adapter's file as the model that was trained answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade.config.base_models import base_adapter
from cascade.config.schema import AdapterConfig, Config
from cascade.config.servers import ServedConfig
from cascade.engine.engine import Engine
from cascade.errors import MachineError
from cascade.evaluation.dataset import Labelled
from cascade.items import Item
from cascade.probability import Array
from cascade.training.examples import Example
from cascade.training.lesson import Asked, Lesson

WITHIN = 0.01
"""By how much a probability may differ."""

N_ITEMS = 64
"""About how many items of the validation part are compared."""

FIRST_ITEMS = 16
"""The same before a training begins."""

_TASKS = 8  # about so many are compared

_ROUNDS = (
    "A quantised base model rounds what it computes: train on one in F16 or BF16 (`cascade quantize IN OUT --type F16 "
    "--allow-requantize` makes a copy), or allow more with --within."
)

Answers = dict[tuple[str, str, str], tuple[float, ...]]
"""(id of the task, id of the item, marker) -> probability of each label token."""


def some_of(tasks: Sequence[Labelled], known: Sequence[Example], n_items: int = N_ITEMS) -> list[Labelled]:
    """A few items of several tasks, about so many in all, among those that are asked something.

    Args:
        tasks: The tasks.
        known: What is asked of them: of an item of which nothing is known nothing is asked.
        n_items: How many.
    """
    asked = {(example.task, ask.item) for example in known for ask in example.asks}
    places = [
        [at for at, item in enumerate(labelled.items) if (labelled.task.id, item.id) in asked] for labelled in tasks
    ]
    able = [(labelled, at) for labelled, at in zip(tasks, places, strict=True) if at]
    each = max(1, n_items // max(1, min(len(able), _TASKS)))
    found: list[Labelled] = []
    for labelled, at in able[:: max(1, len(able) // _TASKS)][:n_items]:
        chosen = at[:: max(1, len(at) // each)][:each]
        items = tuple(labelled.items[place] for place in chosen)
        labels = tuple(labelled.labels[place] for place in chosen)
        found.append(Labelled(task=labelled.task, items=items, labels=labels))
    return found


def asked_of_engine(
    lesson: Lesson, adapter: str, entry: AdapterConfig | ServedConfig | None, tasks: Sequence[Labelled]
) -> Answers:
    """What an engine answers to the questions of a lesson.

    Args:
        lesson: The questions, and the config that they are of.
        adapter: Name of the adapter that is to answer them.
        entry: Its entry in the map; None for a base model alone.
        tasks: Tasks with items.

    Raises:
        CascadeError: The engine cannot be opened, or fails.
    """
    config: Config = lesson.config.model_copy(
        update={"adapters": {} if entry is None else {adapter: entry}, "log": None}
    )
    tree = lesson.asked_by(adapter)
    found: Answers = {}
    with Engine.open(config, cascades={tree.name: tree}, log=None) as engine:
        for labelled in tasks:
            asked = engine.score(labelled.task, labelled.items, tree.name, *lesson.stages)
            for item, steps in zip(labelled.items, asked, strict=True):
                for step in steps:
                    for own in lesson.asked:
                        if own.stage.name == step.stage:
                            _note(found, labelled.task.id, item, own, step.scores)
    return found


def _note(found: Answers, task: str, item: Item, own: Asked, scores: Mapping[str, float]) -> None:
    """Keep what a step says of one question."""
    if own.question.values:
        found[task, item.id, own.question.marker] = tuple(scores[value.name] for value in own.question.values)
    elif own.tier in scores:
        found[task, item.id, own.question.marker] = (scores[own.tier], 1 - scores[own.tier])


def check_file(lesson: Lesson, path: Path, tasks: Sequence[Labelled], own: Answers, within: float = WITHIN) -> float:
    """Refuse an adapter's file with which the engine answers otherwise than the model that was trained.

    Args:
        lesson: What it was trained for.
        path: The file.
        tasks: What is asked of both.
        own: What the trained model answers.
        within: By how much a probability may differ.

    Returns:
        The largest difference.

    Raises:
        MachineError: Some answer differs by more; or the two were not asked the same.
    """
    gap, told = _largest_gap(_asked_with(lesson, path, tasks), own)
    if not gap <= within:
        msg = (
            f"With the adapter as a file the engine answers otherwise than the trained model: {told}. They may differ "
            f"by {within:g}, so no file is written. {_ROUNDS}"
        )
        raise MachineError(msg)
    return gap


def check_first(
    lesson: Lesson, start: Path | None, tasks: Sequence[Labelled], own: Answers, within: float, weights: Path | None
) -> None:
    """Refuse a training at whose end ``check_file`` would fail: engine and torch differ from the first.

    Args:
        lesson: What is taught.
        start: The file that it starts from; None for a fresh adapter, which changes nothing yet.
        tasks: What is asked of both.
        own: What the model answers that is to be trained.
        within: By how much a probability may differ.
        weights: The folder that its weights come from; None for the base model's file.

    Raises:
        CascadeError: The engine cannot run the base model, or some answer differs by more.
    """
    gap, told = _largest_gap(_asked_with(lesson, start, tasks), own)
    if not gap <= within:
        other = f" Perhaps {weights} does not hold the weights of {lesson.base.path}: give those." if weights else ""
        msg = (
            f"Before any training the engine answers otherwise than the model that is to be trained: {told}. They may "
            f"differ by {within:g}.{other} {_ROUNDS}"
        )
        raise MachineError(msg)


def _asked_with(lesson: Lesson, path: Path | None, tasks: Sequence[Labelled]) -> Answers:
    """What the engine answers with an adapter's file, or without one with the base model alone."""
    if path is None:
        return asked_of_engine(lesson, base_adapter(lesson.model, lesson.config.base_models), None, tasks)
    return asked_of_engine(lesson, lesson.adapter, AdapterConfig(path=path, model=_named_model(lesson)), tasks)


def _largest_gap(found: Answers, own: Answers) -> tuple[float, str]:
    """The largest difference between the engine and a model of torch, and where it is, in words.

    Raises:
        MachineError: The two were not asked the same.
    """
    both = sorted(found.keys() & own.keys())
    if not both:
        msg = "The engine was asked nothing that the trained model was asked, so its file cannot be checked."
        raise MachineError(msg)
    worst = max(both, key=lambda key: _apart(found[key], own[key]))
    _, item, marker = worst
    told = f"of {marker!r} for item {item!r} p is {found[worst][0]:.4f}, and in torch {own[worst][0]:.4f}"
    return _apart(found[worst], own[worst]), told


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    """The largest difference; infinite where something is no number."""
    apart = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return max(apart) if all(map(math.isfinite, apart)) else math.inf


def _named_model(lesson: Lesson) -> str | None:
    """The base model as an entry of the map names it, where there are several."""
    return lesson.model if len(lesson.config.base_models) > 1 else None


def by_key(lesson: Lesson, examples: Sequence[Example], predicted: Sequence[Array]) -> Answers:
    """What the trained model answers, under the keys of what the engine answers."""
    return {
        (example.task, ask.item, lesson.asked[ask.question].question.marker): tuple(p[: len(ask.target)].tolist())
        for example, found in zip(examples, predicted, strict=True)
        for ask, p in zip(example.asks, found, strict=True)
    }
