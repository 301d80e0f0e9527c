"""What of a work in steps is done: a small file in its folder, by which a run that was killed is gone on with."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.errors import InputError, MachineError
from cascade.files import is_file, read_text, sha256_of_json, unwritable, write_whole

VERSION = 1
_FILE, _LOCK = "improve.json", ".lock"
_REMEDY = "Name another folder with --work."

Told = dict[str, Any]
"""What came of a step, as JSON."""


@dataclass(slots=True)
class Journal:
    """The steps of a round, each with a hash of what went into it and with what came of it.

    Attributes:
        folder: Where the file is.
        of: What the work is about; a folder holds one such work.
        steps: Step -> its entry, in the order in which they were done.
        last: What the round before came to; empty before the first has ended.
    """

    folder: Path
    of: str
    steps: dict[str, Told] = field(default_factory=dict)
    last: Told = field(default_factory=dict)

    @classmethod
    @contextmanager
    def opened(cls, folder: Path, of: str) -> Iterator[Journal]:
        """The journal of a folder, which is made if it is not there, for this process alone.

        Raises:
            InputError: The folder holds another work, or the file is damaged.
            MachineError: Another process works there, or the folder cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = (folder / _LOCK).open("ab")
        except OSError as error:
            raise unwritable(folder, error, _REMEDY) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                msg = f"{folder}: another process improves a cascade there. Run again when it is done."
                raise MachineError(msg) from error
            yield cls._read(folder, of)

    @classmethod
    def _read(cls, folder: Path, of: str) -> Journal:
        path = folder / _FILE
        if not is_file(path):
            return cls(folder, of)
        try:
            found = json.loads(read_text(path, _REMEDY))
            version, was, steps, last = (found[key] for key in ("version", "of", "steps", "last"))
            journal = cls(folder, of, {str(name): dict(entry) for name, entry in steps.items()}, dict(last))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{path}: is damaged ({error!r}). Remove it to begin anew, or name another folder with --work."
            raise InputError(msg) from error
        if version != VERSION or was != of:
            msg = f"{path}: is about {was!r} in version {version}, not about {of!r} in version {VERSION}. {_REMEDY}"
            raise InputError(msg)
        return journal

    def found(self, step: str) -> Told | None:
        """What came of a step; None if it is not done."""
        entry = self.steps.get(step)
        return dict(entry["out"]) if entry is not None else None

    def step(
        self,
        name: str,
        given: Mapping[str, Any],
        work: Callable[[], Told],
        is_there: Callable[[Told], bool] = lambda _: True,
    ) -> tuple[Told, bool]:
        """Do a step, or go by what came of it when the same went in; steps that were done after it are forgotten.

        Args:
            name: The step.
            given: What goes into it, as JSON.
            work: Does it; it is called again with the same if the process ends before this function does.
            is_there: Whether what it made still is.

        Returns:
            What came of it, and whether it was done before.
        """
        key, entry = sha256_of_json(given), self.steps.get(name)
        if entry is not None and entry["in"] == key and is_there(entry["out"]):
            return dict(entry["out"]), True
        self.forget_from(name)
        out = work()
        self.steps[name] = {"in": key, "out": out, "done": datetime.now(UTC).isoformat(timespec="seconds")}
        self._write()
        return out, False

    def forget_from(self, name: str) -> None:
        """Forget a step, and those that were done after it."""
        names = list(self.steps)
        if name in names:
            for later in names[names.index(name) :]:
                del self.steps[later]
            self._write()

    def begin(self, last: Told) -> None:
        """Begin another round, and keep what this one came to."""
        self.steps, self.last = {}, last
        self._write()

    def _write(self) -> None:
        told = {"version": VERSION, "of": self.of, "steps": self.steps, "last": self.last}
        write_whole(self.folder / _FILE, f"{json.dumps(told, indent=2)}\n".encode())
