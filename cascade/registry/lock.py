"""The lock of a registry: one process at a time adds versions to it, or changes what is live."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from cascade.files import unwritable

UNWRITABLE = "Name a registry that can be written."
_LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """A registry for one process at a time; others wait. Its folder is made if it is not there.

    Raises:
        MachineError: The registry cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as error:
        raise unwritable(folder, error, UNWRITABLE) from error
    with lock:
        flock(lock, LOCK_EX)
        yield
