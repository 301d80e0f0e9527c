"""Bytes of regular files alone: no link is followed, and no pipe or device is waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def read_regular(file: Path | str, limit: int) -> bytes | None:
    """The first bytes of a file, at most ``limit``; None where it is no regular file.

    Raises:
        OSError: It is not there, is a link, or cannot be read.
    """
    descriptor = os.open(file, _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        with os.fdopen(descriptor, "rb", closefd=False) as opened:
            return opened.read(limit)
    finally:
        os.close(descriptor)
