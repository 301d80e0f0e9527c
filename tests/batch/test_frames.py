"""Frames through an engine: the same rows, order and type, with columns added."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from cascade import Engine
from cascade.errors import InputError
from tests.batch.scripted import scripted

COLUMNS: dict[str, list[Any]] = {
    "task": ["x", "y", "x", None, "y"],
    "id": [5, 4, 3, 2, 1],
    "name": ["now 1", "half", "none", "now 2", "now 3"],
    "group": ["g", None, "g", "h", None],
    "prior": [0.5, None, None, None, 0.25],
    "evidence": [["e"], None, [], None, ["e", "f"]],
    "other": [1.5, None, 2.5, 3.5, 4.5],
}
LABELS = ["now", "later", "later", None, "now"]
MAKERS: list[Callable[[dict[str, list[Any]]], Any]] = [pa.table, pd.DataFrame, pl.DataFrame, pa.RecordBatch.from_pydict]


def values(frame: Any, name: str) -> list[Any]:
    """A column as Python's values."""
    if isinstance(frame, pd.DataFrame):
        return [None if value is None or value != value else value for value in frame[name].tolist()]  # noqa: PLR0124
    return list(frame[name].to_pylist() if isinstance(frame, pa.Table | pa.RecordBatch) else frame[name].to_list())


@pytest.mark.parametrize("make", MAKERS, ids=["arrow", "pandas", "polars", "batch"])
def test_rows_keep_their_place_and_get_their_answers(make: Callable[[dict[str, list[Any]]], Any]) -> None:
    """Of whatever library, with rows of a task apart from one another, nulls, and a row without a task."""
    frame = make(COLUMNS)
    with scripted() as engine:
        found = engine.run(frame, "tickets")
    assert type(found) is type(frame)
    for name in COLUMNS:
        assert values(found, name) == values(frame, name)
    assert values(found, "label") == LABELS
    assert values(found, "status") == ["decided", "decided", "decided", "error", "decided"]
    assert values(found, "n_calls") == [2, 2, 1, 0, 2]
    assert values(found, "error_kind") == [None, None, None, "item", None]
    assert values(found, "error")[3] == "row 3: field 'task': it is missing. Add it."
    assert values(found, "p_waiting")[:3] == pytest.approx([0.9, 0.9, 0.1])
    assert values(found, "p_broken")[2] is None
    assert values(found, "p_label") == [None] * 5


def test_a_frame_of_pandas_keeps_its_index() -> None:
    """Names and types of what was there stay; a frame that is only a part of another, or of NumPy's values, too."""
    frame = pd.DataFrame(COLUMNS, index=["a", "b", "c", "d", "e"])
    frame["tiers"] = [np.array(["t"])] * 5
    with scripted() as engine:
        found = engine.run(frame.iloc[::2], "tickets")
    assert list(found.index) == ["a", "c", "e"]
    assert values(found, "label") == ["now", "later", "now"]
    assert found.dtypes["other"] == frame.dtypes["other"]
    assert found.dtypes["n_calls"] == np.int64


def test_equal_rows_all_get_their_answers() -> None:
    """Rows without ids, and rows that are the same as others, are answered one by one."""
    with scripted() as engine:
        twice = engine.run(pa.table({"task": ["x"] * 4, "id": ["1"] * 4, "name": ["now"] * 4}), "tickets")
        without = engine.run(pa.table({"task": ["x"] * 4, "name": ["now", "a", "now", "b"]}), "tickets")
    assert twice["label"].to_pylist() == ["now"] * 4
    assert without["label"].to_pylist() == ["now", "later", "now", "later"]
    assert "id" not in without.schema.names


def test_every_layout_of_text_in_arrow_is_read() -> None:
    """Views, runs, dictionaries and several chunks, also those within lists, as new versions of polars give them."""
    texts = [
        pa.array(["x", "x"], pa.string_view()),
        pa.RunEndEncodedArray.from_arrays([2], ["x"]),
        pa.array(["x", "x"]).dictionary_encode(),
        pa.chunked_array([["x"], ["x"]]),
    ]
    newest = pl.DataFrame({"task": ["x"] * 2, "name": ["now", "a"], "evidence": [["e"], None]})
    tables = [pa.table({"task": each, "name": ["now", "a"]}) for each in texts]
    with scripted() as engine:
        for table in (*tables, newest.to_arrow(compat_level=pl.CompatLevel.newest())):
            assert values(engine.run(table, "tickets"), "label") == ["now", "later"]


def test_names_are_no_tasks() -> None:
    """``by`` that takes the names away is refused once, not in every row."""
    with scripted() as engine, pytest.raises(InputError, match="by is 'name'"):
        engine.run(pa.table({"task": ["x"], "name": ["now"]}), "tickets", by="name")


def test_ids_with_gaps() -> None:
    """In pandas whole numbers are floats where one is missing; such a row is called by its place."""
    with scripted() as engine:
        found = engine.run(pd.DataFrame({"task": ["x"] * 3, "name": ["now"] * 3, "id": [5, None, 7]}), "tickets")
    assert values(found, "label") == ["now"] * 3


