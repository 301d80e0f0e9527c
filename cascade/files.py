"""Text from outside: files, pipes and stdin, in UTF-8 with or without a byte order mark, plain or gzipped."""

from __future__ import annotations

import codecs
import errno
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from cascade.errors import InputError

STDIN = Path("-")
"""The path that means stdin, wherever text is read."""

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
        for number in count(1):
            line = file.readline(MAX_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_BYTES:
                msg = f"{name_of(path)}, line {number}: has more than {MAX_BYTES // 2**20} MiB. {remedy}"
                raise InputError(msg)
            yield number, _decoded(line, path, number)


def _stdin() -> int:
    """The descriptor of stdin; the stream is passed by, since nothing else in this package reads it."""
    if sys.stdin is None:  # closed before Python started; another file may have its number by now
        raise OSError(errno.EBADF, "it is closed")
    return 0


@contextmanager
def _opened(path: Path, remedy: str) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file, unpacked; what goes wrong while they are read names the file."""
    try:
        with os.fdopen(_stdin(), "rb", closefd=False) if path == STDIN else path.open("rb") as file:
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
