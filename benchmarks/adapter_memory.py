"""How much memory and time adapters take: one process each with 1, 5, 10 and 25 loaded, all of them used.

    python -m benchmarks.adapter_memory CONFIG [--json]

CONFIG is a config file as ``benchmarks.make_model`` writes it; its first adapter is loaded again and
again under other names. What counts is the resident memory beyond the adapters' own bytes, over that
of the process with one, and the median time of a decode with all loaded over that of the same process with one: under
one adapter, and under another one each time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.script import run_script
from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import NativeModel
from cascade.backends.llama.open import context_size
from cascade.config.schema import read_config
from cascade.models.model_set import load_model_set

COUNTS = (1, 5, 10, 25)
_MIB = 2**20
_REPEATS = 60


def used(config: Path, n: int) -> dict[str, float]:
    """Resident bytes of this process after ``n`` adapters have each run a decode, and times over those of one."""
    settings = read_config(config)
    models = load_model_set(settings)
    adapter = next(iter(models.adapters.values()))
    native = NativeModel(models.model_path, context_size(settings.model))
    native.load_adapter("0", adapter.path, adapter.scale)
    alone = _decode_s(native, ["0"])
    for at in range(1, n):
        native.load_adapter(str(at), adapter.path, adapter.scale)
    names = [str(at) for at in range(n)]
    in_turns, same = _decode_s(native, names), _decode_s(native, ["0"])
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    native.close()
    return {"bytes": pages * os.sysconf("SC_PAGE_SIZE"), "same": same / alone, "in_turns": in_turns / alone}


def _decode_s(native: NativeModel, names: Sequence[str]) -> float:
    """Median seconds of a decode of 100 tokens, the adapters taking turns."""
    rows = Rows.of([Run(list(range(100)), 0, (0,), is_output=True)])
    found = []
    for at in range(max(_REPEATS, len(names))):
        started = time.perf_counter()
        native.activate(names[at % len(names)])
        native.decode(rows, (0, 1))
        found.append(time.perf_counter() - started)
        native.clear()
    return statistics.median(found)


def measure(config: Path) -> dict[str, Any]:
    """Resident MiB and relative times by number of adapters, and the excess of memory of the last over the first."""
    own = next(iter(load_model_set(read_config(config)).adapters.values())).info.n_bytes
    found, times = {}, {}
    for n in COUNTS:
        command = [sys.executable, "-m", "benchmarks.adapter_memory", str(config), "--count", str(n)]
        figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found[n] = figures.pop("bytes")
        times[str(n)] = figures
        if sys.stderr.isatty():
            sys.stderr.write(f"{n} adapters: {found[n] / _MIB:.0f} MiB\n")
    first, last = COUNTS[0], COUNTS[-1]
    excess = (found[last] - (last - first) * own) / found[first] - 1
    return {
        "resident_mib": {str(n): found[n] / _MIB for n in COUNTS},
        "adapter_mib": own / _MIB,
        "excess_over_one": excess,
        "time_over_one": times,
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.count:
        sys.stdout.write(json.dumps(used(options.config, options.count)))
        return
    figures = measure(options.config)
    if options.json:
        sys.stdout.write(json.dumps(figures, indent=2) + "\n")
        return
    for n, mib in figures["resident_mib"].items():
        times = figures["time_over_one"][n]
        shown = f"{mib:8.0f} MiB, time of a decode {times['same']:.2f}, another each time {times['in_turns']:.2f}"
        sys.stdout.write(f"{n:>3} adapters {shown}\n")
    sys.stdout.write(f"an adapter's own bytes {figures['adapter_mib']:.1f} MiB\n")
    sys.stdout.write(f"{COUNTS[-1]} over one, beyond those: {figures['excess_over_one']:.1%}\n")


if __name__ == "__main__":
    run_script(main)
