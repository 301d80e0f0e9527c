"""Logs with outcomes, from which tests build datasets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from cascade import DecisionLog, Item, Outcome, Task
from tests.log.logs import scripted

LABELS = ("primary", "supporting", "excluded", "type_context")


def items_of(n: int, prefix: str = "item") -> list[Item]:
    """Items that all read differently."""
    return [Item(id=f"{prefix}-{at}", kind="function", name=f"{prefix}_{at}") for at in range(n)]


def logged(path: Path, tasks: Iterable[tuple[Task, Sequence[Item]]], *, texts: str = "full") -> None:
    """Put requests into a log, one for each task."""
    with DecisionLog(path, texts=texts) as log, scripted(log) as engine:
        for task, items in tasks:
            engine.classify(task, list(items))


def told(path: Path, outcomes: Iterable[Outcome]) -> None:
    """Put outcomes into a log."""
    with DecisionLog(path, texts="full") as log:
        log.record(outcomes)


def labelled_log(path: Path, n_tasks: int = 10, n_items: int = 4, prefix: str = "task") -> list[Task]:
    """A log of tasks in which every item has an outcome: the first of each is primary, and so on through the labels."""
    tasks = [Task(text=f"{prefix} number {at}") for at in range(n_tasks)]
    logged(path, [(task, items_of(n_items)) for task in tasks])
    told(
        path,
        [
            Outcome(task=task.id, item=item.id, label=LABELS[at % len(LABELS)], source="commit")
            for task in tasks
            for at, item in enumerate(items_of(n_items))
        ],
    )
    return tasks
