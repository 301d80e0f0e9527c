"""What a long batch costs beside its engine, and whether its memory stays flat.

    python -m benchmarks.batches [--tasks 10000] [--items 100] [--alone 500] [--concurrency 8] [--json]

A generator makes tasks, whose items go through a scripted backend into a file of results, as ``cascade run`` does it;
then the same job is resumed, which finds all rows done. Times of the processor count the whole process, the engine's
thread included; a busy machine changes them little.

- ``alone``: the engine by itself, one request after another, on the first tasks: before the job, and after it again.
- ``together``: the same requests, as many open at once as the job has.
- ``job``: the whole job: rows read, checked and keyed, asked, written as JSON lines.
- ``resumed``: the job again: results read and checked, every row looked up, nothing asked.
- ``rss``: resident memory of the process in MiB after each tenth of the rows.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.script import count, run_script
from benchmarks.shipped import CASCADES
from cascade import Engine, ScriptedBackend
from cascade.batch.answers import CONCURRENCY, answered
from cascade.batch.job import Job, Tally, run_job
from cascade.batch.reading import Source
from cascade.batch.rows import Row, rows_of

_CASCADE = CASCADES["precision"]
_PARTS = 10  # of the job, after each of which memory is read
_RSS = re.compile(r"VmRSS:\s+(\d+) kB")


def task(number: int, n_items: int) -> dict[str, Any]:
    """A task with items as a table of symbols has them; no two are the same."""
    items = [
        {
            "id": f"src/module_{number % 97}.py::Reader.method_{number}_{at}",
            "kind": "method",
            "name": f"Reader.method_{number}_{at}",
            "signature": "(self, text: str) -> None",
            "group": {"name": f"src/module_{number % 97}_{at // 20}.py"},
        }
        for at in range(n_items)
    ]
    return {"id": f"{number}", "task": f"Reading part {number} of a long text loses its last line.", "items": items}


class Generated(Source):
    """Tasks that are made as they are read, so that no file has to be kept in memory or on the disk."""

    def __init__(self, n_tasks: int, n_items: int) -> None:
        super().__init__([])
        self._n_tasks, self._n_items = n_tasks, n_items

    def __iter__(self) -> Iterator[list[Row]]:
        """The rows of each task."""
        for number in range(self._n_tasks):
            rows = rows_of(task(number, self._n_items), f"task {number}")
            self.n_rows += len(rows)
            yield rows

    @property
    def share(self) -> float:
        """How much of all was made."""
        return self.n_rows / (self._n_tasks * self._n_items)


def script(adapter: str, prompt: str) -> float:
    """p(yes): every tenth item is relevant, and none of these primary or supporting."""
    is_tenth = "7 | (" in prompt.rpartition("method_")[2]
    return 0.9 if is_tenth and adapter == "relevant" else 0.01


def rss_mib() -> float:
    """Resident memory of this process."""
    found = _RSS.search(Path("/proc/self/status").read_text(encoding="ascii"))
    return int(found[1]) / 1_024 if found else 0.0


class Bench:
    """One engine, and what it is asked.

    Args:
        engine: It.
        n_tasks: Tasks of the job.
        n_items: Items of a task.
        concurrency: Most requests that are open at once.
        out: The file of results.
    """

    def __init__(self, engine: Engine, n_tasks: int, n_items: int, concurrency: int, out: Path) -> None:
        self._engine, self._n_tasks, self._n_items = engine, n_tasks, n_items
        self._concurrency, self._out = concurrency, out

    def measured(self, work: Callable[[], object], n_rows: int) -> dict[str, float]:
        """Time of the processor and of the clock, in microseconds a row."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        spent = {"cpu_us": time.process_time() - cpu, "wall_us": time.perf_counter() - wall}
        return {name: round(1e6 * seconds / n_rows, 1) for name, seconds in spent.items()}

    def alone(self, n_tasks: int) -> dict[str, float]:
        """The first tasks, one request after another; rows are made beforehand."""
        asked = [(rows[0].task, [row.item for row in rows]) for rows in Generated(n_tasks, self._n_items)]

        def work() -> None:
            for each, items in asked:
                self._engine.classify(each, items, _CASCADE.name, budget=None)  # type: ignore[arg-type]

        return self.measured(work, n_tasks * self._n_items)

    def together(self, n_tasks: int) -> dict[str, float]:
        """The same, several requests at once, without keys, results or files."""
        lines = list(Generated(n_tasks, self._n_items))

        def work() -> None:
            for _ in answered(self._engine, lines, _CASCADE.name, concurrency=self._concurrency):
                pass

        return self.measured(work, n_tasks * self._n_items)

    def job(self, *, resume: bool, told: Callable[[Tally], object] = bool) -> tuple[Tally, dict[str, float]]:
        """The whole job."""
        source = Generated(self._n_tasks, self._n_items)
        job = Job(source=source, out=self._out, cascade=_CASCADE.name, resume=resume, concurrency=self._concurrency)
        found: list[Tally] = []
        spent = self.measured(lambda: found.append(run_job(self._engine, job, told)), self._n_tasks * self._n_items)
        return found[0], spent


class Memory:
    """Reads the memory of the process as a job goes on.

    Args:
        n_rows: Rows of the job.
    """

    def __init__(self, n_rows: int) -> None:
        self._step = max(1, n_rows // _PARTS)
        self.mib: dict[int, float] = {}

    def __call__(self, tally: Tally) -> None:
        """The job has come to this."""
        part = tally.n_done // self._step
        if part * self._step not in self.mib:
            self.mib[part * self._step] = round(rss_mib(), 1)
            sys.stderr.write(f"{tally.n_done:,} rows, {self.mib[part * self._step]} MiB\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=count, default=10_000)
    parser.add_argument("--items", type=count, default=100)
    parser.add_argument("--alone", type=count, default=500)
    parser.add_argument("--concurrency", type=count, default=CONCURRENCY)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    backend = ScriptedBackend(script, frozenset(_CASCADE.adapters()), records=False)
    with tempfile.TemporaryDirectory() as folder, Engine(backend, {_CASCADE.name: _CASCADE}) as engine:
        out = Path(folder) / "results.jsonl"
        bench, n_alone = Bench(engine, given.tasks, given.items, given.concurrency, out), min(given.alone, given.tasks)
        memory = Memory(given.tasks * given.items)
        found: dict[str, Any] = {"alone": bench.alone(n_alone), "together": bench.together(n_alone)}
        sys.stderr.write(f"{found}\n")
        tally, found["job"] = bench.job(resume=False, told=memory)
        found |= {"alone_again": bench.alone(n_alone), "calls_per_item": tally.n_calls / tally.n_rows}
        resumed, found["resumed"] = bench.job(resume=True)
        found |= {"rows": tally.n_rows, "asked_again": resumed.n_done, "rss": memory.mib, "rss_resumed": rss_mib()}
        found["bytes_per_row"] = round(out.stat().st_size / tally.n_rows, 1)
    if given.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for name, value in found.items():
            sys.stdout.write(f"{name}: {value}\n")
    return 0


if __name__ == "__main__":
    run_script(main)
