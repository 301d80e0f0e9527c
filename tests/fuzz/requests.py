"""A million scripted requests and ten thousand real ones, at random: every answer is held against a cold run.

    python -m tests.fuzz.requests [--scripted 1000000] [--real 10000] [--seed 0] [--first 0] [--json]

Requests ask random cascades of plain and activated adapters, adapters on servers and the base model, over a few tasks
and items, so that prompts share beginnings. They have budgets, caps and callers who leave, share caches with room for
hardly one of them, and meet backends that fail, answer NaN or too little, are slow or are stopped. Scripted ones run in
virtual time and come out the same each time; real ones run on llama.cpp with the shipped model.

Every score must be that of an empty cache, every label must follow from its scores, every request must end, with an
answer or an error that says what to do, and nothing may be left. Prints counts; exits with 1 if anything was wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from itertools import count

from tests.fuzz import request_real
from tests.fuzz.request_calls import Tally
from tests.fuzz.request_scripted import Episode

EPISODE = 250
"""Scripted requests of one engine."""

ENGINE = 100
"""Real requests of one engine."""

YARD = 20
"""Engines that are asked of one real world."""

PATIENCE_S = 120.0
"""Seconds after which an episode, or a real request, counts as hung."""

_SEEDS = 1_000_000  # episodes that a seed has before it meets the next one's
_TELL_S = 10.0


class Progress:
    """Says on stderr how far it is, now and then."""

    def __init__(self, name: str, n: int) -> None:
        self._name, self._n, self._done = name, n, 0
        self._began = self._told = time.monotonic()

    def add(self, n: int, tally: Tally) -> None:
        """So many more are done."""
        self._done += n
        now = time.monotonic()
        if now - self._told > _TELL_S or self._done >= self._n:
            self._told = now
            each_ms = 1_000 * (now - self._began) / self._done
            counts = ", ".join(f"{count} {end}" for end, count in tally.ends.most_common())
            sys.stderr.write(f"{self._name}: {self._done} of {self._n}, {each_ms:.2f} ms each; {counts}\n")


def scripted(n: int, seed: int = 0, first: int = 0) -> Tally:
    """Scripted requests, from an episode on; stops where one hangs."""
    tally, progress = Tally(), Progress("scripted", n)
    for number in count(first):
        left = n - EPISODE * (number - first)
        if left <= 0:
            return tally
        one = Episode(seed * _SEEDS + number, EPISODE).run(PATIENCE_S)
        again = f"--seed {seed} --first {number} --scripted {EPISODE} --real 0"
        _add(tally, one, again)
        progress.add(min(left, EPISODE), tally)
        if any("has not ended" in problem for problem in one.failures):
            return tally
    return tally


def real(n: int, seed: int = 0, first: int = 0) -> Tally:
    """Real requests, from an engine on."""
    tally, progress = Tally(), Progress("real", n)
    numbers = range(first, first - (-n // ENGINE))
    for world in dict.fromkeys(number // YARD for number in numbers):
        with request_real.opened_yard(seed * _SEEDS + world) as yard:
            for number in (number for number in numbers if number // YARD == world):
                size = min(ENGINE, n - ENGINE * (number - first))
                one = request_real.run(yard, seed * _SEEDS + number, size, PATIENCE_S)
                _add(tally, one, f"--seed {seed} --first {number} --scripted 0 --real {ENGINE}")
                progress.add(size, tally)
    return tally


def _add(tally: Tally, one: Tally, again: str) -> None:
    """Count a tally in, each of its failures with how to see it again."""
    one.failures = [f"{problem}\n    again: python -m tests.fuzz.requests {again}" for problem in one.failures]
    for problem in one.failures:
        sys.stderr.write(f"WRONG: {problem}\n")
    tally.add(one)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scripted", type=int, default=1_000_000, help="scripted requests")
    parser.add_argument("--real", type=int, default=10_000, help="requests of the shipped model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the episode or engine to begin with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    found = {
        "scripted": scripted(options.scripted, options.seed, options.first),
        "real": real(options.real, options.seed, options.first),
    }
    if options.json:
        sys.stdout.write(json.dumps({name: tally.as_dict() for name, tally in found.items()}, indent=2) + "\n")
    else:
        for name, tally in found.items():
            ends = ", ".join(f"{count} {end}" for end, count in tally.ends.most_common()) or "none"
            sys.stdout.write(f"{name}: {'WRONG' if tally.failures else 'right'}\n  requests: {ends}\n")
            sys.stdout.write(f"  checked: {tally.items} decisions, {tally.steps} scores\n")
            sys.stdout.writelines(f"  {problem}\n" for problem in tally.failures)
    return 1 if any(tally.failures for tally in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
