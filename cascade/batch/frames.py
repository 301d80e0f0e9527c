"""Frames through an engine: a table with a row for each item comes back with columns added, of the same type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeVar

from cascade.arguments import given, text
from cascade.batch.answers import CONCURRENCY, answered
from cascade.batch.portions import MOST_TOGETHER
from cascade.batch.reading import without_nulls
from cascade.batch.results import column_values, result_columns
from cascade.batch.rows import FLAT_FIELDS, Row, rows_of
from cascade.engine.engine import Engine
from cascade.errors import InputError, MachineError
from cascade.machine import install_extra

_Frame = TypeVar("_Frame")

_KINDS = "a pyarrow.Table or RecordBatch, a pandas.DataFrame or a polars.DataFrame is needed"
_AT_ONCE = 1_000  # rows that are turned into Python's values together


def run_frame(  # noqa: PLR0913 - the options of Engine.run
    engine: Engine,
    frame: _Frame,
    cascade: str,
    *,
    by: str = "task",
    depth: int | None = None,
    concurrency: int = CONCURRENCY,
    prefix: str = "",
) -> _Frame:
    """Label every row of a frame; see ``Engine.run``."""
    tree, table = engine.cascade(cascade), _table(frame)
    kinds = {text("prefix", prefix) + name: kind for name, kind in result_columns(tree).items()}
    _check_columns(table.names, by, kinds)
    found: dict[str, list[Any]] = {name: [None] * table.n_rows for name in kinds}
    places: dict[str, list[int]] = {}  # digest of a row that is on its way -> where it stands
    for some in answered(engine, _lines(table, by, places), cascade, depth=depth, concurrency=concurrency):
        for row, got in some:
            waiting = places[row.digest]
            at = waiting.pop()
            if not waiting:
                del places[row.digest]
            for name, value in column_values(got, tree).items():
                found[prefix + name][at] = value
    added: _Frame = table.with_columns(found, kinds)
    return added


def _lines(table: _Table, by: str, places: dict[str, list[int]]) -> Iterator[list[Row]]:
    """The rows of each task, wherever they stand; ``places`` is told where.

    A task of very many rows comes in several parts; evidence is made from each by itself.
    """
    columns = list(dict.fromkeys([by, *(name for name in table.names if name in FLAT_FIELDS and name != "task")]))
    of_task: dict[object, list[int]] = {}
    task_ids = table.column("task_id") if "task_id" in columns else [None] * table.n_rows
    for at, key in enumerate(zip(table.column(by), task_ids, strict=True)):
        of_task.setdefault(tuple(map(_hashable, key)), []).append(at)
    for indices in of_task.values():
        for start in range(0, len(indices), MOST_TOGETHER):
            rows = list(_rows(table, indices[start : start + MOST_TOGETHER], columns, by))
            for row, at in zip(rows, indices[start:], strict=False):
                places.setdefault(row.digest, []).append(at)
            yield rows


def _rows(table: _Table, indices: Sequence[int], columns: Sequence[str], by: str) -> Iterator[Row]:
    for start in range(0, len(indices), _AT_ONCE):
        some = indices[start : start + _AT_ONCE]
        for at, value in zip(some, table.records(some, columns), strict=True):
            own = {name: each for name, each in value.items() if name != by} | {"task": value[by]}
            (row,) = rows_of({"id": str(at)} | without_nulls(own), f"row {at}")
            yield row


def _hashable(value: object) -> object:
    """What rows are grouped by: the value, or where it is none that can be, how it is written."""
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value


def _check_columns(names: Sequence[str], by: str, added: Mapping[str, object]) -> None:
    """Refuse a frame that cannot be asked, or would lose a column.

    Raises:
        InputError: Names the column.
    """
    if text("by", by) == "name":
        msg = "by is 'name', the column with the names of items. Give the column with the texts of their tasks."
        raise InputError(msg)
    lacks = [name for name in (by, "name") if name not in names]
    if lacks:
        msg = (
            f"The frame has no column {lacks[0]!r}; it has {', '.join(map(str, names)) or 'none'}. Give it a row for "
            "each item, with the name of the item and the text of its task, and with `by` the column of the task."
        )
        raise InputError(msg)
    taken = [name for name in names if name in added]
    if taken:
        msg = (
            f"The frame has a column {taken[0]!r} already, which would be added. Give a prefix, such as "
            "prefix='cascade_', or drop it."
        )
        raise InputError(msg)
    twice = next((name for name in (by, *FLAT_FIELDS) if list(names).count(name) > 1), None)
    if twice is not None:
        msg = f"The frame has the column {twice!r} twice. Rename one."
        raise InputError(msg)


class _Table(Protocol):
    """What is asked of a frame, whatever its type."""

    @property
    def names(self) -> Sequence[str]:
        """Its columns."""

    @property
    def n_rows(self) -> int:
        """Its rows."""

    def column(self, name: str) -> Sequence[object]:
        """All values of a column."""

    def records(self, indices: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        """Some rows as Python's values, with None for what is not there."""

    def with_columns(self, values: Mapping[str, list[Any]], kinds: Mapping[str, type]) -> Any:
        """A frame of the same type with columns added."""


