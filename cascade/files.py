"""Text from outside: files, pipes and stdin, in UTF-8 with or without a byte order mark, plain or gzipped."""

from __future__ import annotations

import codecs
import errno
import glob
import gzip
import hashlib
import io
import json
import os
import re
import stat
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cascade.errors import InputError, MachineError

STDIN = Path("-")
"""The path that means stdin, wherever text is read; and stdout, where a command can write there."""

MAX_BYTES = 64 * 2**20
"""Most bytes of a text that is read at once, and of one line of a text that is read line by line."""

_PART = 2**20
_GZIP = b"\x1f\x8b"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def is_there(path: Path) -> bool:
    """Whether there is such a path; False where a folder above it may not be entered, or the name cannot be one."""
    return os.path.exists(path)  # noqa: PTH110 - pathlib raises then, before Python 3.14


def is_file(path: Path) -> bool:
    """Whether it is a file; False as above."""
    return os.path.isfile(path)  # noqa: PTH113 - as above


def is_folder(path: Path) -> bool:
    """Whether it is a folder; False as above."""
    return os.path.isdir(path)  # noqa: PTH112 - as above


def is_plain_name(name: str) -> bool:
    """Whether a file can have this name anywhere: it has letters, digits, and behind its first character _, . and -."""
    return re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) is not None


def name_of(path: Path) -> str:
    """What messages call a file."""
    return "stdin" if path == STDIN else str(path)


def reason(error: Exception) -> str:
    """Why a file could not be used, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def check_readable(paths: Iterable[Path | None]) -> None:
    """Refuse files that cannot be read, and pipes that are named twice, before any work starts.

    Args:
        paths: The files; None for one that is not given.

    Raises:
        InputError: Names the file.
    """
    read_once: set[tuple[int, int]] = set()
    for path in paths:
        if path is None:
            continue
        status = _status(path)
        if path != STDIN and stat.S_ISREG(status.st_mode):
            continue
        place = status.st_dev, status.st_ino
        if place in read_once:
            msg = f"{name_of(path)}: is named twice, and can be read once. Write what it brings to a file first."
            raise InputError(msg)
        read_once.add(place)


def _status(path: Path) -> os.stat_result:
    """What a file is, once it is clear that it can be read; nothing is taken from a pipe."""
    try:
        status = os.fstat(_stdin()) if path == STDIN else path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path != STDIN and stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        msg = f"{name_of(path)}: cannot be read ({reason(error)}). Give the path of a file, or - for stdin."
        raise InputError(msg) from error
    return status


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hex.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of_json(value: Any) -> str:
    """SHA-256 of a JSON value, in hex; the order of an object's keys does not matter."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_text(path: Path, remedy: str) -> str:
    """The text of a file.

    Args:
        path: The file; ``-`` for stdin.
        remedy: What to do where it cannot be read, as a sentence.

    Raises:
        InputError: It cannot be read, is damaged, too large, or not UTF-8; names the file.
    """
    with _opened(path, remedy) as file:
        data = bytearray()
        while len(data) <= MAX_BYTES and (part := file.read(_PART)):  # what is asked for is reserved at once
            data += part
        if len(data) > MAX_BYTES:
            msg = f"{name_of(path)}: has more than {MAX_BYTES // 2**20} MiB. {remedy}"
            raise InputError(msg)
        return _decoded(bytes(data), path)


