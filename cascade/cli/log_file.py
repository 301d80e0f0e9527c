"""The log that a command works on, and times as commands take them."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cascade.config.schema import read_config, shipped_config
from cascade.errors import InputError
from cascade.log.database import opened_log

LogOption = Annotated[
    Path | None, typer.Option("--log", metavar="FILE", help="The log; the one that the config names if absent.")
]

_AGE = re.compile(r"(\d{1,6})([hdw])")
_SECONDS = {"h": 3_600, "d": 86_400, "w": 604_800}


def log_path(log: Path | None, config: Path | None) -> Path:
    """The file that is named by --log, or by the config.

    Raises:
        InputError: None is.
    """
    if log is not None:
        return log
    named = read_config(config or shipped_config()).log
    if named is None:
        msg = "No log is named. Give --log FILE, or a config that has [log] with a path."
        raise InputError(msg)
    return named.path


@contextmanager
def opened(log: Path | None, config: Path | None) -> Iterator[tuple[sqlite3.Connection, Path]]:
    """A log that is there, and its file."""
    path = log_path(log, config)
    with opened_log(path, must_exist=True) as database:
        yield database, path


def age_ago(option: str, given: str) -> float:
    """Seconds since the epoch, so long ago.

    Raises:
        InputError: It is no age; names the option.
    """
    match = _AGE.fullmatch(given)
    if match is None:
        msg = f"{option} {given!r} is no age. Give hours, days or weeks, such as 12h, 30d or 8w."
        raise InputError(msg)
    return time.time() - int(match[1]) * _SECONDS[match[2]]


def moment(option: str, given: str) -> float:
    """Seconds since the epoch of a day or time, local where it names no zone.

    Raises:
        InputError: It is none; names the option.
    """
    try:
        return datetime.fromisoformat(given).astimezone().timestamp()
    except (ValueError, OverflowError, OSError) as error:
        msg = f"{option} {given!r} is no day or time. Give one such as 2026-11-01 or 2026-11-01T08:00."
        raise InputError(msg) from error


def since_option(given: str | None) -> float:
    """Seconds since the epoch that --since means: an age, a day or a time; 0 where it is not given.

    Raises:
        InputError: It is none of these.
    """
    if given is None:
        return 0.0
    return age_ago("--since", given) if _AGE.fullmatch(given) else moment("--since", given)
