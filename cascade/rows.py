"""JSON lines from outside: items, labelled items, and labelled tasks; read into the pure core."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cascade.candidates.commits import CommitTask
from cascade.errors import InputError
from cascade.items import Group, Item, Task
from cascade.tree import Cascade

_Model = TypeVar("_Model", bound=BaseModel)


class Format(StrEnum):
    """How labelled tasks are written."""

    ITEMS = "items"
    COMMITS = "commits"


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupRow(_Row):
    """What several items have in common."""

    name: str
    evidence: tuple[str, ...] = ()


class ItemRow(_Row):
    """One item; see ``cascade.items.Item`` for what the fields mean."""

    id: str = Field(min_length=1)
    kind: str = "item"
    name: str = Field(min_length=1)
    signature: str = ""
    doc: str = ""
    evidence: tuple[str, ...] = ()
    group: GroupRow | None = None
    tiers: tuple[str, ...] = ()
    priority: float = 0.0
    prior: float | None = None

    def item(self) -> Item:
        """The pure form."""
        group = Group(name=self.group.name, evidence=self.group.evidence) if self.group else None
        fields = {name: getattr(self, name) for name in ItemRow.model_fields if name != "group"}
        return Item(**fields, group=group)


class LabelledItemRow(ItemRow):
    """An item with its true label."""

    label: str


class LabelledTaskRow(_Row):
    """A task with labelled items: one line of the ``items`` format."""

    id: str = ""
    repository: str = ""
    task: str = Field(min_length=1)
    seeds: tuple[str, ...] = ()
    items: tuple[LabelledItemRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A task whose truth is known.

    Attributes:
        task: The task.
        items: Its items.
        labels: The true label of each.
        repository: Where it comes from; empty where nobody says.
    """

    task: Task
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    repository: str = ""

    @property
    def headline(self) -> str:
        """First line of the task's text."""
        return (self.task.text.strip().splitlines() or [""])[0]


def read_items(path: Path) -> list[Item]:
    """The items of a JSON-lines file, one object a line, plain or gzipped.

    Raises:
        InputError: Names file, line and field.
    """
    return [_parse(ItemRow, value, where).item() for where, value in _lines(path)]


def read_labelled(path: Path, cascade: Cascade, form: Format | None = None) -> Iterator[Labelled]:
    """The labelled tasks of a JSON-lines file, plain or gzipped.

    Args:
        path: The file.
        cascade: Whose labels the truths are; it also decides whether a commit task's symbols or its
            files are the items.
        form: How the file is written; None recognises each line by its fields.

    Raises:
        InputError: Names file, line and field, or a label that the cascade does not have.
    """
    for where, value in _lines(path):
        is_commit = form is Format.COMMITS or (form is None and {"commit", "files", "symbols"} <= set(value))
        found = _from_commit(value, where, cascade) if is_commit else _from_row(value, where)
        unknown = sorted(set(found.labels) - set(cascade.labels))
        if unknown:
            msg = f"{where}: label {unknown[0]!r} is not one of cascade {cascade.name!r}: {', '.join(cascade.labels)}."
            raise InputError(msg)
        yield found


def _from_row(value: dict[str, Any], where: str) -> Labelled:
    row = _parse(LabelledTaskRow, value, where)
    return Labelled(
        task=Task(text=row.task, seeds=row.seeds),
        items=tuple(item.item() for item in row.items),
        labels=tuple(item.label for item in row.items),
        repository=row.repository,
    )


def _from_commit(value: dict[str, Any], where: str, cascade: Cascade) -> Labelled:
    commit = _parse(CommitTask, value, where)
    if asks_files(cascade):
        items, labels = commit.file_items(), commit.file_labels
    else:
        items, labels = commit.symbol_items(), commit.symbol_labels
    return Labelled(task=commit.request(), items=tuple(items), labels=labels, repository=commit.repo)


def asks_files(cascade: Cascade) -> bool:
    """Whether a cascade is about files: files come in tiers, symbols do not."""
    return any(stage.is_tiered for stage in cascade.stages)


def _parse(model: type[_Model], value: dict[str, Any], where: str) -> _Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        msg = f"{where}: field {field!r}: {first['msg']} (given {str(first['input'])[:80]!r})."
        raise InputError(msg) from error


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line, object) of every line that is not blank."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{path}, line {number}", _object(line, f"{path}, line {number}")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        msg = f"{path}: cannot be read ({reason}). Give a JSON-lines file in UTF-8, plain or gzipped."
        raise InputError(msg) from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        msg = f"{where}: is not JSON ({error}). Each line is one object."
        raise InputError(msg) from error
    if not isinstance(value, dict):
        msg = f"{where}: is a JSON {type(value).__name__}. Each line is one object."
        raise InputError(msg)
    return value


def check_files(paths: Sequence[Path]) -> None:
    """Refuse paths that are not files before any work starts.

    Raises:
        InputError: Names the path.
    """
    for path in paths:
        if not path.is_file():
            msg = f"{path}: there is no such file. Give JSON-lines files, plain or gzipped."
            raise InputError(msg)
