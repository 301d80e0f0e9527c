"""Files that are written: whole or not at all, and not in place of something else."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cascade.errors import InputError, MachineError
from cascade.files import is_file, is_folder, is_there, reason

_REMEDY = "Name a file in a folder that can be."


@contextmanager
def whole_file(path: Path, remedy: str = _REMEDY) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place once the block ends, and is removed where the block fails.

    A reader finds the whole old file or the whole new one. The new file has the rights of the old one. A link stays a
    link, and what it leads to is replaced.

    Args:
        path: The file.
        remedy: What to do where it cannot be written, as a sentence.

    Raises:
        MachineError: The file cannot be written.
    """
    target = _target(path, remedy)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".part")
        os.close(handle)
        part = Path(name)
        try:
            yield part
            part.chmod(_rights(target))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error, remedy) from error


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the whole old one or the whole new one.

    What is no regular file, such as a pipe or ``/dev/stdout``, is written to as it is.

    Raises:
        MachineError: The file cannot be written.
    """
    if is_special(path):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise unwritable(path, error) from error
        return
    with whole_file(path) as part:
        part.write_bytes(content)


def check_output(path: Path) -> None:
    """Refuse a file that cannot be written, before work that takes long.

    Raises:
        InputError: It is a folder, or its folder is missing.
        MachineError: Its folder takes no new file.
    """
    if is_folder(path):
        msg = f"{path}: is a folder. Give the name of a file."
        raise InputError(msg)
    folder = _target(path, _REMEDY).parent
    if not is_folder(folder):
        msg = f"{path}: there is no folder {folder}. Make it, or name a file in another."
        raise InputError(msg)
    try:
        if not is_special(path):
            tempfile.TemporaryFile(dir=folder).close()
            with suppress(FileNotFoundError):
                path.lstat()  # a name that is too long
    except OSError as error:
        raise unwritable(path, error) from error


def check_folder(folder: Path, remedy: str) -> None:
    """Refuse a folder that cannot be made or takes no new file, before work that takes long; nothing of it is left.

    Raises:
        MachineError: It cannot, or takes none.
    """
    missing = [path for path in (folder, *folder.parents) if not is_there(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error, remedy) from error
    finally:
        with suppress(OSError):  # where not even the first of them could be made
            for path in missing:
                path.rmdir()


def is_special(path: Path) -> bool:
    """Whether there is something that is neither a regular file nor a folder, such as a pipe or a terminal."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _target(path: Path, remedy: str) -> Path:
    """What a path leads to."""
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:  # a circle of links, a zero byte
        raise unwritable(path, error, remedy) from error


def unwritable(path: Path, error: Exception, remedy: str = _REMEDY) -> MachineError:
    """The error of a file or folder that cannot be written, with what to do."""
    return MachineError(f"{path}: cannot be written ({reason(error)}). {remedy}")


def _rights(path: Path) -> int:
    """The rights of a file, or those that a new one gets."""
    if is_file(path):
        return stat.S_IMODE(path.stat().st_mode)
    mask = os.umask(0o077)  # it can only be read by setting it
    os.umask(mask)
    return 0o666 & ~mask
