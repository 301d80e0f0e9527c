"""A terminal of some width, and what a command shows on it."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_terminal(columns: int, arguments: Sequence[str], *, has_notes: bool = False) -> tuple[int, str]:
    """Exit code of the command ``cascade``, and what it writes to a terminal, without colours.

    Args:
        columns: The terminal's width.
        arguments: Of the command.
        has_notes: Whether stderr is the terminal as well.
    """
    ours, its = os.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 60, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR"}}
    command = [sys.executable, "-m", "cascade", *arguments]
    variables = environment | {"TERM": "xterm-256color"}
    notes = its if has_notes else None
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=its, stderr=notes, env=variables) as process:
        os.close(its)
        written = b""
        with suppress(OSError):  # the other end is closed
            while chunk := os.read(ours, 65_536):
                written += chunk
    os.close(ours)
    return process.returncode, _COLOURS.sub("", written.decode("utf-8", "replace")).replace("\r\n", "\n")
