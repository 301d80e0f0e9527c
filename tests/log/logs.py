"""Logs of tests: engines with one, and what its file holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from cascade import DecisionLog, Engine, ScriptedBackend
from cascade.backends.scripted import Script
from cascade.engine.settings import EngineSettings
from cascade.log.database import open_log_file
from cascade.log.entries import LoggedRequest
from cascade.log.store import read_requests
from tests.helpers.shipped import ADAPTERS, CASCADES

SAYS = {"relevant": 0.9, "primary": 0.2, "supporting": 0.7}
"""What a script says: every item comes to the label ``supporting``."""


def scripted(log: DecisionLog | None, script: Script | None = None, backend: ScriptedBackend | None = None) -> Engine:
    """An engine without a model that tells a log what it does."""
    backend = backend or ScriptedBackend(script or SAYS, ADAPTERS)
    return Engine(backend, CASCADES, settings=EngineSettings(log=log))


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The file of a log."""
    with closing(open_log_file(path, must_exist=True)) as database:
        yield database


def requests_of(path: Path) -> list[LoggedRequest]:
    """All requests that a log has."""
    with opened(path) as database:
        return list(read_requests(database))


def n_rows(path: Path, table: str) -> int:
    """How many rows a table of a log has."""
    return len(rows_of(path, table))


def rows_of(path: Path, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table of a log."""
    with opened(path) as database:
        return database.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608 - a name of ours


def bytes_of(path: Path) -> bytes:
    """All that lies on the disk of a log, what is in its journal included."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))
