"""Fuzzing of everything that is read: ``python -m tests.fuzz.inputs [TARGET]... [--inputs N] [--seed S]``.

Inputs are sound ones, damaged field by field by Hypothesis. Each runs in a process that is watched. One that ends that
process, is not answered in time, or ends in anything but an answer or an error with a remedy, is kept with the command
that replays it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase

from tests.fuzz.target import Files, Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.verdict import Outcome, Verdict, judged
from tests.fuzz.worker import Worker, write_files

_MOST_KEPT = 50  # of one target; one fault often shows many times
_BATCH = 500  # inputs that Hypothesis makes in one go, so that what it remembers stays small


@dataclass(slots=True)
class Tally:
    """What became of the inputs of one target.

    Attributes:
        counts: Verdict -> inputs.
        kept: Folders of the first of those that must not happen.
        seconds: What it took.
    """

    counts: Counter[Verdict] = field(default_factory=Counter)
    kept: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def n_bad(self) -> int:
        """Inputs that did what must not happen."""
        return sum(n for verdict, n in self.counts.items() if verdict.is_bad)


def fuzz(target: Target, worker: Worker, n: int, seed: int, keep: Path) -> Tally:
    """Judge so many inputs of a target.

    Args:
        target: The target.
        worker: What uses them.
        n: How many.
        seed: Decides which.
        keep: Folder for those that must not happen.
    """
    tally, started = Tally(), time.perf_counter()

    def take(files: Files) -> None:
        outcome = worker.judge(target.take, files)
        tally.counts[outcome.verdict] += 1
        if outcome.verdict.is_bad and len(tally.kept) < _MOST_KEPT:
            tally.kept.append(_kept(keep, target.name, files, outcome))

    batch = 0
    while (left := n - tally.counts.total()) > 0:
        _feed(target, min(left, _BATCH), seed + 1_000_003 * batch, take)
        batch += 1
    tally.seconds = time.perf_counter() - started
    return tally


def _feed(target: Target, n: int, seed: int, take: Callable[[Files], None]) -> None:
    """Let Hypothesis make inputs."""

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=n, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(target.files)
    def each(files: Files) -> None:
        take(files)

    each()


def _kept(keep: Path, name: str, files: Files, outcome: Outcome) -> Path:
    """Write an input with what became of it and how to see it again."""
    number = sum(path.is_dir() for path in keep.glob(f"{name}-*"))
    folder = keep / f"{name}-{number}"
    write_files(folder, files)
    command = f"python -m tests.fuzz.inputs --replay {folder}"
    (keep / f"{folder.name}.txt").write_text(f"{command}\n\n{outcome.verdict}: {outcome.note}\n", "utf-8")
    return folder


def replay(folder: Path) -> Outcome:
    """Judge an input that was kept, in this process."""
    return judged(TARGETS[folder.name.rpartition("-")[0]].take, folder)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print a table, and return 1 if anything happened that must not."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.inputs", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all if absent")
    parser.add_argument("--inputs", type=int, default=100_000, help="how many in all")
    parser.add_argument("--seed", type=int, default=0, help="decides which")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--keep", type=Path, help="folder for inputs that fail; a temporary one if absent")
    parser.add_argument("--replay", type=Path, help="judge an input that was kept, in this process")
    given = parser.parse_args(arguments)
    if given.replay:
        outcome = replay(given.replay.resolve())
        sys.stdout.write(f"{outcome.verdict}: {outcome.note}\n")
        return int(outcome.verdict.is_bad)
    if unknown := set(given.targets) - TARGETS.keys():
        parser.error(f"unknown target {min(unknown)}; there are {', '.join(TARGETS)}")
    chosen = [target for name, target in TARGETS.items() if not given.targets or name in given.targets]
    keep = given.keep or Path(tempfile.mkdtemp(prefix="fuzz-kept-"))
    keep.mkdir(parents=True, exist_ok=True)
    tallies = {}
    shares = sum(target.share for target in chosen)
    with Worker() as worker:
        for target in chosen:
            n = math.ceil(given.inputs * target.share / shares)
            sys.stderr.write(f"{target.name}: {n} inputs")
            sys.stderr.flush()
            tallies[target.name] = tally = fuzz(target, worker, n, given.seed, keep)
            sys.stderr.write(f" in {tally.seconds:.0f} s, {tally.n_bad} bad\n")
            sys.stderr.writelines(f"  kept: {folder}\n" for folder in tally.kept)
    sys.stdout.write(shown(tallies, is_json=given.json) + "\n")
    return int(any(tally.n_bad for tally in tallies.values()))


def shown(tallies: Mapping[str, Tally], *, is_json: bool = False) -> str:
    """What became of the inputs of each target, and of all, as a table or as JSON."""
    rows = {
        name: {"inputs": tally.counts.total()}
        | {str(verdict): tally.counts[verdict] for verdict in Verdict}
        | {"seconds": round(tally.seconds, 1)}
        for name, tally in tallies.items()
    }
    rows["all"] = {head: round(sum(row[head] for row in rows.values()), 1) for head in next(iter(rows.values()))}
    if is_json:
        return json.dumps(rows, indent=2)
    lines = ["".join(f"{head:>14}" for head in ("target", *rows["all"]))]
    lines += [f"{name:>14}" + "".join(f"{number:>14}" for number in row.values()) for name, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
