"""Thousands of requests on one engine, many at once, some given up: nothing may be left over.

    python -m benchmarks.soak [--scripted 100000] [--real 2000] [--seed 0] [--json]

Scripted requests put the loop and the planner to the test, real ones llama.cpp with the shipped
model in a context so small that everything is chunked. Prints what is left in the cache (cells,
nodes and sequences, as the library and as llama.cpp count them), how far the peak of cells stayed
within the context, and how open files, threads and memory grew after the first tenth. Exits with 1
if anything leaked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.script import run_script
from benchmarks.shipped import questions_alone
from cascade import Engine, Item, Task
from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.open import open_backend
from cascade.backends.scripted import ScriptedBackend
from tests.helpers.requests import files, symbols

AT_ONCE = 8
CANCELLED = 0.05  # share of requests that their callers give up
PAGE_KIB = 4
_PATIENCE = 500
GROWTH_MIB = 32.0  # allowed: allocators and caches of tokens settle late
Prepared = tuple[str, Task, list[Item]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What is left after all requests.

    Attributes:
        requests: How many were made.
        cancelled: How many of them were given up.
        kept_nodes: Nodes that the planner believes to be kept.
        cells: Cells that the backend still fills; 0 for a scripted one.
        sequences: Sequences that llama.cpp still holds.
        peak_over_context: Most cells ever used over the context's.
        files: Open file handles more than after the first tenth.
        threads: Threads more than after the first tenth.
        memory_mib: Resident memory more than after the first tenth.
    """

    requests: int
    cancelled: int
    kept_nodes: int
    cells: int
    sequences: int
    peak_over_context: float
    files: int
    threads: int
    memory_mib: float

    @property
    def is_clean(self) -> bool:
        """Whether nothing leaked."""
        left = (self.kept_nodes, self.cells, self.sequences, max(0, self.files), max(0, self.threads))
        return not any(left) and self.peak_over_context <= 1 and self.memory_mib <= GROWTH_MIB


def scripted(n: int, seed: int = 0) -> Left:
    """``n`` requests on a scripted backend with little room."""
    config = questions_alone()
    cascades = config.cascades()
    adapters = frozenset(name for cascade in cascades.values() for name in cascade.adapters())
    rng = random.Random(seed)
    backend = ScriptedBackend(_answer, adapters, max_prompt=4_000, max_nodes=24, records=False)
    with Engine(backend, cascades) as engine:
        return _soak(engine, n, rng, None)


def real(n: int, seed: int = 0) -> Left:
    """``n`` requests on the shipped model in a small context."""
    config = questions_alone()
    small = config.model.model_copy(update={"n_ctx": 1_024, "n_seq_max": 16, "n_batch": 256, "n_threads": 1})
    config = config.model_copy(update={"model": small})
    backend = open_backend(config, config.cascades())
    with Engine(backend, config.cascades(), small.limits.limits()) as engine:
        return _soak(engine, n, random.Random(seed), backend)


def _answer(adapter: str, prompt: str) -> float:
    return (zlib.crc32(f"{adapter} {prompt}".encode()) % 97 + 1) / 99


def _soak(engine: Engine, n: int, rng: random.Random, backend: LlamaBackend | None) -> Left:
    prepared = [_request(rng, number) for number in range(200)]
    early, n_cancelled = (0, 0, 0.0), 0
    for at in range(0, n, AT_ONCE):
        n_cancelled += asyncio.run(_batch(engine, [rng.choice(prepared) for _ in range(min(AT_ONCE, n - at))], rng))
        if at <= n // 10:
            early = _process()
        if sys.stderr.isatty() and at % 1_000 < AT_ONCE:
            sys.stderr.write(f"\r{at}/{n}")
    for _ in range(_PATIENCE):  # requests given up at last are let go in the loop's own time
        if engine.n_cached:
            time.sleep(0.01)
    usage = backend.usage() if backend else None
    late = _process()
    return Left(
        requests=n,
        cancelled=n_cancelled,
        kept_nodes=engine.n_cached,
        cells=usage.cells if usage else 0,
        sequences=usage.sequences if usage else 0,
        peak_over_context=usage.peak_cells / engine.info.main.max_tokens if usage else 0.0,
        files=late[0] - early[0],
        threads=late[1] - early[1],
        memory_mib=late[2] - early[2],
    )


async def _batch(engine: Engine, requests: Sequence[Prepared], rng: random.Random) -> int:
    """Makes requests at once, gives some up; returns how many."""
    calls = [asyncio.create_task(engine.aclassify(task, items, name)) for name, task, items in requests]
    dropped = [call for call in calls if rng.random() < CANCELLED]
    await asyncio.sleep(0)
    for call in dropped:
        call.cancel()
    found = await asyncio.gather(*calls, return_exceptions=True)
    for call, result in zip(calls, found, strict=True):
        if isinstance(result, BaseException) and call not in dropped:
            raise result
    return len(dropped)


def _request(rng: random.Random, seed: int) -> Prepared:
    name, n = rng.choice(("precision", "scope")), rng.randint(1, 8)
    return (name, *(symbols(seed, n) if name == "precision" else files(seed, n)))


def _process() -> tuple[int, int, float]:
    """(open files, threads, resident MiB) of this process; zeros where the system does not tell."""
    handles, memory = Path("/proc/self/fd"), Path("/proc/self/statm")
    if not memory.exists():
        return 0, threading.active_count(), 0.0
    resident = int(memory.read_text(encoding="ascii").split()[1])
    return len(list(handles.iterdir())), threading.active_count(), resident * PAGE_KIB / 1_024


def main() -> int:
    """Print what is left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripted", type=int, default=100_000)
    parser.add_argument("--real", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    left = {"scripted": scripted(options.scripted, options.seed), "real": real(options.real, options.seed)}
    if options.json:
        sys.stdout.write(json.dumps({name: asdict(entry) for name, entry in left.items()}, indent=2) + "\n")
    else:
        for name, entry in left.items():
            sys.stdout.write(f"{name}: {'clean' if entry.is_clean else 'LEAKED'}\n")
            sys.stdout.writelines(f"  {key}: {value}\n" for key, value in asdict(entry).items())
    return 0 if all(entry.is_clean for entry in left.values()) else 1


if __name__ == "__main__":
    run_script(main)
