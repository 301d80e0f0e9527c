"""The folder of a dataset: one process writes it at a time, and it holds the old dataset or the new one, never half.

New files are written beside the old ones under names of their own. One rename then says that all of them are there;
from it on the new dataset counts, and what is left are renames that anybody can finish.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from cascade.errors import InputError, MachineError
from cascade.files import is_file, is_folder, is_there, unwritable

MANIFEST = "manifest.json"
"""Name of the file that makes a folder a dataset."""

_LOCK, _READY, _NEXT = ".lock", ".ready", ".next"
_REMEDY = "Name a folder that can be written."


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A dataset's folder for this process alone; it is made if it is not there, and removed if no dataset comes.

    Raises:
        InputError: Something else is there.
        MachineError: Another process writes it, or it cannot be written.
    """
    _check_is_ours(folder)
    made = [path for path in (folder, *folder.parents) if not is_there(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = _taken(folder)
        try:
            finish(folder)
            yield
        finally:
            if not is_file(folder / MANIFEST):
                for stray in (*folder.glob(f"*{_NEXT}"), folder / _LOCK):
                    stray.unlink(missing_ok=True)
                with suppress(OSError):  # somebody else put something there
                    for path in made:
                        path.rmdir()
            lock.close()
    except OSError as error:
        raise unwritable(folder, error, _REMEDY) from error


def put(folder: Path, name: str, lines: Iterable[bytes]) -> str:
    """Write a file beside the one whose place it will take, which ``commit`` lets it do; the folder must be locked.

    Returns:
        Its SHA-256, in hex.
    """
    digest = hashlib.sha256()
    with (folder / f"{name}{_NEXT}").open("wb") as file:
        for line in lines:
            file.write(line)
            digest.update(line)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def commit(folder: Path, names: Sequence[str]) -> None:
    """Let files that were put into the folder, the manifest among them, take their places, all at once."""
    ready = folder / f"{_READY}{_NEXT}"
    ready.write_text(json.dumps(list(names)), encoding="utf-8")
    ready.replace(folder / _READY)
    finish(folder)


def finish(folder: Path) -> None:
    """Finish what a process that was killed left: new files take their places, or go if not all of them are there."""
    ready = folder / _READY
    if is_file(ready):
        for name in json.loads(ready.read_text(encoding="utf-8")):
            with suppress(FileNotFoundError):  # it was renamed before the process was killed
                (folder / f"{name}{_NEXT}").replace(folder / name)
        ready.unlink()
    for stray in folder.glob(f"*{_NEXT}"):
        stray.unlink()


def settle(folder: Path) -> None:
    """Finish what a process that was killed left in a folder that is to be read.

    Raises:
        MachineError: Another process is at it, or the folder cannot be written.
    """
    if is_file(folder / _READY):
        with locked(folder):
            pass


def _check_is_ours(folder: Path) -> None:
    """Refuse a folder that holds something else than a dataset.

    Raises:
        InputError: It does, or it is no folder.
    """
    if str(folder) == "-":
        msg = "--out -: a dataset is a folder of files. Give the name of a folder."
        raise InputError(msg)
    if is_there(folder) and not is_folder(folder):
        msg = f"{folder}: is no folder. Name a folder for the dataset, which need not be there yet."
        raise InputError(msg)
    if not is_folder(folder) or is_file(folder / MANIFEST) or is_file(folder / _READY):
        return
    others = [path.name for path in folder.iterdir() if path.name != _LOCK and path.suffix != _NEXT]
    if others:
        msg = f"{folder}: holds other files, such as {min(others)!r}, and no dataset. Name a new or an empty folder."
        raise InputError(msg)


def _taken(folder: Path) -> IO[bytes]:
    """The lock of a folder, open for as long as it is held.

    Raises:
        MachineError: Another process holds it.
    """
    path = folder / _LOCK
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        is_gone = not is_file(path) or path.stat().st_ino != os.fstat(lock.fileno()).st_ino
    except BlockingIOError:
        is_gone = True
    if is_gone:
        lock.close()
        msg = f"{folder}: another process builds a dataset there. Run again when it is done, or name another folder."
        raise MachineError(msg)
    return lock
