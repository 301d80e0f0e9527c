"""What a log costs, and what answers from it save.

    python -m benchmarks.log [--rounds 15] [--config FILE] [--json]

The requests are those of ``precision-100``: 100 symbols, with other words in each round, so that nothing is answered
from a log before. In each round they are made without a log, with one of hashes and with one of full texts, in turns,
so that all ratios are of one run; then twice with a log that is asked for answers.

- ``writer``: milliseconds of a processor that the log's thread takes for a request; a busy machine does not change it.
- ``cpu``: the whole process's processor time, what is written after the answer included, over that without a log.
- ``wall``: time until the answer, over that without a log. Goal: below 1.01.
- ``reuse``: the share of the second request's calls that the log answered, and its time over that of the first.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.script import count, run_script
from benchmarks.speed.workload import Call, workload
from cascade import DecisionLog, Engine, read_config, shipped_config
from cascade.prompt import PromptBuilder
from cascade.report import Statistics

_WORKLOAD = "precision-100"
_MODES = ("off", "hash", "full")


@dataclass(slots=True)
class Measured:
    """The requests of one way to log.

    Attributes:
        wall_s: Seconds until each answer.
        cpu_s: Seconds of all processors, until all is written.
        writer_s: Seconds of a processor that the log's thread took for each.
    """

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    writer_s: list[float] = field(default_factory=list)


class Bench:
    """Engines with a log of each kind.

    Args:
        config: A config file with the shipped cascades; None for the shipped one.
        folder: Where logs are written.
        stack: Closes what is opened.
    """

    def __init__(self, config: Path | None, folder: Path, stack: ExitStack) -> None:
        read = read_config(config or shipped_config())
        self.logs: dict[str, DecisionLog | None] = {"off": None}
        for name, texts, reuse in (("hash", "hash", False), ("full", "full", False), ("reuse", "hash", True)):
            log = DecisionLog(folder / f"{name}.sqlite3", texts=texts, reuse=reuse)
            self.logs[name] = stack.enter_context(log)
        self.engines = {name: stack.enter_context(Engine.open(read, log=log)) for name, log in self.logs.items()}
        (info,) = self.engines["off"].info.backends.values()
        self._prompts = PromptBuilder(info.form, info.tokenizer)

    def call(self, seed: int) -> Call:
        """The request of a round."""
        (call,) = workload(_WORKLOAD, self._prompts, self.engines["off"].cascades, seed).calls
        return call

    def ask(self, name: str, call: Call, found: Measured) -> Statistics:
        """Make a request and take its times."""
        log = self.logs[name]
        before, cpu, wall = _thread_s(log), time.process_time(), time.perf_counter()
        report = self.engines[name].classify(call.task, call.items, call.cascade, budget=None)
        found.wall_s.append(time.perf_counter() - wall)
        if log is not None:
            log.flush()
        found.cpu_s.append(time.process_time() - cpu)
        found.writer_s.append(_thread_s(log) - before)
        return report.stats


def _thread_s(log: DecisionLog | None) -> float:
    """Seconds of a processor that a log's thread has taken; 0 without a log."""
    return log.cpu_s if log is not None else 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description="What a log costs, and what answers from it save.")
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--config", type=Path, help="a config with the shipped cascades; the shipped one if absent")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    measured = {name: Measured() for name in (*_MODES, "first", "again")}
    rates: list[float] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(given.config, Path(folder), stack)
        for seed in range(given.rounds + 1):
            call = bench.call(seed)
            for name in _turned(_MODES, seed):
                bench.ask(name, call, measured[name])
            bench.ask("reuse", call, measured["first"])
            stats = bench.ask("reuse", call, measured["again"])
            rates.append(stats.calls_reused / stats.calls)
    figures = _figures(measured, rates)
    sys.stdout.write(json.dumps(figures, indent=2) + "\n" if given.json else _shown(figures))
    return 0


def _turned(names: Sequence[str], turn: int) -> Sequence[str]:
    """The names, with another first in each turn."""
    at = turn % len(names)
    return [*names[at:], *names[:at]]


def _figures(measured: dict[str, Measured], rates: Sequence[float]) -> dict[str, Any]:
    """Medians of the rounds, the first left out, which warms up."""
    off = measured["off"]

    def over(name: str, base: Measured, what: str) -> float:
        pairs = zip(getattr(measured[name], what)[1:], getattr(base, what)[1:], strict=True)
        return round(float(median(one / other for one, other in pairs)), 4)

    logged = {
        name: {
            "writer_ms": round(1_000 * median(measured[name].writer_s[1:]), 3),
            "writer_over_cpu": round(median(measured[name].writer_s[1:]) / median(off.cpu_s[1:]), 4),
            "cpu": over(name, off, "cpu_s"),
            "wall": over(name, off, "wall_s"),
        }
        for name in _MODES[1:]
    }
    reuse = {"hit_rate": round(median(rates[1:]), 4), "wall": over("again", measured["first"], "wall_s")}
    return {"rounds": len(rates) - 1, **logged, "reuse": reuse}


def _shown(figures: dict[str, Any]) -> str:
    lines = [
        f"{name}: writer {own['writer_ms']:.2f} ms of CPU a request, {own['writer_over_cpu']:.2%} of the request's; "
        f"cpu {own['cpu']:.3f}, wall {own['wall']:.3f} of that without a log"
        for name, own in figures.items()
        if name in _MODES
    ]
    reuse = figures["reuse"]
    lines.append(f"reuse: hit rate {reuse['hit_rate']:.3f}, wall {reuse['wall']:.3f} of that of the first request")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    run_script(main)
