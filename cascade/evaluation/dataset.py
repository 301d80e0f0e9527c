"""Items and labelled tasks from files of JSON lines, into the pure core."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from cascade.config.item_rows import ItemRow, LabelledTaskRow, item_at, seconds
from cascade.config.json_rows import parse_row, refuse_field
from cascade.engine.request import with_evidence
from cascade.errors import InputError, ItemError
from cascade.evaluation.commits import CommitTask
from cascade.files import REMEDY, name_of, read_objects
from cascade.items import Item, Task
from cascade.tree import Cascade, ItemKind

_SHOWN = 200  # characters of an id


class Format(StrEnum):
    """Formats of labelled tasks."""

    ITEMS = "items"
    COMMITS = "commits"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A task whose truth is known.

    Attributes:
        task: The task.
        items: Its items.
        labels: The true label of each.
        weights: How much each counts in a training, in [0, 1]; empty where each counts fully. Figures do not read it.
        repository: Where it comes from; empty where nobody says.
        where: The file and the line that it was read from, in words; empty where it comes from no file.
        at: When the task came, in seconds since the epoch; None where nobody says.
    """

    task: Task
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    weights: tuple[float, ...] = ()
    repository: str = ""
    where: str = ""
    at: float | None = None

    @property
    def headline(self) -> str:
        """First line of the task's text."""
        return (self.task.text.strip().splitlines() or [""])[0]


def read_items(path: Path, cascade: Cascade | None = None) -> list[Item]:
    """The items of a JSON-lines file, one object a line, plain or gzipped; a file may have none.

    Args:
        path: The file; ``-`` for stdin.
        cascade: What will be asked of them; None if that is not known yet.

    Raises:
        InputError: The file cannot be read, or an item cannot be asked; names file, line and field.
    """
    found: list[Item] = []
    first: dict[str, str] = {}
    for where, value in read_objects(path):
        item = item_at(parse_row(ItemRow, value, where), where)
        before = first.setdefault(item.id, where)
        if before != where:
            refuse_field(
                where, "id", f"{item.id[:_SHOWN]!r} is the id of {before.rpartition(', ')[2]} as well; make ids unique"
            )
        _check_tiers(item, where, "tiers", cascade)
        found.append(item)
    return found


def read_tasks(paths: Iterable[Path], cascade: Cascade, form: Format | None = None) -> list[Labelled]:
    """All labelled tasks of JSON-lines files; see ``read_labelled``.

    Raises:
        InputError: As there, a file has no tasks, or none of all tasks has an item.
    """
    found: list[Labelled] = []
    names: list[str] = []
    for path in paths:
        before = len(found)
        found += read_labelled(path, cascade, form)
        names.append(name_of(path))
        if len(found) == before:
            msg = f"{names[-1]}: has no tasks. {REMEDY}"
            raise InputError(msg)
    if not any(labelled.items for labelled in found):
        msg = f"{', '.join(names)}: no task has an item, so there is nothing to score. Give labelled tasks with items."
        raise InputError(msg)
    return found


def read_labelled(path: Path, cascade: Cascade, form: Format | None = None) -> Iterator[Labelled]:
    """The labelled tasks of a JSON-lines file, plain or gzipped, with the evidence that the cascade makes.

    Args:
        path: The file; ``-`` for stdin.
        cascade: Whose labels the truths are; its ``items`` decides whether a commit task's files or its symbols are
            asked about.
        form: How the file is written; None recognises each line by its fields.

    Raises:
        InputError: Names file, line and field, such as a label that the cascade does not have.
    """
    for where, value in read_objects(path):
        is_commit = form is Format.COMMITS or (form is None and {"commit", "files", "symbols"} <= set(value))
        key = str(cascade.items) if is_commit else "items"
        found = _from_commit(value, where, cascade) if is_commit else _from_row(value, where)
        _check_labelled(found, where, key, cascade)
        yield replace(found, items=tuple(with_evidence(cascade, found.task, list(found.items))))


def _from_row(value: dict[str, Any], where: str) -> Labelled:
    row = parse_row(LabelledTaskRow, value, where)
    return Labelled(
        task=Task(text=row.task, seeds=row.seeds),
        items=tuple(item_at(item, f"{where}: field 'items.{place}'") for place, item in enumerate(row.items)),
        labels=tuple(item.label for item in row.items),
        weights=tuple(item.weight for item in row.items) if any(item.weight != 1 for item in row.items) else (),
        repository=row.repository,
        where=where,
        at=seconds(row.date),
    )


def _from_commit(value: dict[str, Any], where: str, cascade: Cascade) -> Labelled:
    commit = parse_row(CommitTask, value, where)
    try:
        if cascade.items is ItemKind.FILES:
            items, labels = commit.file_items(), commit.file_labels
        elif cascade.items is not ItemKind.SYMBOLS:
            msg = (
                f"{where}: a commit task has files and symbols, and the cascade {cascade.name!r} asks about "
                f"{cascade.items}. Give labelled tasks with items of their own."
            )
            raise InputError(msg)
        else:
            items, labels = commit.symbol_items(), commit.symbol_labels
    except ItemError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error
    return Labelled(
        task=commit.request(),
        items=tuple(items),
        labels=labels,
        repository=commit.repo,
        where=where,
        at=seconds(commit.date),
    )


def _check_labelled(labelled: Labelled, where: str, key: str, cascade: Cascade) -> None:
    """Refuse items of a task that cannot be told apart or asked, and labels that the cascade does not have."""
    first: dict[str, int] = {}
    for place, (item, label) in enumerate(zip(labelled.items, labelled.labels, strict=True)):
        before = first.setdefault(item.id, place)
        if before != place:
            refuse_field(
                where, f"{key}.{place}.id", f"{item.id[:_SHOWN]!r} is the id of {key}.{before} as well; make ids unique"
            )
        if label not in cascade.answers:
            kind = "is what uncertain items get, and no true label" if label in cascade.handed_on else "is no label"
            known = ", ".join(cascade.answers)
            refuse_field(
                where, f"{key}.{place}.label", f"{label!r} {kind} of cascade {cascade.name!r}; allowed are {known}"
            )
        _check_tiers(item, where, f"{key}.{place}.tiers", cascade)


def _check_tiers(item: Item, where: str, field: str, cascade: Cascade | None) -> None:
    """Refuse an item that a stage cannot ask."""
    try:
        for stage in cascade.stages if cascade is not None else ():
            stage.tiers_of(item)
    except ItemError as error:
        msg = f"{where}: field {field!r}: {error}"
        raise InputError(msg) from error
