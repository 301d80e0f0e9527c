"""A job that is killed again and again, in a process of its own; run as a module.

It loads everything once and forks for every life of the job, so that a hundred lives take seconds. Each is killed once
the file has grown by so many bytes, and at times what it wrote last is cut as a machine that stops might leave it.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from cascade.batch.job import Job, run_job
from cascade.batch.reading import Source
from tests.batch.scripted import scripted

_LOOK_S = 2e-4
_MOST_S = 30.0


def live(tasks: Path, out: Path) -> None:
    """Do the job, or what is left of it."""
    with scripted() as engine:
        run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets", resume=True, concurrency=4))


def _size(out: Path) -> int:
    return out.stat().st_size if out.exists() else 0


def kill_one(tasks: Path, out: Path, chance: random.Random, most: int) -> bool:
    """Let the job live until the file has grown by up to so many bytes, and kill it; whether it was at work then."""
    goal, begun = _size(out) + chance.randrange(most), time.monotonic()
    child = os.fork()
    if not child:
        live(tasks, out)
        os._exit(0)
    is_over, status = False, 0
    while not is_over and _size(out) < goal and time.monotonic() - begun < _MOST_S:
        time.sleep(_LOOK_S)
        is_over = os.waitpid(child, os.WNOHANG) != (0, 0)
    if not is_over:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def cut(out: Path, most: int) -> None:
    """Take up to so many bytes from the end of the file."""
    os.truncate(out, max(0, _size(out) - most))


def main() -> None:
    """Kill a job so many times, and let it end. Arguments: tasks, results, number of kills, most bytes of a life."""
    tasks, out, kills, most = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    chance = random.Random(19)
    while kills:
        was_at_work = kill_one(tasks, out, chance, most)
        kills -= was_at_work
        if not was_at_work:
            cut(out, _size(out) // 2 + chance.randrange(most))  # it was done already, so there is more to do now
        elif chance.randrange(2):
            cut(out, chance.randrange(most // 4))
    live(tasks, out)


if __name__ == "__main__":
    main()