def _table(frame: object) -> _Table:
    """A frame, by the library that its type comes from.

    Raises:
        InputError: It is none.
        MachineError: pyarrow is not installed.
    """
    kinds: dict[str, Callable[[Any], _Table]] = {"pyarrow": _Arrow, "pandas": _Pandas, "polars": _Polars}
    library = type(frame).__module__.partition(".")[0]
    if library not in kinds or type(frame).__name__ not in {"Table", "RecordBatch", "DataFrame"}:
        msg = f"frame is {given(frame)[:200]}; {_KINDS}."
        raise InputError(msg)
    return kinds[library](frame)


def _arrays(values: Mapping[str, list[Any]], kinds: Mapping[str, type]) -> dict[str, Any]:
    """The columns as Arrow has them."""
    pa = _pyarrow()
    of = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    return {name: pa.array(own, of[kinds[name]]) for name, own in values.items()}


def _pyarrow() -> Any:
    try:
        return import_module("pyarrow")
    except ModuleNotFoundError as error:
        msg = f"Frames need pyarrow, which is not installed. Run `{install_extra('frames')}`."
        raise MachineError(msg) from error


class _Arrow:
    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names, self.n_rows = list(frame.schema.names), frame.num_rows

    def column(self, name: str) -> Sequence[object]:
        return list(self._frame.column(name).to_pylist())

    def records(self, indices: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        own = {name: self._frame.column(name) for name in columns}  # ``take`` knows fewer types than Arrow has
        return [{name: column[at].as_py() for name, column in own.items()} for at in indices]

    def with_columns(self, values: Mapping[str, list[Any]], kinds: Mapping[str, type]) -> Any:
        frame = self._frame
        for name, array in _arrays(values, kinds).items():
            frame = frame.append_column(name, array)
        return frame


class _Polars:
    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names, self.n_rows = list(frame.columns), frame.height

    def column(self, name: str) -> Sequence[object]:
        return list(self._frame.get_column(name).to_list())

    def records(self, indices: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        return list(self._frame.select(columns)[list(indices)].to_dicts())

    def with_columns(self, values: Mapping[str, list[Any]], kinds: Mapping[str, type]) -> Any:
        polars = import_module("polars")
        arrays = _arrays(values, kinds)
        return self._frame.with_columns(polars.from_arrow(array).alias(name) for name, array in arrays.items())


class _Pandas:
    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self.names, self.n_rows = list(frame.columns), len(frame)

    def column(self, name: str) -> Sequence[object]:
        return [_pythons(value) for value in self._frame[name].tolist()]

    def records(self, indices: Sequence[int], columns: Sequence[str]) -> list[dict[str, Any]]:
        found = self._frame.iloc[list(indices)][list(columns)].to_dict("records")
        return [{name: _pythons(value) for name, value in record.items()} for record in found]

    def with_columns(self, values: Mapping[str, list[Any]], kinds: Mapping[str, type]) -> Any:
        arrays = _arrays(values, kinds)
        return self._frame.assign(
            **{name: array.to_pandas().set_axis(self._frame.index) for name, array in arrays.items()}
        )


def _pythons(value: Any) -> Any:
    """A value of pandas as Python's own; None for what it holds where nothing is known, such as NaN."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: _pythons(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_pythons(each) for each in value]
    is_known = isinstance(value, str) or (value is not None and type(value).__name__ != "NAType" and value == value)  # noqa: PLR0124
    return value if is_known else None
