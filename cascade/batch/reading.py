"""Rows from files: JSON lines, plain or gzipped, and Parquet; only a part of a file is in memory at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.batch.rows import FLAT_FIELDS, TASK_FIELDS, Row, rows_of, unread
from cascade.errors import InputError, MachineError
from cascade.files import REMEDY, STDIN, BadLine, lines_apart, name_of, object_of, reason
from cascade.machine import install_extra

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

PARQUET = (".parquet", ".pq")
"""How names of Parquet files end; every other file has JSON lines."""

_AT_ONCE = 1_000  # rows of a Parquet file that are read together
_BUFFER = 2**20  # bytes of a column that are read together


class Source:
    """The rows of files, one after another.

    Args:
        paths: The files, at least one; ``-`` for stdin, which has JSON lines.

    Attributes:
        n_rows: Rows that were read so far.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [_Parquet(path) if path.suffix.lower() in PARQUET else _Lines(path) for path in paths]
        self._n_read = 0
        self.n_rows = 0

    def __iter__(self) -> Iterator[list[Row]]:
        """The rows of each line, or of each row of a table.

        Raises:
            InputError: A file cannot be read or is damaged, or a table lacks a column; names the file.
        """
        for file in self._files:
            for rows in file:
                self.n_rows += len(rows)
                yield rows
            self._n_read += 1

    @property
    def share(self) -> float | None:
        """How much of all was read, in [0, 1], each file counting the same; None where nobody knows."""
        if self._n_read == len(self._files):
            return 1.0
        share = self._files[self._n_read].share
        return None if share is None else (self._n_read + share) / len(self._files)


class _Lines:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.BufferedIOBase | None = None
        self._size = 0

    def __iter__(self) -> Iterator[list[Row]]:
        name = name_of(self._path)
        for number, line in lines_apart(self._path, REMEDY, self._begin):
            where = f"{name}, line {number}"
            if isinstance(line, BadLine):
                yield [unread(("bytes", line.digest), str(line.error))]
            elif line.strip():
                yield _rows_of_line(line.strip(), where)

    def _begin(self, file: io.BufferedIOBase) -> None:
        self._file = file
        self._size = 0 if self._path == STDIN else os.fstat(file.fileno()).st_size

    @property
    def share(self) -> float | None:
        if self._file is None:
            return 0.0
        return min(1.0, self._file.tell() / self._size) if self._size else None


def _rows_of_line(line: str, where: str) -> list[Row]:
    try:
        return rows_of(object_of(line, where, "Each line is one object."), where)
    except InputError as error:
        return [unread(line, str(error))]


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._n_read = 0
        self._n_rows = 0

    def __iter__(self) -> Iterator[list[Row]]:
        file = _opened_parquet(self._path)
        with file:
            self._n_rows = file.metadata.num_rows
            columns = columns_asked(file.schema_arrow.names, str(self._path))
            try:
                for batch in file.iter_batches(_AT_ONCE, columns=columns, use_threads=False):
                    for value in batch.to_pylist():
                        self._n_read += 1
                        yield rows_of(without_nulls(value), f"{self._path}, row {self._n_read}")
            except (OSError, ValueError) as error:  # what pyarrow raises is one of these
                msg = f"{self._path}: is damaged at row {self._n_read + 1} ({reason(error)}). Get it or write it again."
                raise InputError(msg) from error

    @property
    def share(self) -> float | None:
        return self._n_read / self._n_rows if self._n_rows else 0.0


def _opened_parquet(path: Path) -> ParquetFile:
    try:
        from pyarrow.parquet import ParquetFile  # noqa: PLC0415 - loads only where it is used
    except ModuleNotFoundError as error:
        msg = f"{path}: is Parquet, and {error.name} is not installed. Run `{install_extra('frames')}`."
        raise MachineError(msg) from error
    try:
        return ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as Parquet ({reason(error)}). Give a Parquet file, or JSON lines."
        raise InputError(msg) from error


def columns_asked(names: Sequence[str], where: str) -> list[str]:
    """The columns of a table that make its rows; it may have any others.

    Args:
        names: All its columns.
        where: What the table is called.

    Raises:
        InputError: It has neither tasks with items, nor items with their tasks.
    """
    if "items" in names:
        needed, known = {"task"}, TASK_FIELDS
    else:
        needed, known = {"task", "id", "name"}, FLAT_FIELDS
    lacks = sorted(needed - set(names))
    if lacks:
        msg = (
            f"{where}: has no column {lacks[0]!r}. Give a table with task, id and name, a row for each item; or with "
            f"task and items, a row for each task. It has {', '.join(names) or 'no column'}."
        )
        raise InputError(msg)
    return [name for name in names if name in known]


def without_nulls(value: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table as a line would have it: what is null is absent, and a group that is a text is its name."""
    found = {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return found | {"group": {"name": found["group"]}} if isinstance(found.get("group"), str) else found


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return without_nulls(value)
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value
