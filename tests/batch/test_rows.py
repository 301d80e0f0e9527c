"""Rows in: what a line or a row of a table stands for, and what tells rows apart."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from cascade import Item, Task
from cascade.batch.rows import ErrorKind, Fault, row_of, rows_of, unread
from cascade.errors import BackendError, DecodeError, InputError, ServerError
from tests.batch.scripted import task


def test_a_line_has_a_row_for_each_item() -> None:
    """Task, seeds and items are read; a task is called by its own id, or else as the log calls it."""
    first, second = rows_of(task("fix it", "a", "b") | {"id": 7, "seeds": ["x.py"]}, "line 1")
    assert (first.task, first.task_id, first.id) == (Task(text="fix it", seeds=("x.py",)), "7", "a")
    assert second.item == Item(id="b", name="b")
    (unnamed,) = rows_of(task("fix it", "a"), "line 1")
    assert unnamed.task_id == Task(text="fix it").id


def test_a_row_of_one_item_brings_its_task() -> None:
    """The task stands beside the item's own fields."""
    (row,) = rows_of({"task": "fix it", "task_id": "t", "id": 3, "name": "n", "group": {"name": "g"}}, "row 1")
    assert row.is_flat
    assert row.item is not None
    assert (row.task_id, row.id, row.item.group and row.item.group.name) == ("t", "3", "g")


@pytest.mark.parametrize(("given", "id_"), [("a", "a"), (7, "7"), (7.0, "7"), (-0.0, "0"), (2.0**53, str(2**53))])
def test_ids_may_be_whole_numbers(given: object, id_: str) -> None:
    """Floats among them, which tables make of whole numbers; those of tasks as well."""
    (flat,) = rows_of({"task": "x", "task_id": given, "id": given, "name": "n"}, "")
    (nested,) = rows_of({"task": "x", "id": given, "items": [{"id": given, "name": "n"}]}, "")
    for row in (flat, nested):
        assert (row.fault, row.task_id, row.id) == (None, id_, id_)


@pytest.mark.parametrize("given", [1.5, True, None, [], float("nan"), float("inf"), 2.0**54])
def test_other_ids_are_refused(given: object) -> None:
    """With what may be one; a float that may have lost its last digits is none."""
    (row,) = rows_of({"task": "x", "id": given, "name": "n"}, "line 1")
    assert row.fault is not None
    assert row.fault.message.startswith("line 1: field 'id': a string or a whole number is needed (given ")


def test_labelled_tasks_are_read_without_their_labels() -> None:
    """A file that `cascade evaluate` reads can be run as it is, and labels change no key."""
    labelled = {"task": "fix", "date": "2026-01-01", "items": [{"id": "a", "name": "a", "label": "now", "weight": 0.5}]}
    assert [row.digest for row in rows_of(labelled, "")] == [row.digest for row in rows_of(task("fix", "a"), "")]


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        ({"items": []}, ErrorKind.ROW, "line 1: field 'task': it is missing"),
        ({"task": " ", "items": []}, ErrorKind.ROW, "it is blank"),
        ({"task": "x", "items": {}}, ErrorKind.ROW, "line 1: field 'items'"),
        ({"task": "x", "items": [], "id": 3, "sedes": []}, ErrorKind.ROW, "Did you mean 'seeds'"),
        ({"id": "a", "name": "n"}, ErrorKind.ITEM, "field 'task': it is missing"),
        ({"id": "a", "name": "n", "task": "x", "prior": 2}, ErrorKind.ITEM, "field 'prior'"),
        ({"id": None, "name": "n", "task": "x"}, ErrorKind.ITEM, "field 'id'"),
        ({}, ErrorKind.ITEM, "line 1"),
    ],
)
def test_what_cannot_be_read_is_one_row_with_a_fault(value: dict[str, Any], kind: ErrorKind, message: str) -> None:
    """The fault names line and field; nothing is raised."""
    (row,) = rows_of(value, "line 1")
    assert row.fault is not None
    assert row.fault.kind is kind
    assert message in row.fault.message
    assert row.task is None


def test_a_bad_item_spoils_no_other() -> None:
    """Of a task with items only those that are wrong have faults, each with its place; ids stand once."""
    value = {"task": "fix", "items": [{"id": "a", "name": "a"}, 3, {"id": "b"}, {"id": "a", "name": "x"}]}
    found = rows_of(value, "line 4")
    assert [row.fault is None for row in found] == [True, False, False, False]
    messages = [row.fault.message for row in found if row.fault is not None]
    assert [message.split(":")[1] for message in messages] == [f" field 'items.{at}'" for at in (1, 2, 3)]
    assert [row.id for row in found] == ["a", "", "b", "a"]
    assert {row.task_id for row in found} == {Task(text="fix").id}


def test_keys_tell_rows_apart() -> None:
    """Every part of task and item counts, and so does what answers; equal rows have equal keys."""
    item: dict[str, Any] = {"id": "a", "name": "n"}
    others: list[dict[str, Any]] = [
        {"id": "b"}, {"name": "m"}, {"kind": "k"}, {"signature": "s"}, {"doc": "d"}, {"text": "t"}, {"priority": 1},
        {"evidence": ["e"]}, {"tiers": ["e"]}, {"prior": 0.1}, {"group": {"name": "e"}},
        {"group": {"name": "e", "evidence": ["f"]}},
    ]  # fmt: skip
    values = [{"task": "x", "items": [item | other]} for other in [{}, *others]]
    values += [{"task": "y", "items": [item]}, {"task": "x", "seeds": ["a"], "items": [item]}]
    values += [{"task": "x", "id": "1", "items": [item]}, {"task": "x"}, {"task": "y"}]
    keys = [row.key("by") for value in values for row in rows_of(value, "")]
    assert len(set(keys)) == len(values)
    assert keys == [row.key("by") for value in values for row in rows_of(value, "elsewhere")]
    assert not set(keys) & {row.key("other") for value in values for row in rows_of(value, "")}
    assert all(len(key) == 32 for key in keys)


def test_one_form_is_as_good_as_the_other() -> None:
    """An item has the same key whether its task stands above it or beside it."""
    (flat,) = rows_of({"task": "x", "id": "a", "name": "n"}, "")
    (nested,) = rows_of({"task": "x", "items": [{"id": "a", "name": "n"}]}, "")
    assert flat.digest == nested.digest == row_of(Task(text="x"), Item(id="a", name="n")).digest


def test_rows_travel() -> None:
    """Rows, with faults or without, go to another process and come back equal."""
    rows = [*rows_of(task("x", "a"), ""), unread("{", "line 1: is not JSON.")]
    assert pickle.loads(pickle.dumps(rows)) == rows  # noqa: S301 - its own bytes


@pytest.mark.parametrize(
    ("error", "kind", "is_own"),
    [
        (InputError("x"), ErrorKind.ITEM, True),
        (ServerError("x"), ErrorKind.SERVER, False),
        (DecodeError("x"), ErrorKind.DECODE, False),
        (BackendError("x"), ErrorKind.BACKEND, False),
    ],
)
def test_errors_have_kinds(error: InputError | BackendError, kind: ErrorKind, *, is_own: bool) -> None:
    """The kind says whose fault it is, and so whether to ask again is of use."""
    fault = Fault.of(error)
    assert fault == Fault(kind, "x")
    assert fault.kind.is_own is is_own