def test_the_task_may_stand_in_another_column() -> None:
    """``by`` names it; a column ``task`` then is any other. A prefix keeps labels that are there."""
    frame = pl.DataFrame({"query": ["x", "x"], "task": [1, 2], "name": ["now", "a"], "label": ["true", "false"]})
    with scripted() as engine:
        found = engine.run(frame, "tickets", by="query", prefix="cascade_")
    assert found["cascade_label"].to_list() == ["now", "later"]
    assert found["label"].to_list() == ["true", "false"]


def test_no_row_is_no_work() -> None:
    """The columns are there all the same."""
    with scripted() as engine:
        for frame in (pa.table({"task": pa.array([], pa.string()), "name": pa.array([], pa.string())}),):
            found = engine.run(frame, "tickets")
            assert found.num_rows == 0
            assert "label" in found.schema.names


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([{"task": "x"}], "pandas.DataFrame"),
        ({"task": ["x"]}, "pandas.DataFrame"),
        (pd.Series([1]), "pandas.DataFrame"),
        (pl.LazyFrame({"task": ["x"]}), "polars.DataFrame"),
        (pa.table({"name": ["x"]}), "no column 'task'"),
        (pa.table({"task": ["x"]}), "no column 'name'"),
        (pa.table({"task": ["x"], "name": ["y"], "label": ["z"]}), "column 'label' already"),
        (pd.DataFrame([["x", "y", "z"]], columns=["task", "name", "name"]), "'name' twice"),
    ],
)
def test_other_frames_are_refused(frame: Any, message: str) -> None:
    """With what is needed, before anything is asked."""
    with scripted() as engine, pytest.raises(InputError, match=message):
        engine.run(frame, "tickets")


def test_odd_values_are_faults_of_their_rows() -> None:
    """A column of mixed values, as pandas may have it, spoils no other row."""
    frame = pd.DataFrame({"task": ["x", ["x"], 3, "x"], "name": ["now", "now", "now", {"a": 1}]}, dtype=object)
    with scripted() as engine:
        found = engine.run(frame, "tickets")
    assert values(found, "error_kind") == [None, "item", "item", "item"]


ODD: list[Any] = [
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1), Decimal("1.5"), b"\xff\xfe",
    uuid.UUID(int=1), pd.Timestamp("2026-01-01"), dt.timedelta(1), 10**5_000, {("a", 1): 2},
]  # fmt: skip


@pytest.mark.parametrize("name", ["id", "name", "doc", "task"])
def test_values_that_json_has_no_form_for_are_faults_of_their_rows(name: str) -> None:
    """Dates, decimals, bytes and whatever else pandas holds, with the value in the message, in short."""
    good = {"task": "x", "id": "1", "name": "now", "doc": "d"}
    frame = pd.DataFrame([good, *(good | {name: value} for value in ODD)], dtype=object)
    with scripted() as engine:
        found = engine.run(frame, "tickets")
    assert values(found, "error_kind") == [None, *["item"] * len(ODD)]
    assert all(f"field '{name}" in error and "(given " in error for error in values(found, "error")[1:])
    assert max(map(len, values(found, "error")[1:])) < 200


@pytest.mark.parametrize("make", [pa.table, pl.DataFrame], ids=["arrow", "polars"])
@pytest.mark.parametrize("value", ODD[:4])
def test_columns_of_other_types_are_faults_of_their_rows(
    make: Callable[[dict[str, list[Any]]], Any], value: object
) -> None:
    """As Arrow and polars give them."""
    with scripted() as engine:
        found = engine.run(make({"task": ["x"], "name": ["now"], "id": [value]}), "tickets")
    assert values(found, "error_kind") == ["item"]


def test_many_tasks_of_a_frame() -> None:
    """Two thousand rows of a hundred tasks in turn, each where it was."""
    n = 2_000
    frame = pa.table({"task": [f"{at % 100}" for at in range(n)], "name": [("now", "a")[at % 2] for at in range(n)]})
    with scripted() as engine:
        found = engine.run(frame, "tickets")
    assert found["label"].to_pylist() == ["now", "later"] * (n // 2)


def test_evidence_is_that_of_a_single_request() -> None:
    """With the shipped model a row gets what a request of all items of its task gives it."""
    from cascade import Item  # noqa: PLC0415 - of this test alone

    names = ["parse", "Cache", "read_lines", "Parser.feed"]
    frame = pa.table({"task": ["fix the parser", "keep it"] * 4, "name": [name for name in names for _ in range(2)]})
    with Engine.open() as engine:
        found = engine.run(frame).to_pylist()
        report = engine.classify("fix the parser", [Item(id=name, name=name) for name in names])
    own = {row["name"]: row for row in found if row["task"] == "fix the parser"}
    for decision in report.decisions:
        assert own[decision.id]["label"] == decision.label
        assert own[decision.id]["p_relevant"] == pytest.approx(decision.steps[0].p_yes, abs=1e-4)


@pytest.mark.slow
def test_no_frame_library_is_loaded_without_need() -> None:
    """An engine that is asked no frame loads none of them."""
    code = (
        "import sys; from cascade import Engine\n"
        "with Engine.open() as engine: engine.classify('fix it', [])\n"
        "print([name for name in ('pyarrow', 'pandas', 'polars', 'cascade.batch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
