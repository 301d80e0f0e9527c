"""Rows as they come in: a task with all its items, or one item with its task. Pure.

A row that cannot be used is no exception: it has a ``Fault``, and becomes a row of the results like any other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from cascade.config.item_rows import ItemRow, Words, item_at
from cascade.config.json_rows import parse_row
from cascade.config.toml import shown
from cascade.errors import BackendError, CascadeError, DecodeError, InputError, ServerError
from cascade.items import Item, Task

_SHOWN = 200  # characters of an id
_EXACT = 2**53  # up to here a float tells whole numbers apart


class ErrorKind(StrEnum):
    """Why a row has no answer.

    ``row``: the line, or the task in it, cannot be read.
    ``item``: the item cannot be read, or cannot be asked.
    ``server``: a server did not answer.
    ``decode``: llama.cpp failed at it.
    ``backend``: another failure of the backend.
    """

    ROW = "row"
    ITEM = "item"
    SERVER = "server"
    DECODE = "decode"
    BACKEND = "backend"

    @property
    def is_own(self) -> bool:
        """Whether the row itself is at fault, so that to ask again is of no use."""
        return self in {ErrorKind.ROW, ErrorKind.ITEM}


_KINDS = {
    ServerError: ErrorKind.SERVER,
    DecodeError: ErrorKind.DECODE,
    BackendError: ErrorKind.BACKEND,  # the class of both, so it is the last
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row has no answer, with what to do."""

    kind: ErrorKind
    message: str

    @classmethod
    def of(cls, error: CascadeError) -> Self:
        """The fault that an error means for the rows it is about."""
        kind = next((kind for known, kind in _KINDS.items() if isinstance(error, known)), ErrorKind.ITEM)
        return cls(kind, str(error))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One item to be labelled, or what stands in its place and cannot be.

    Attributes:
        digest: SHA-256 over what was given, in hex: task and item, or the row that could not be read.
        task_id: What the results call the task: the id that was given for it, or else ``Task.id``; empty if unknown.
        id: The item's id; empty if unknown.
        task: The task; None where there is a fault.
        item: The item; None where there is a fault.
        fault: Why it cannot be asked; None where it can be.
        is_flat: Whether it was a line or row of its own, so that those of the same task beside it belong with it.
    """

    digest: str
    task_id: str = ""
    id: str = ""
    task: Task | None = None
    item: Item | None = None
    fault: Fault | None = None
    is_flat: bool = False

    def refused(self, fault: Fault) -> Row:
        """The same row, with the reason why it cannot be asked."""
        return replace(self, task=None, item=None, fault=fault)

    def key(self, made_by: str) -> str:
        """What tells the row of its results from all others: 32 hexadecimal digits over task, item and provenance.

        Args:
            made_by: The digest of what answers; see ``RunProvenance``.
        """
        return hashlib.sha256(f"{self.digest} {made_by}".encode()).hexdigest()[:32]


def _as_text(value: object) -> object:
    """An id as a text where it is a whole number, also one that a table has made a float, as pandas does with gaps."""
    if isinstance(value, str | bytes):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    msg = "a string or a whole number is needed"
    raise ValueError(msg)


_Id = Annotated[str, BeforeValidator(_as_text)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _AnyItemRow(ItemRow):
    """An item; labels of labelled tasks are allowed, and not read."""

    id: _Id = Field(min_length=1)
    label: Any = None
    weight: Any = None


class _TaskRow(_Row):
    """A task with its items, each still to be read; see ``LabelledTaskRow``."""

    id: _Id = ""
    repository: Any = None
    date: Any = None
    task: Words = Field(min_length=1)
    seeds: tuple[str, ...] = ()
    items: list[Any]


class _FlatRow(_AnyItemRow):
    """An item with the task that it is judged for."""

    task: Words = Field(min_length=1)
    task_id: _Id = ""
    seeds: tuple[str, ...] = ()


FLAT_FIELDS = tuple(_FlatRow.model_fields)
"""What a row of one item may have."""

TASK_FIELDS = tuple(_TaskRow.model_fields)
"""What a row of a task with its items may have."""


def rows_of(value: Mapping[str, Any], where: str) -> list[Row]:
    """The rows that one line, or one row of a table, stands for.

    Args:
        value: A task with ``items``, as labelled tasks are written, with or without labels; or one item whose ``task``
            stands beside its own fields, with an optional ``task_id`` and ``seeds``. An id may be a whole
            number, ``7`` or ``7.0``.
        where: Its file and line, in words; messages begin with it.

    Returns:
        One row for each item. Where the whole of it cannot be read there is one row with a fault. Never raises for what
        is wrong with the value.
    """
    try:
        return _items_of(dict(value), where) if "items" in value else [_flat_row(dict(value), where)]
    except InputError as error:
        if "items" in value:
            return [unread(value, str(error), task_id=_name(value, "id"))]
        named = {"task_id": _name(value, "task_id"), "id_": _name(value, "id")}
        return [unread(value, str(error), kind=ErrorKind.ITEM, **named)]


def unread(given: object, message: str, *, kind: ErrorKind = ErrorKind.ROW, task_id: str = "", id_: str = "") -> Row:
    """The row that stands for something that cannot be used.

    Args:
        given: It, as JSON or as text.
        message: What is wrong with it and what to do.
        kind: Which kind of error that is.
        task_id: What the results call its task, if that is known.
        id_: The item's id, if that is known.
    """
    digest = _digest("unread", task_id, given)
    return Row(digest=digest, task_id=task_id[:_SHOWN], id=id_[:_SHOWN], fault=Fault(kind, message))


def row_of(task: Task, item: Item, task_id: str = "") -> Row:
    """The row of an item and its task.

    Args:
        task: The task.
        item: The item, with the evidence that was given.
        task_id: What the results call the task; ``Task.id`` if that is empty.
    """
    group = item.group and (item.group.name, item.group.evidence)
    told = (task.text, task.seeds, item.id, item.kind, item.name, item.signature, item.doc, item.text, item.evidence)
    digest = _digest(task_id, *told, group, item.tiers, item.priority, item.prior)
    return Row(digest=digest, task_id=task_id or task.id, id=item.id, task=task, item=item)


def _items_of(value: dict[str, Any], where: str) -> list[Row]:
    """The rows of a task with its items; an item that is wrong spoils no other."""
    head = parse_row(_TaskRow, value, where)
    task = _task(head.task, head.seeds, where)
    name, seen = head.id or task.id, set[str]()
    found = []
    for at, given in enumerate(head.items):
        place = f"{where}: field 'items.{at}'"
        id_ = _name(given, "id") if isinstance(given, dict) else ""
        try:
            if not isinstance(given, dict):
                msg = f"{place}: an object is needed, one item."
                raise InputError(msg)  # noqa: TRY301 - told as what an item lacks is
            item = item_at(parse_row(_AnyItemRow, given, place), place)
            if item.id in seen:
                msg = f"{place}: {item.id[:_SHOWN]!r} is the id of an item before as well; make ids unique."
                raise InputError(msg)  # noqa: TRY301 - likewise
            seen.add(item.id)
            found.append(row_of(task, item, head.id))
        except InputError as error:
            found.append(unread((task.text, given), str(error), kind=ErrorKind.ITEM, task_id=name, id_=id_))
    return found


def _flat_row(value: dict[str, Any], where: str) -> Row:
    row = parse_row(_FlatRow, value, where)
    found = row_of(_task(row.task, row.seeds, where), item_at(row, where), row.task_id)
    return replace(found, is_flat=True)


def _name(value: Mapping[str, Any], key: str) -> str:
    """An id as it is given; empty where it is none."""
    try:
        found = _as_text(value.get(key))
    except ValueError:
        return ""
    return found if isinstance(found, str) else ""


def _task(text: str, seeds: tuple[str, ...], where: str) -> Task:
    try:
        return Task(text=text, seeds=seeds)
    except InputError as error:
        msg = f"{where}: {error}"
        raise InputError(msg) from error


def _digest(*values: object) -> str:
    """SHA-256 over values as JSON writes them, in hex; of what it cannot write, which no file holds, over less."""
    try:
        told = json.dumps(values, default=str, separators=(",", ":"))
    except (TypeError, ValueError):  # an object whose keys are no texts, a number of very many digits
        told = shown(values)
    return hashlib.sha256(told.encode("ascii", "backslashreplace")).hexdigest()
