"""What one engine and two of a Ray cluster on this machine do, and what a row costs there.

    python -m benchmarks.ray_scaling [--tasks N] [--items N] [--rounds N] [--json]

The same rows go through an engine in this process, one actor and two actors, taking turns; each engine has one thread.
Engines are open before the clock starts. Times are wall time; CPU time is that of the process, or of the actors. Rows
cross the network as Ray pickles them: the bytes of requests and reports are counted, not sent elsewhere, for all is on
one machine.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import ray

from benchmarks.script import count, run_script
from cascade.batch.answers import CONCURRENCY, Answering, answered
from cascade.batch.rows import Row, rows_of
from cascade.config.schema import Config, config_from
from cascade.engine.engine import Engine
from cascade.ray.engines import ActorEngine, opened
from cascade.report import Statistics

_CASCADE = "precision"
_TICK = os.sysconf("SC_CLK_TCK")


def rows(n_tasks: int, n_items: int) -> list[list[Row]]:
    """Tasks with symbols of their own."""
    return [
        rows_of(
            {
                "task": f"the parser of format {task} loses the last line of a file without a newline",
                "items": [
                    {"id": f"{item}", "kind": "function", "name": f"parse_{task}_{item}", "signature": "(text: str)"}
                    for item in range(n_items)
                ],
            },
            f"task {task}",
        )
        for task in range(n_tasks)
    ]


class _Actors:
    """The processes of all actors here."""

    def __init__(self) -> None:
        name = f"ray::{ActorEngine.__name__}".encode()
        self._folders = [each for each in Path("/proc").glob("[0-9]*") if _command(each).startswith(name)]

    def cpu_s(self) -> float:
        """Seconds of CPU that they have used; see proc(5)."""
        fields = [(folder / "stat").read_text().rpartition(")")[2].split() for folder in self._folders]
        return sum(int(each[11]) + int(each[12]) for each in fields) / _TICK

    def peak_mib(self) -> float:
        """Most memory that one of them has had."""
        told = [(folder / "status").read_text().partition("VmHWM:")[2].split()[0] for folder in self._folders]
        return max(map(int, told)) / 1024


def _command(folder: Path) -> bytes:
    try:
        return (folder / "cmdline").read_bytes()
    except OSError:
        return b""


def _run(engine: Answering, given: Sequence[Sequence[Row]], concurrency: int) -> None:
    n = sum(len(some) for some in answered(engine, given, _CASCADE, concurrency=concurrency))
    assert n == sum(map(len, given))


def _spent(work: Callable[[], None], cpu_s: Callable[[], float]) -> tuple[float, float]:
    """Seconds of wall time and of CPU."""
    before, started = cpu_s(), time.perf_counter()
    work()
    return time.perf_counter() - started, cpu_s() - before


def one_request(config: Config, given: Sequence[Row]) -> dict[str, float]:
    """What a row is: tokens, and bytes there and back."""
    items = [row.item for row in given if row.item is not None]
    with Engine.open(config, log=None) as engine:
        report = engine.classify(given[0].task or "", items, _CASCADE, budget=None)
    stats: Statistics = report.stats
    return {
        "calls": stats.calls / len(items),
        "tokens_decoded": stats.tokens_decoded / len(items),
        "bytes_out": len(pickle.dumps((given[0].task, items))) / len(items),
        "bytes_back": len(pickle.dumps(report)) / len(items),
    }


def measure(n_tasks: int, n_items: int, rounds: int) -> dict[str, Any]:
    """All of it."""
    config, given = config_from({"extends": "shipped", "model": {"n_threads": 1}}), rows(n_tasks, n_items)
    n_rows = n_tasks * n_items
    with ExitStack() as stack:
        started = time.perf_counter()
        ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        stack.callback(ray.shutdown)
        joined = time.perf_counter()
        one = stack.enter_context(opened(config, _CASCADE, n_actors=1))
        start_s = {"cluster": joined - started, "actor": time.perf_counter() - joined}
        two = stack.enter_context(opened(config, _CASCADE, n_actors=2))
        here = stack.enter_context(Engine.open(config, log=None))
        _run(two, given, two.concurrency)
        actors = _Actors()
        found: dict[str, list[tuple[float, float]]] = {"here": [], "one": [], "two": []}
        driver_s = []
        for _ in range(rounds):
            found["here"].append(_spent(lambda: _run(here, given, CONCURRENCY), time.process_time))
            found["one"].append(_spent(lambda: _run(one, given, one.concurrency), actors.cpu_s))
            before = time.process_time()
            found["two"].append(_spent(lambda: _run(two, given, two.concurrency), actors.cpu_s))
            driver_s.append(time.process_time() - before)
        peak = actors.peak_mib()
    wall = {name: [each[0] for each in some] for name, some in found.items()}
    return {
        "rows": n_rows,
        "rounds": rounds,
        "cores": len(os.sched_getaffinity(0)),
        "one_over_here": median(a / b for a, b in zip(wall["one"], wall["here"], strict=True)),
        "one_over_two": median(a / b for a, b in zip(wall["one"], wall["two"], strict=True)),
        "rows_per_s": {name: n_rows / median(some) for name, some in wall.items()},
        "cpu_ms_per_row": {name: 1_000 * median(each[1] for each in some) / n_rows for name, some in found.items()},
        "driver_cpu_ms_per_row": 1_000 * median(driver_s) / n_rows,
        "actor_peak_mib": peak,
        "start_s": start_s,
        "per_row": one_request(config, given[0]),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=count, default=20)
    parser.add_argument("--items", type=count, default=40)
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as folder:
        os.environ.setdefault("RAY_TMPDIR", folder)
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        found = measure(given.tasks, given.items, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for name, value in found.items():
        told = (
            ", ".join(f"{key} {each:.3g}" for key, each in value.items()) if isinstance(value, dict) else f"{value:.3g}"
        )
        sys.stdout.write(f"{name.replace('_', ' ')}: {told}\n")


if __name__ == "__main__":
    run_script(main)