def read_lines(path: Path, remedy: str) -> Iterator[tuple[int, str]]:
    """The lines of a file, each with its number, from 1 on.

    Args:
        path: The file; ``-`` for stdin.
        remedy: What to do where it cannot be read, as a sentence.

    Raises:
        InputError: It cannot be read, is damaged, or a line is too long or not UTF-8; names file and line.
    """
    with _opened(path, remedy) as file:
        for number, line in _lines(file):
            yield number, _text_of_line(line, path, number, remedy)


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that cannot be used.

    Attributes:
        error: What is wrong with it; names file and line.
        digest: SHA-256 of its bytes without the line's end, in hex.
    """

    error: InputError
    digest: str


def lines_apart(
    path: Path, remedy: str, opened: Callable[[io.BufferedIOBase], object] = bool
) -> Iterator[tuple[int, str | BadLine]]:
    """The lines of a file, each with its number, from 1 on; what is wrong with one stands in its place.

    Args:
        path: The file; ``-`` for stdin.
        remedy: What to do where it cannot be read, as a sentence.
        opened: Called with the file as it is on the disk, whose ``tell`` says how much of it was read.

    Raises:
        InputError: The file cannot be read, or is damaged.
    """
    with _opened(path, remedy, opened) as file:
        for number, line in _lines(file):
            try:
                text = _text_of_line(line, path, number, remedy)
            except InputError as error:
                yield number, BadLine(error, _digest_of_line(line, file))
            else:
                yield number, text


def _lines(file: io.BufferedIOBase) -> Iterator[tuple[int, bytes]]:
    """The lines of a file; of one that is too long, as much as shows it."""
    return enumerate(iter(lambda: file.readline(MAX_BYTES + 1), b""), 1)


def _text_of_line(line: bytes, path: Path, number: int, remedy: str) -> str:
    if len(line) > MAX_BYTES:
        msg = f"{name_of(path)}, line {number}: has more than {MAX_BYTES // 2**20} MiB. {remedy}"
        raise InputError(msg)
    return _decoded(line, path, number)


def _digest_of_line(begin: bytes, file: io.BufferedIOBase) -> str:
    """SHA-256 of a line, of which a beginning was read; the rest of it is passed by."""
    digest = hashlib.sha256(begin.removesuffix(b"\n"))
    part = begin
    while not part.endswith(b"\n") and (part := file.readline(_PART)):
        digest.update(part.removesuffix(b"\n"))
    return digest.hexdigest()


def _stdin() -> int:
    """The descriptor of stdin; the stream is passed by, since nothing else in this package reads it."""
    if sys.stdin is None:  # closed before Python started; another file may have its number by now
        raise OSError(errno.EBADF, "it is closed")
    return 0


@contextmanager
def _opened(
    path: Path, remedy: str, opened: Callable[[io.BufferedIOBase], object] = bool
) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, unpacked; what goes wrong while they are read names the file."""
    try:
        with os.fdopen(_stdin(), "rb", closefd=False) if path == STDIN else path.open("rb") as file:
            opened(file)
            yield _unpacked(file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        msg = f"{name_of(path)}: is damaged, gzip cannot unpack it ({error}). Get it or pack it again."
        raise InputError(msg) from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        msg = f"{name_of(path)}: cannot be read ({reason(error)}). {remedy}"
        raise InputError(msg) from error


def _unpacked(file: io.BufferedIOBase) -> io.BufferedIOBase:
    """What a file holds, without gzip where it begins as gzip does: names tell little, and pipes have none."""
    head = file.read(len(_GZIP))
    whole = io.BufferedReader(_Joined(head, file))
    return gzip.GzipFile(fileobj=whole) if head == _GZIP else whole


class _Joined(io.RawIOBase):
    """Bytes that were read already, then the rest of their file: a pipe cannot go back."""

    def __init__(self, head: bytes, rest: io.BufferedIOBase) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or its beginning; 0 at the end."""
        data = self._head or self._rest.read(min(len(buffer), _PART))
        self._head = data[len(buffer) :]
        buffer[: len(data)] = data[: len(buffer)]
        return min(len(data), len(buffer))


def _decoded(data: bytes, path: Path, line: int = 1) -> str:
    """The text of bytes that begin at a line of a file."""
    zero = data.find(b"\0")
    if zero >= 0 and not data.startswith(_UTF_16):
        line += data.count(b"\n", 0, zero)
        msg = f"{name_of(path)}, line {line}: has a zero byte, as no text has. Save the file as UTF-8."
        raise InputError(msg)
    try:
        return data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        given = "it is UTF-16 or UTF-32" if data.startswith(_UTF_16) else f"byte 0x{error.object[error.start]:02x}"
        line += error.object.count(b"\n", 0, error.start)
        msg = f"{name_of(path)}, line {line}: is not UTF-8 ({given}). Save the file as UTF-8."
        raise InputError(msg) from error


REMEDY = "Give JSON lines, one object each, plain or gzipped."
"""What to do where a file holds nothing that can be used."""

_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line in words, object) of every line that is not blank.

    An object has no NaN, no lone surrogate and no key twice, and is not nested deeper than 200.

    Args:
        path: The file; ``-`` for stdin.

    Raises:
        InputError: The file cannot be read, or a line is no such object; names file and line.
    """
    for number, line in read_lines(path, REMEDY):
        if line.strip():
            where = f"{name_of(path)}, line {number}"
            yield where, object_of(line.strip(), where, "Each line is one object.")


def object_of(text: str, where: str, remedy: str) -> dict[str, Any]:
    """The object that a JSON text is; see ``read_objects`` for what it may not have.

    Args:
        text: The text.
        where: Its file, and line if it is one of several, in words.
        remedy: What to do where it is no such object, as a sentence.

    Raises:
        InputError: It is none.
    """
    try:
        from_json(text, allow_inf_nan=False)  # it alone refuses lone surrogates
        value = json.loads(text, object_pairs_hook=_each_key_once)
    except ValueError as error:
        msg = f"{where}: is not JSON ({_problem(str(error))}). {remedy}"
        raise InputError(msg) from error
    if not isinstance(value, dict):
        msg = f"{where}: is {_KINDS[type(value)]}. {remedy}"
        raise InputError(msg)
    return value


def _problem(said: str) -> str:
    """What a parser says of a line, without the line's number among those of the parser."""
    said = re.sub(r".*hex escape", "half of a surrogate pair, which is no character,", said)
    return re.sub(r" at line 1 (column \d+)$", r" at \1", said)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        msg = f"an object has the key {twice!r} twice"
        raise ValueError(msg)
    return found


_REMEDY = "Name a file in a folder that can be."
_PART_SUFFIX = ".part"
_PRIVATE = stat.S_IRUSR | stat.S_IWUSR


@contextmanager
def whole_file(path: Path, remedy: str = _REMEDY, *, is_private: bool = False) -> Iterator[Path]:
    """A new file beside ``path`` that takes its place once the block ends, and is removed where the block fails.

    A reader finds the whole old file or the whole new one. The new file has the rights of the old one. A link stays a
    link, and what it leads to is replaced.

    Args:
        path: The file.
        remedy: What to do where it cannot be written, as a sentence.
        is_private: Whether its owner alone may read it, whatever the old one allowed.

    Raises:
        InputError: It is ``-``, or something is there that is no regular file.
        MachineError: The file cannot be written.
    """
    _check_is_no_stdout(path, "file")
    check_replaceable(path)
    target = _target(path, remedy)
    try:
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=_part_prefix(target), suffix=_PART_SUFFIX)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            part.chmod(_PRIVATE if is_private else _rights(target))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error, remedy) from error


