"""What it costs that a second stage reads the texts of the items that pass the first.

    python -m benchmarks.texts FOLDER/activated.toml [--rounds 7] [--items 100] [--survivors 12] [--tokens 200]

The config is one of those that ``benchmarks.make_model`` writes. In each round the same requests are made with a
cascade of two stages that reads no text, with one whose second stage reads texts, and with items whose own lines are
longer by as many tokens; so all ratios are of one run. Times are of the whole process's processors, which a busy
machine disturbs least; of the wall as well.

- ``first stage``: items with texts, and a second stage that would read them, against the same without; goal: 1.
- ``texts``: what the reading stage adds to a whole request, over what the same tokens cost in the lines of as many
  items that are asked once; goal: at most 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.script import count, run_script
from benchmarks.speed.forced import ForcedBackend
from cascade import Budget, Engine, Item, Task, read_config
from cascade.backends.llama.open import open_backend
from cascade.prompt import Limits, Node
from cascade.report import Statistics
from cascade.stages import ANY_TIER, Target
from cascade.tree import Cascade

_WIDE = Limits(task=256, item=1_024)
_SURE = 20.0  # log odds
_WORD = " value"


class _Forced(ForcedBackend):
    """Computes everything; the items with the lowest numbers pass every stage, and no others any."""

    n_survivors = 0

    def _forced(self, question: Node, logit: float) -> float:  # noqa: ARG002 - as what it stands in for
        (number,) = {int(node.told.id) for node in question.path if isinstance(node.told, Item)}
        return _SURE if number < self.n_survivors else -_SURE


@dataclass(frozen=True, slots=True)
class Run:
    """One request.

    Attributes:
        stats: What the engine counted.
        cpu_s: Seconds of all processors.
        wall_s: Seconds until the answer.
    """

    stats: Statistics
    cpu_s: float
    wall_s: float


def cascades(path: Path, n_tokens: int) -> dict[str, Cascade]:
    """The first two shipped questions: ``plain``, with a second that ``reads``, and the first ``alone``."""
    shipped = read_config(path).cascades()["precision"].without_prior_stage()
    first, second = shipped.stages[:2]
    kept, out = Target("primary", is_label=True), Target("excluded", is_label=True)
    labels = ("excluded", "primary")
    stages = (
        replace(first, yes=Target(second.name, is_label=False), no=out),
        replace(second, yes=kept, no=out),
    )
    reading = replace(second.question(ANY_TIER), max_text_tokens=n_tokens)
    plain = replace(shipped, name="plain", labels=labels, dropped="excluded", stages=stages)
    return {
        "plain": plain,
        "reads": replace(plain, name="reads", stages=(stages[0], replace(stages[1], questions={ANY_TIER: reading}))),
        "alone": replace(plain, name="alone", stages=(replace(first, yes=kept, no=out),)),
    }


def made(n_items: int, n_tokens: int) -> tuple[list[Item], list[Item], list[Item]]:
    """Items as they are, with a text of more than so many tokens, and with a line that is longer by so many."""
    bare = [Item(id=str(at), kind="function", name=f"read_{at}", doc=_WORD * 20) for at in range(n_items)]
    texts = [replace(item, text=_WORD * 2 * n_tokens) for item in bare]
    return bare, texts, [replace(item, doc=item.doc + _WORD * n_tokens) for item in bare]


def asked(engine: Engine, name: str, items: Sequence[Item], depth: int | None = None) -> Run:
    """One request, timed."""
    cpu, wall = time.process_time(), time.perf_counter()
    report = engine.classify(Task(text="read the value of the option"), items, name, budget=Budget(depth=depth))
    return Run(report.stats, time.process_time() - cpu, time.perf_counter() - wall)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description="What the texts of survivors cost.")
    parser.add_argument("config", type=Path, help="a config that benchmarks.make_model wrote")
    parser.add_argument("--rounds", type=count, default=7)
    parser.add_argument("--items", type=count, default=100)
    parser.add_argument("--survivors", type=count, default=12)
    parser.add_argument("--tokens", type=count, default=200, help="of each text that the second stage reads")
    given = parser.parse_args(arguments)
    config = read_config(given.config)
    trees = cascades(given.config, given.tokens)
    backend = _Forced(open_backend(config, trees))
    backend.n_survivors = given.survivors
    bare, texts, long = made(given.items, given.tokens)
    rounds: list[dict[str, Run]] = []
    with Engine(backend, trees, _WIDE) as engine:
        for _ in range(given.rounds + 1):
            runs = {
                "first without": asked(engine, "plain", bare, depth=1),
                "first with": asked(engine, "reads", texts, depth=1),
                "plain": asked(engine, "plain", texts),
                "reads": asked(engine, "reads", texts),
                "short lines": asked(engine, "alone", bare[: given.survivors]),
                "long lines": asked(engine, "alone", long[: given.survivors]),
            }
            rounds.append(runs)
    sys.stdout.write(shown(rounds[1:], given.survivors, given.tokens))  # the first warms up
    return 0


def shown(rounds: Sequence[Mapping[str, Run]], n_survivors: int, n_tokens: int) -> str:
    """Tokens and ratios, in lines."""
    tokens = {name: run.stats.tokens_decoded for name, run in rounds[0].items()}
    more, lines = tokens["reads"] - tokens["plain"], tokens["long lines"] - tokens["short lines"]
    first = tokens["first with"] - tokens["first without"]
    found = f"tokens: {first} more in the first stage; {more} for {n_survivors} texts of {n_tokens}; {lines} in lines\n"
    for what in ("cpu_s", "wall_s"):
        times = [{name: getattr(run, what) for name, run in runs.items()} for runs in rounds]
        same = median(one["first with"] / one["first without"] for one in times)
        added = median(one["reads"] - one["plain"] for one in times)
        price = median(one["long lines"] - one["short lines"] for one in times) * more / lines
        found += f"{what}: first stage {same:.3f}; texts {added / price:.3f}, {added:.3f} of {price:.3f} s\n"
    return found


if __name__ == "__main__":
    run_script(main)
