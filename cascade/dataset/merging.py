"""Tasks from all sources, each once: equal items are dropped, and labels that differ are told of. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cascade.dataset.examples import Example, Gathered
from cascade.dataset.tally import Tally
from cascade.evaluation.repeats import read_of_task
from cascade.items import Task

COPY = "the model reads the same of another item of the task"


@dataclass(slots=True, kw_only=True)
class Family:
    """Tasks of one text: what is split is families.

    Attributes:
        key: See ``Gathered.key``.
        ids: Ids that the log knows them by.
        at: When the first of them came; None where nobody says.
        place: Its place among all, in the order in which they were read.
        tasks: What the model reads of a task -> the task; two of them differ in the files that they start from.
    """

    key: str
    ids: set[str]
    at: float | None
    place: int
    tasks: dict[str, Gathered] = field(default_factory=dict)

    @property
    def when(self) -> tuple[bool, float, int]:
        """What families are ordered by: time, and those without one before all others as they came."""
        return self.at is not None, self.at or 0.0, self.place

    @property
    def examples(self) -> list[Example]:
        """The items of all its tasks."""
        return [example for task in self.tasks.values() for example in task.examples]


def merged(gathered: Iterable[Gathered], tally: Tally) -> list[Family]:
    """All tasks, each once, with each item once; families come by time, those without one first.

    Of an item that two sources label, and of items of which the model reads the same, the label counts that is trusted
    most, and of equally trusted ones the latest.
    """
    families: dict[str, Family] = {}
    by_id: dict[str, str] = {}
    for one in gathered:
        if not one.examples:
            continue
        key = by_id.setdefault(one.id, one.key)
        family = families.get(key)
        if family is None:
            family = families[key] = Family(key=key, ids=set(), at=one.at, place=len(families))
        by_id.setdefault(one.key, key)
        family.ids.add(one.id)
        if one.at is not None:
            family.at = one.at if family.at is None else min(family.at, one.at)
        same = family.tasks.setdefault(read_of_task(one.task), one)
        if same is not one:
            same.examples += one.examples
    for family in families.values():
        for task in family.tasks.values():
            task.examples = _each_once(task, tally)
    return sorted(families.values(), key=lambda one: one.when)


def _each_once(task: Gathered, tally: Tally) -> list[Example]:
    by_id: dict[str, Example] = {}
    for one in task.examples:
        before = by_id.get(one.id)
        by_id[one.id] = one if before is None else _better(task.task, task.id, before, one, tally)
    by_content: dict[tuple[bytes, tuple[str, ...]], Example] = {}
    for one in by_id.values():
        content = one.read, tuple(sorted(one.tiers))
        before = by_content.get(content)
        by_content[content] = one if before is None else _better(task.task, task.id, before, one, tally)
    return list(by_content.values())


def _better(task: Task, id_: str, first: Example, second: Example, tally: Tally) -> Example:
    """The one of two that counts."""
    kept = max((second, first), key=lambda one: (one.weight, one.at))
    tally.left_out[COPY] += 1
    if first.label != second.label:
        said = {f"{one.id} ({one.source or '?'})": one.label for one in (first, second)}
        why = "the same item twice" if first.id == second.id else "equal items"
        tally.conflicts.append(
            {"task": id_, "text": task.text[:200], "item": kept.id, "labels": said, "kept": kept.label, "why": why}
        )
    return kept
