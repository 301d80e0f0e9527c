"""Requests with budgets on a server that fails in every way it can: who is late, what is left without a label.

    python -m benchmarks.server_faults [--requests N] [--share P] [--json]

A loopback server in a process of its own answers as llama-server does, from a function, and drops, stalls, errs,
is busy, cuts off and talks nonsense in a share of its answers. Callers in several threads send requests with random
budgets. Prints how many items have exactly one label, how many budgets were kept, and whether the limits were kept
as the server saw it.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection

from benchmarks.script import count, fraction, run_script
from benchmarks.wire_server import PASSING, Fault, Script, ScriptedServer
from cascade import Config, Engine, Item, Report, Status

RATE, IN_FLIGHT = 400, 16
N_CALLERS = 8
N_ITEMS = 8
GRACE_MS = 20.0
BUDGETS_MS = (50.0, 2_000.0)


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller got.

    Attributes:
        budget_ms: What it allowed.
        took_ms: What it took, by the caller's clock.
        report: The answer.
    """

    budget_ms: float
    took_ms: float
    report: Report


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server saw.

    Attributes:
        arrivals: When each request came, in seconds.
        most_in_flight: Most that it worked on at once.
        faults: How often each fault was injected.
    """

    arrivals: list[float]
    most_in_flight: int
    faults: Counter[Fault]


def config(url: str) -> Config:
    """A cascade of two questions on the server."""
    stage = {"question": "does it matter?", "threshold": 0.5}
    stages = [
        {"name": "first", "adapter": "one", "yes": {"stage": "second"}, "no": {"label": "dropped"}, **stage},
        {"name": "second", "adapter": "two", "yes": {"label": "changed"}, "no": {"label": "read"}, **stage},
    ]
    server = {"kind": "llama-server", "url": url, "starts_per_second": RATE, "in_flight": IN_FLIGHT, "timeout_s": 0.3}
    return Config.model_validate(
        {
            "servers": {"far": server},
            "model": {"format": "embedded"},
            "adapters": {name: {"server": "far", "name": name} for name in ("one", "two")},
            "cascade": {"files": {"labels": ["dropped", "read", "changed"], "stages": stages}},
        }
    )


def measure(n_requests: int, share: float) -> dict[str, object]:
    """Send the requests; returns the figures."""
    rng = random.Random(7)
    budgets = [rng.uniform(*BUDGETS_MS) for _ in range(n_requests)]
    here, there = multiprocessing.get_context("spawn").Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there, share), daemon=True)
    server.start()
    with Engine.open(config(here.recv())) as engine, ThreadPoolExecutor(N_CALLERS) as pool:
        gc.collect()
        gc.freeze()  # a full collection stops all threads for longer than a budget may be overrun
        told = list(pool.map(lambda ms: _ask(engine, ms), budgets))
    here.send("stop")
    seen: Seen = here.recv()
    server.join()
    return _figures(told, seen)


def serve(connection: Connection, share: float) -> None:
    """Run the server in this process until told to stop; sends its address, and at last what it saw."""
    rng = random.Random(8)
    script = Script(adapters=("one", "two"), stall_s=0.6, retry_after=lambda: "0.05", pause_s=0.002)
    script.p = lambda _, prompt: 0.9 if zlib.crc32(prompt.encode()) % 2 else 0.1
    plan = [rng.choice(PASSING) if rng.random() < share else Fault.NONE for _ in range(100_000)]
    script.fault = lambda number: plan[number % len(plan)]
    with ScriptedServer(script) as server:
        connection.send(server.url)
        connection.recv()
        connection.send(Seen(server.arrivals, server.most_in_flight, server.faults))


def _ask(engine: Engine, budget_ms: float) -> Told:
    items = [Item(id=str(at), kind="file", name=f"file_{at}_{budget_ms:.6f}.py") for at in range(N_ITEMS)]
    began = time.perf_counter()
    report = engine.classify("fix it", items, "files", budget=budget_ms)
    return Told(budget_ms, 1_000 * (time.perf_counter() - began), report)


def _figures(told: Sequence[Told], seen: Seen) -> dict[str, object]:
    decisions = [decision for entry in told for decision in entry.report.decisions]
    once = sum(
        [decision.id for decision in entry.report.decisions] == [str(at) for at in range(N_ITEMS)]
        and all(decision.label for decision in entry.report.decisions)
        for entry in told
    )
    over = [entry.took_ms - entry.budget_ms for entry in told]
    by_engine = [entry.report.stats.elapsed_ms - entry.budget_ms for entry in told]
    return {
        "requests": len(told),
        "labelled_exactly_once": once / len(told),
        "budgets_kept": sum(ms <= GRACE_MS for ms in over) / len(told),
        "most_over_ms": round(max(over), 1),
        "kept_by_the_engines_clock": sum(ms <= GRACE_MS for ms in by_engine) / len(told),
        "most_over_by_that_ms": round(max(by_engine), 1),
        "decided": sum(decision.status is Status.DECIDED for decision in decisions) / len(decisions),
        "with_a_cause": sum(bool(decision.cause) for decision in decisions) / len(decisions),
        "asked": len(seen.arrivals),
        "faults": {str(fault): n for fault, n in seen.faults.items() if fault is not Fault.NONE},
        "most_in_flight": [seen.most_in_flight, IN_FLIGHT],
        "most_in_a_second": [_most_in_a_second(seen.arrivals), RATE],
    }


def _most_in_a_second(arrivals: Sequence[float]) -> int:
    most, first = 0, 0
    for last, when in enumerate(arrivals):
        while when - arrivals[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=count, default=1_000)
    parser.add_argument("--share", type=fraction, default=0.2, help="of answers that fail; 0.2 if absent")
    parser.add_argument("--json", action="store_true", help="on one line")
    options = parser.parse_args(arguments)
    found = measure(options.requests, options.share)
    sys.stdout.write(json.dumps(found, indent=None if options.json else 2) + "\n")
    return 0


if __name__ == "__main__":
    run_script(main)
