"""The file of results: rows are appended, whole ones are found again, and one process at a time writes it.

The file is the only truth of what is done, so nothing has to be kept in step with it. A process that is killed may
leave the last line torn; it is cut off before more is appended.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from cascade.batch.provenance import RunProvenance
from cascade.batch.reading import PARQUET
from cascade.batch.rows import ErrorKind
from cascade.errors import InputError, MachineError
from cascade.files import MAX_BYTES, check_output, check_replaceable, is_there, unwritable, whole_file

SYNC_S = 5.0
"""Seconds after which rows are on the disk at the latest, whatever becomes of the machine."""

_OTHER_FORMATS = (".gz", ".bz2", ".xz", ".zst", *PARQUET)  # ends of names that say something else than JSON lines
_GO_ON = "What is done stands in it: make room, and go on with --resume."
_ANEW = "Name another file with --out, or begin anew with --force."

OldRow = Mapping[str, Any]
"""A row that is there already."""


class ResultsFile:
    """A file of results that is open for more.

    Args:
        path: Its name, for messages.
        file: It, unbuffered and locked, with whole lines alone.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._end = file.seek(0, os.SEEK_END)
        self._synced = time.monotonic()

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows at the end.

        Raises:
            MachineError: They cannot be written, such as on a full disk; then none of them is there.
        """
        content = memoryview(b"".join(json.dumps(row, allow_nan=False).encode("ascii") + b"\n" for row in rows))
        end = self._end + len(content)
        try:
            while content:
                content = content[self._file.write(content) :]
            if time.monotonic() - self._synced >= SYNC_S:
                self.sync()
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise unwritable(self._path, error, _GO_ON) from error
        self._end = end

    def sync(self) -> None:
        """Wait until all rows are on the disk.

        Raises:
            MachineError: The file does not have its name any more.
        """
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()
        if not _has_name(self._file, self._path):
            msg = (
                f"{self._path}: was removed or replaced while it was written. Put it back if it was moved; then run "
                "the same command with --resume, and leave the file where it is."
            )
            raise MachineError(msg)


@contextmanager
def new_results(path: Path, *, force: bool = False) -> Iterator[ResultsFile]:
    """A file of results without a row.

    Args:
        path: The file.
        force: Whether a file that is there is emptied first.

    Raises:
        InputError: As ``check_results``.
        MachineError: As there, or another process writes it.
    """
    check_results(path, resume=False, force=force)
    with _locked(path) as file:
        file.truncate(0)
        with _open(path, file) as found:
            yield found


@contextmanager
def resumed_results(
    path: Path, made_by: RunProvenance, seen: Callable[[OldRow], object], *, retry: bool = False
) -> Iterator[ResultsFile]:
    """A file of results with the rows that are there, once it is sure that the same made them.

    Args:
        path: The file; it is made if it is not there.
        made_by: What makes the rows to come.
        seen: Told of every row that is there and stays.
        retry: Whether rows go away whose error was not their own, so that they are asked again.

    Raises:
        InputError: As ``check_results``, or it is no such file, or something else made it; says what.
        MachineError: As ``check_results``, or another process writes it.
    """
    check_results(path, resume=True)
    if retry:
        with _locked(path) as file:
            _drop_failed(path, file, made_by)
    with _locked(path) as file:
        end = 0
        for row, line in _whole_rows(path, file, made_by):
            end += len(line)
            seen(row)
        file.truncate(end)
        with _open(path, file) as found:
            yield found


def check_results(path: Path, *, resume: bool, force: bool = False) -> None:
    """Refuse a file that no results can go to; call it before a model is opened.

    Raises:
        InputError: It is ``-``, a folder, a pipe or a device, has no folder or the name of another format, or is there
            and is neither gone on with nor replaced.
        MachineError: Its folder takes no new file.
    """
    check_output(path)
    check_replaceable(path)
    if path.suffix.lower() in _OTHER_FORMATS:
        msg = f"{path}: results are plain JSON lines, not {path.suffix}. Give a name such as results.jsonl."
        raise InputError(msg)
    if is_there(path) and not resume and not force:
        msg = f"{path}: is there already. Go on with it with --resume, name another file, or begin anew with --force."
        raise InputError(msg)


@contextmanager
def _open(path: Path, file: BinaryIO) -> Iterator[ResultsFile]:
    """The file while rows are appended; at the end they are on the disk, however it ends."""
    found = ResultsFile(path, file)
    try:
        yield found
    except BaseException:
        with suppress(OSError):
            os.fsync(file.fileno())
        raise
    found.sync()


@contextmanager
def _locked(path: Path) -> Iterator[BinaryIO]:
    """A file for this process alone, made if it is not there."""
    try:
        with path.open("a+b", buffering=0) as file:
            try:
                flock(file, LOCK_EX | LOCK_NB)
                is_it = _has_name(file, path)
            except BlockingIOError:
                is_it = False
            if not is_it:
                msg = f"{path}: another process writes it. Wait until it is done, or name another file with --out."
                raise MachineError(msg)
            yield file
    except OSError as error:
        raise unwritable(path, error) from error


def _has_name(file: BinaryIO, path: Path) -> bool:
    """Whether a path still leads to an open file."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def _whole_rows(path: Path, file: BinaryIO, made_by: RunProvenance) -> Iterator[tuple[OldRow, bytes]]:
    """The rows of a file with their lines, up to one that is torn."""
    reader = os.fdopen(os.dup(file.fileno()), "rb")
    with reader:
        reader.seek(0)
        number = 0
        while (line := reader.readline(MAX_BYTES)).endswith(b"\n"):
            number += 1
            yield _row(line, f"{path}, line {number}", made_by), line


def _row(line: bytes, where: str, made_by: RunProvenance) -> OldRow:
    try:
        row = from_json(line)
        other = RunProvenance.from_dict(row["provenance"])
        bytes.fromhex(row["key"])
        _ = row["status"] if row["label"] is not None else row["error_kind"]
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{where}: is no row of results. {_ANEW} To go on all the same, remove this line and all after it."
        raise InputError(msg) from error
    differs = other.differences(made_by)
    if differs:
        msg = f"{where}: was made by something else (other: {', '.join(differs)}). {_ANEW}"
        raise InputError(msg)
    return dict(row)


def _drop_failed(path: Path, file: BinaryIO, made_by: RunProvenance) -> None:
    """Write a file again without the rows whose error was not their own, where there are any."""
    if not any(_is_failed(row) for row, _ in _whole_rows(path, file, made_by)):
        return
    with whole_file(path) as part, part.open("wb") as kept:
        for row, line in _whole_rows(path, file, made_by):
            if not _is_failed(row):
                kept.write(line)
        kept.flush()
        os.fsync(kept.fileno())


def _is_failed(row: OldRow) -> bool:
    return "error_kind" in row and row["error_kind"] not in {str(kind) for kind in ErrorKind if kind.is_own}
