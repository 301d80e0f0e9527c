"""Rows from files: every format, bad lines in their place, and how much was read."""

from __future__ import annotations

import datetime as dt
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cascade.batch.pace import WINDOW_S, Pace, expected_total, in_time, progress_line
from cascade.batch.reading import Source, without_nulls
from cascade.batch.rows import ErrorKind, Row
from cascade.errors import InputError
from cascade.files import MAX_BYTES
from tests.batch.scripted import lines_of, task
from tests.batch.test_kills import write_lines

VALUES = [
    task("x", "a", "b") | {"seeds": ["s.py"]},
    {"task": "y", "items": [{"id": "c", "name": "c", "group": {"name": "g", "evidence": ["e"]}, "prior": 0.5}]},
    task("z"),
]


def rows_in(*paths: Path) -> list[Row]:
    """All rows of files."""
    return [row for rows in Source(paths) for row in rows]


def expected(*values: dict[str, Any]) -> list[Row]:
    """All rows of lines."""
    return [row for rows in lines_of(*values) for row in rows]


def test_plain_gzipped_and_parquet_files_say_the_same(tmp_path: Path) -> None:
    """Tasks with items, in each format, and several files after one another."""
    plain = write_lines(tmp_path / "t.jsonl", VALUES)
    packed = tmp_path / "t.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    table = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist(VALUES), table)
    wanted = expected(*VALUES)
    for path in (plain, packed, table):
        assert rows_in(path) == wanted
    assert rows_in(plain, table) == wanted * 2


def test_a_table_with_a_row_for_each_item(tmp_path: Path) -> None:
    """Ids may be numbers, a group may be a text, nulls are absent, and other columns are nobody's business."""
    table = tmp_path / "t.parquet"
    flat = {
        "task": ["x", "x", None], "id": [1, 2, 3], "name": ["a", "b", "c"], "group": ["g", None, "g"],
        "evidence": [["e"], None, []], "prior": [0.5, None, None], "date": [1, 2, 3], "label": ["l", None, "m"],
    }  # fmt: skip
    pq.write_table(pa.table(flat), table)
    first, second, third = rows_in(table)
    wanted = expected(
        {"task": "x", "id": "1", "name": "a", "group": {"name": "g"}, "evidence": ["e"], "prior": 0.5},
        {"task": "x", "id": "2", "name": "b"},
    )
    assert [first, second] == wanted
    assert third.fault is not None
    assert third.fault.message == f"{table}, row 3: field 'task': it is missing. Add it."


def test_a_column_of_another_type_is_a_fault_of_each_row(tmp_path: Path) -> None:
    """A time as id, or bytes that are no text, end nothing."""
    table = tmp_path / "t.parquet"
    for other in (
        {"id": [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]},
        {"name": [b"\xff"]},
        {"doc": [b"\xff"]},
    ):
        pq.write_table(pa.table({"task": ["x"], "id": ["1"], "name": ["n"]} | other), table)
        (row,) = rows_in(table)
        assert row.fault is not None
        assert f"{table}, row 1: field {next(iter(other))!r}: " in row.fault.message


@pytest.mark.parametrize("columns", [["id", "name"], ["items"], ["task", "id"], []])
def test_tables_without_tasks_or_items_are_refused(tmp_path: Path, columns: list[str]) -> None:
    """At once, with what is needed and what there is: every row would be wrong."""
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({name: ["x"] for name in columns}), table)
    with pytest.raises(InputError, match="has no column"):
        rows_in(table)


def test_damaged_tables_are_refused(tmp_path: Path) -> None:
    """A file that only has the name of Parquet, or whose middle is gone, is named."""
    table = tmp_path / "t.parquet"
    table.write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        rows_in(table)
    pq.write_table(pa.table({"task": ["x"] * 50_000, "id": range(50_000), "name": ["n"] * 50_000}), table)
    content = bytearray(table.read_bytes())
    content[100:2_000] = bytes(1_900)
    table.write_bytes(content)
    with pytest.raises(InputError, match="is damaged at row"):
        rows_in(table)


def test_bad_lines_stand_in_their_place(tmp_path: Path) -> None:
    """What is no JSON, no object or no UTF-8 becomes a row with a fault; blank lines are none."""
    path = tmp_path / "t.jsonl"
    good = json.dumps(task("x", "a")).encode()
    path.write_bytes(b"\n".join([good, b"{", b"", b"[1]", b"\xff\xfe", b"\0", good, b'{"task": 1, "task": 2}']))
    found = rows_in(path)
    assert [row.fault is None for row in found] == [True, False, False, False, False, True, False]
    messages = [row.fault.message for row in found if row.fault is not None]
    assert [message.split(":")[0] for message in messages] == [f"{path}, line {n}" for n in (2, 4, 5, 6, 8)]
    assert {row.fault.kind for row in found if row.fault is not None} == {ErrorKind.ROW}
    assert len({row.digest for row in found if row.fault is not None}) == 5


