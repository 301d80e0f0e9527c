"""Whether the engine answers with an adapter's file as the model that was trained answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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

Answers = dict[tuple[str, str, str], tuple[float, ...]]
"""(id of the task, id of the item, marker) -> probability of each label token."""


def some_of(tasks: Sequence[Labelled], n_items: int = N_ITEMS) -> list[Labelled]:
    """A few items of several tasks, about so many in all."""
    each = max(1, n_items // max(1, min(len(tasks), 8)))
    found: list[Labelled] = []
    for labelled in tasks[:: max(1, len(tasks) // 8)]:
        step = max(1, len(labelled.items) // each)
        found.append(
            Labelled(task=labelled.task, items=labelled.items[::step][:each], labels=labelled.labels[::step][:each])
        )
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
    found = asked_of_engine(lesson, lesson.adapter, AdapterConfig(path=path, model=_named_model(lesson)), tasks)
    both = found.keys() & own.keys()
    if not both:
        msg = "The engine was asked nothing that the trained model was asked, so its file cannot be checked."
        raise MachineError(msg)
    worst = max(both, key=lambda key: _apart(found[key], own[key]))
    gap = _apart(found[worst], own[worst])
    if gap > within:
        _, item, marker = worst
        msg = (
            f"With the adapter as a file the engine answers otherwise than the trained model: of {marker!r} for "
            f"item {item!r} p is {found[worst][0]:.4f}, and it was {own[worst][0]:.4f} in training. They may differ by "
            f"{within:g}, so no file is written. A quantised base model rounds what it computes: train on one in F16 "
            "or BF16, or allow more with --within."
        )
        raise MachineError(msg)
    return gap


def _apart(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


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
