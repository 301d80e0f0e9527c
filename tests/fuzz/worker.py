"""A process that uses inputs, watched from another one: it may die or hang, and the run goes on."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Self

from tests.fuzz.target import Files, Take
from tests.fuzz.verdict import Outcome, Verdict, judged

_START_S = 120.0  # imports, while other processes work
_MEMORY = 8 * 2**30  # bytes of address space; what wants more gets a MemoryError instead of the machine's memory
_LAST_WORDS = 2_000  # characters
_SPAWN = multiprocessing.get_context("spawn")  # a fork would carry what this process has loaded


class Worker:
    """A process for inputs; a new one takes its place when it dies or hangs.

    Args:
        patience_s: Seconds after which an input counts as one that hangs.
    """

    def __init__(self, patience_s: float = 20.0) -> None:
        self._patience_s = patience_s
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
        self._running: tuple[SpawnProcess, Connection] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()
        shutil.rmtree(self._folder, ignore_errors=True)

    def judge(self, take: Take, files: Files) -> Outcome:
        """What becomes of an input.

        Args:
            take: Uses it; a function that the process can import.
            files: The input.
        """
        process, pipe = self._running or self._start()
        try:
            pipe.send((take, dict(files)))
            if not pipe.poll(self._patience_s):
                self._end()
                return Outcome(Verdict.HANG, f"no answer within {self._patience_s:g} s")
            outcome: Outcome = pipe.recv()
        except (EOFError, OSError):
            process.join()
            code = process.exitcode or 0
            self._end()
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return Outcome(Verdict.DEATH, f"{cause}\n{self._last_words()}")
        return outcome

    def _start(self) -> tuple[SpawnProcess, Connection]:
        pipe, other = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(other, self._folder), daemon=True)
        process.start()
        other.close()
        self._running = (process, pipe)
        if not pipe.poll(_START_S):
            msg = f"A worker does not start within {_START_S:g} s."
            raise RuntimeError(msg)
        pipe.recv()
        return self._running

    def _end(self) -> None:
        if self._running is not None:
            process, pipe = self._running
            self._running = None
            pipe.close()
            process.kill()
            process.join()

    def _last_words(self) -> str:
        """The end of what the process wrote to stderr."""
        log = self._folder / "log"
        return log.read_text("utf-8", "replace")[-_LAST_WORDS:] if log.exists() else ""


def _serve(pipe: Connection, folder: Path) -> None:
    """The process: takes inputs and tells what became of them, until the other end is closed."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other one ends this
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    pipe.send(None)
    while True:
        try:
            take, files = pipe.recv()
        except EOFError:
            return
        here = Path(tempfile.mkdtemp(dir=folder))  # never a name again: what is known of a file may be kept by its path
        write_files(here, files)
        pipe.send(judged(take, here))
        shutil.rmtree(here, ignore_errors=True)


def write_files(folder: Path, files: Files) -> None:
    """Write an input as the files of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, contents in files.items():
        (folder / name).write_bytes(contents)
