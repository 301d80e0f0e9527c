"""Standard streams that are closed, full, gone, or cannot carry every sign."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

_STDOUT, _STDERR = 1, 2
_ESCAPES = "backslashreplace"


class _Results(io.FileIO):
    """Stdout, which remembers why something could not be written.

    Attributes:
        error: Why; None if everything was.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        """See ``io.RawIOBase.write``."""
        try:
            return super().write(data)
        except OSError as error:
            self.error = error
            raise


class _Notes(io.FileIO):
    """Stderr, which drops what cannot be written: it must not cost the results."""

    def write(self, data: Any, /) -> int:
        """See ``io.RawIOBase.write``."""
        try:
            return super().write(data)
        except OSError:
            return len(data)


def mend_streams(*, is_process: bool) -> str:
    """Make stdout and stderr usable.

    A descriptor that is closed is opened on nothing, that of stdin too, so that no other file gets its number. A sign
    that a stream cannot carry is written as its escape.

    Args:
        is_process: Whether the streams are the process's own; others are left as they are but for signs.

    Returns:
        Why nobody can read the results; empty if somebody can.
    """
    if is_process:
        for descriptor, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
            _reserve(descriptor, mode)
        sys.stderr = _text(_Notes(_STDERR, "w", closefd=False), sys.stderr)
    if sys.stdout is None:
        return "stdout is closed, so nobody can read the results. Let it be a file, a pipe or /dev/null."
    if is_process:
        sys.stdout = _text(_Results(_STDOUT, "w", closefd=False), sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPES)
    return ""


def output_error() -> OSError | None:
    """Why results could not be written; None if they were, or where stdout is not the process's own."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return raw.error if isinstance(raw, _Results) else None


def drop_output() -> None:
    """Point stdout at nothing, so that the flush at the process's end cannot fail again."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError:  # a stdout without a descriptor has nothing left to flush
        return


def _reserve(descriptor: int, mode: int) -> None:
    """Open a descriptor on nothing if it is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        opened = os.open(os.devnull, mode)
        if opened != descriptor:
            os.dup2(opened, descriptor)
            os.close(opened)


def _text(file: io.FileIO, before: object) -> io.TextIOWrapper:
    """A file as a text stream with the encoding of the stream before; lines are written as they end on a terminal."""
    encoding = getattr(before, "encoding", None) or "utf-8"
    is_shown_at_once = isinstance(file, _Notes) or file.isatty()
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, line_buffering=is_shown_at_once)
