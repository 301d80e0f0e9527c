"""What a teacher says of items: another adapter or model of the config, or a file of probabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from cascade.config.json_rows import parse_row, refuse_field
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scoring import data_fingerprint
from cascade.files import is_file, read_objects, write_whole
from cascade.items import Task
from cascade.stages import is_base
from cascade.training.compare import Answers, asked_of_engine
from cascade.training.lesson import Asked, Lesson

P = Annotated[float, Field(strict=True, ge=0, le=1)]


class _Row(BaseModel):
    """One line of a teacher's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(min_length=1)
    seeds: tuple[str, ...] = ()
    item: str = Field(min_length=1)
    question: str = ""
    p: P | dict[str, P]


def read_teacher(path: Path, lesson: Lesson) -> Answers:
    """The probabilities of a file of JSON lines: task, seeds, item, p, and the marker where there are several.

    Args:
        path: The file. ``p`` is p(yes), or of a choice or score a table from each value to its probability.
        lesson: Whose questions it answers.

    Raises:
        InputError: The file or a line cannot be used.
    """
    by_marker = {asked.question.marker: asked for asked in lesson.asked}
    found: Answers = {}
    for where, value in read_objects(path):
        row = parse_row(_Row, value, where)
        marker = row.question or (lesson.markers[0] if len(lesson.markers) == 1 else "")
        if marker not in by_marker:
            known = ", ".join(lesson.markers)
            refuse_field(where, "question", f"is {row.question!r}; adapter {lesson.adapter!r} answers {known}")
        key = Task(text=row.task, seeds=row.seeds).id, row.item, marker
        found[key] = _shares(by_marker[marker], row.p, where)
    if not found:
        msg = f"{path}: says nothing of any item. Give JSON lines with task, item and p."
        raise InputError(msg)
    return found


def _shares(asked: Asked, p: float | Mapping[str, float], where: str) -> tuple[float, ...]:
    names = [value.name for value in asked.question.values]
    if isinstance(p, float) and not names:
        return p, 1 - p
    if isinstance(p, float) or set(p) != set(names):
        due = f"a table with a probability for each of {', '.join(names)}" if names else "one number, p(yes)"
        refuse_field(where, "p", f"does not fit question {asked.question.marker!r}; it must be {due}")
    total = sum(p.values())
    if not total:
        refuse_field(where, "p", "is 0 for every value; one at least must be above 0")
    return tuple(p[name] / total for name in names)


def ask_teacher(lesson: Lesson, name: str, tasks: Sequence[Labelled], kept: Path, plan: str) -> Answers:
    """What another adapter or base model of the config says, asked once and then kept.

    Args:
        lesson: The questions.
        name: The adapter, or the name under which a base model is asked alone.
        tasks: What it is asked of.
        kept: Where its answers are kept for a run that was killed.
        plan: Fingerprint of the plan, which tells teacher and questions from others.

    Raises:
        CascadeError: It cannot be asked.
    """
    head = {"plan": plan, "tasks": data_fingerprint(tasks)}
    known = _kept(kept, head)
    if known is not None:
        return known
    config = lesson.config
    entry = None if is_base(name) else config.served.get(name) or config.adapter(name)
    found = asked_of_engine(lesson, name, entry, tasks)
    rows = ({"task": task, "item": item, "marker": marker, "p": p} for (task, item, marker), p in found.items())
    write_whole(kept, "".join(f"{json.dumps(row)}\n" for row in (head, *rows)).encode())
    return found


def _kept(path: Path, head: Mapping[str, str]) -> Answers | None:
    """Answers that were kept under this very head; None where there are none, or they are damaged: it is asked anew."""
    if not is_file(path):
        return None
    try:
        rows = (row for _, row in read_objects(path))
        if next(rows, None) != head:
            return None
        return {(row["task"], row["item"], row["marker"]): tuple(map(float, row["p"])) for row in rows}
    except (InputError, KeyError, TypeError, ValueError):
        return None


def n_taught(answers: Iterable[tuple[str, str, str]], tasks: Sequence[Labelled]) -> int:
    """Of how many items of tasks something is said."""
    known = {(task, item) for task, item, _ in answers}
    return sum((labelled.task.id, item.id) in known for labelled in tasks for item in labelled.items)