def test_bad_lines_are_known_by_their_bytes(tmp_path: Path) -> None:
    """A line that is no text has the same key wherever it stands, and another line in its place has another."""
    path = tmp_path / "t.jsonl"
    bad = [b"\xff\xfe", b"\0", b"\xfe"]
    path.write_bytes(b"\n".join(bad))
    before = [row.digest for row in rows_in(path)]
    path.write_bytes(b"\n".join([json.dumps(task("x", "a")).encode(), *bad, b""]))
    assert [row.digest for row in rows_in(path) if row.fault is not None] == before
    assert len(set(before)) == 3


@pytest.mark.slow
def test_a_line_that_is_too_long_is_passed_by(tmp_path: Path) -> None:
    """It is one row with a fault, known by all of its bytes, and the line after it is read."""
    path = tmp_path / "t.jsonl"
    long = b"x" * (MAX_BYTES + 5)
    path.write_bytes(b"\n".join([long, json.dumps(task("x", "a")).encode(), long, long + b"y", long]))
    first, second, *others = rows_in(path)
    assert first.fault is not None
    assert first.fault.message.startswith(f"{path}, line 1: has more than 64 MiB")
    assert second.id == "a"
    assert [row.digest == first.digest for row in others] == [True, False, True]


def test_a_damaged_archive_ends_with_its_name(tmp_path: Path) -> None:
    """What comes before is read; nobody can say what the rest was."""
    path = tmp_path / "t.jsonl.gz"
    lines = "".join(json.dumps(task(f"task {number}", "a")) + "\n" for number in range(20_000)).encode()
    path.write_bytes(gzip.compress(lines)[:-5_000])
    seen: list[Row] = []

    def read() -> None:
        for rows in Source([path]):
            seen.extend(rows)

    with pytest.raises(InputError, match="is damaged, gzip cannot unpack it"):
        read()
    assert seen


def test_how_much_was_read(tmp_path: Path) -> None:
    """The share grows from 0 to 1 over all files, whatever their format."""
    plain = write_lines(tmp_path / "t.jsonl", [task(f"x {number}", "a") for number in range(3_000)])
    packed, table = tmp_path / "t.jsonl.gz", tmp_path / "t.parquet"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    pq.write_table(pa.table({"task": ["x"] * 3_000, "id": range(3_000), "name": ["n"] * 3_000}), table)
    for paths in ([plain], [table], [plain, table, packed]):
        source = Source(paths)
        shares = [source.share or 0.0 for _ in source]
        assert shares == sorted(shares)
        assert 0 <= shares[0] < 0.6
        assert source.share == 1.0
        assert source.n_rows == 3_000 * len(paths)


def test_nulls_are_absent_at_every_depth() -> None:
    """As a line would have left them out."""
    value = {"a": None, "items": [{"id": 1, "doc": None, "group": "g"}, None], "group": None}
    assert without_nulls(value) == {"items": [{"id": 1, "group": {"name": "g"}}, None]}


def test_the_rate_is_that_of_the_last_minute() -> None:
    """What was slow at the beginning is forgotten."""
    pace = Pace(100.0)
    assert pace.rate(0, 100.0) == 0
    for second in range(1, 200):
        pace.tell(second if second < 100 else 100 + 10 * (second - 100), 100.0 + second)
    assert pace.rate(1_090, 299.0) == pytest.approx(10, rel=0.05)
    assert WINDOW_S == 60


def test_totals_are_estimated_from_what_was_read() -> None:
    """Nothing is known before anything was read."""
    assert expected_total(0, 0.0) is None
    assert expected_total(10, None) is None
    assert expected_total(10, 0.25) == 40


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min 0 s"), (125, "2 min 5 s"), (7_260, "2 h 1 min"), (266_400, "3 d 2 h"), (-1, "0 s")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    """Two units are enough."""
    assert in_time(seconds) == words


def test_a_line_about_progress_fits_a_terminal() -> None:
    """Rate and time left where they are known; 79 characters at most, even of a billion rows."""
    assert progress_line(5, None, 0.0) == "5 rows, 0 rows/s"
    assert progress_line(50, 100, 10.0) == "50 of about 100 rows, 10 rows/s, 5 s left"
    assert len(progress_line(1_000_000_000, 1_000_000_000, 100_000.0)) <= 79