def parts_of(path: Path, remedy: str = _REMEDY) -> list[Path]:
    """The new files beside ``path`` that ``whole_file`` has not put into its place: being written, or left by a kill.

    Raises:
        MachineError: The path cannot be followed.
    """
    target = _target(path, remedy)
    return sorted(target.parent.glob(f"{glob.escape(_part_prefix(target))}*{_PART_SUFFIX}"))


def _part_prefix(target: Path) -> str:
    return f".{target.name[:100]}."


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader finds the whole old one or the whole new one.

    What is no regular file, such as a pipe or ``/dev/stdout``, is written to as it is.

    Raises:
        InputError: It is ``-``.
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


def check_replaceable(path: Path) -> None:
    """Refuse a path where a new file would take the place of something that is no regular file, such as a device.

    Raises:
        InputError: Something like that is there.
    """
    if is_special(path):
        msg = (
            f"{path}: is a pipe, a socket or a device, and no file takes the place of one. Name a regular file, or one "
            "that is not there yet."
        )
        raise InputError(msg)


def _check_is_no_stdout(path: Path, kind: str) -> None:
    """Refuse the path that means stdin or stdout elsewhere, as the name of what is written."""
    if path == STDIN:
        msg = f"{path}: means stdout, and this is written to a {kind} alone. Give the name of a {kind}."
        raise InputError(msg)


def check_output(path: Path) -> None:
    """Refuse a file that cannot be written, before work that takes long.

    Raises:
        InputError: It is ``-``, which means stdout elsewhere, or a folder, or its folder is missing.
        MachineError: Its folder takes no new file.
    """
    _check_is_no_stdout(path, "file")
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
        InputError: It is ``-``, which means stdout elsewhere.
        MachineError: It cannot, or takes none.
    """
    _check_is_no_stdout(folder, "folder")
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
