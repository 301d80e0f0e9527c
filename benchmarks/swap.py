"""What a change of adapters costs the requests that run, and what a shadow costs those that come.

    python -m benchmarks.swap [--items N] [--rounds N] [--json]

All ratios are of the same run, rounds of both kinds taking turns, with the shipped model and its questions alone. In a
round with a swap, one adapter of three gets another file and back while requests run one after the other. In a round
with a shadow, each request is followed by a pause; what is timed is the live requests, which may find a batch of the
shadow at work, for the pause is shorter than that takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.script import count, run_script
from benchmarks.shipped import SHIPPED, questions_alone
from cascade.config.schema import AdapterConfig, Config
from cascade.engine.engine import Engine
from cascade.items import Group, Item
from cascade.log.decision_log import DecisionLog

_ADAPTER, _SCALE = "relevant", 0.99  # another scale is another version, which is loaded anew
_PAUSES = (0.0, 0.25, 0.5, 1.0)  # of the time of a request; the shadow is at work in all of them but the first


def items(n: int) -> list[Item]:
    """Symbols without evidence, 25 to a file."""
    groups = [Group(name=f"src/file_{at}.py") for at in range(-(-n // 25))]
    return [
        Item(id=str(at), kind="function", name=f"parse_{at}", signature="(text: str) -> Tree", group=groups[at // 25])
        for at in range(n)
    ]


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def swaps(engine: Engine, asked: Sequence[Item], rounds: int) -> dict[str, float]:
    """Times of requests over those of requests beside them in which nothing changes."""
    within, after, taken, plain = [], [], [], []

    def ask() -> float:
        return _timed(lambda: engine.classify("fix the parser", asked, budget=None))

    def swap(scale: float) -> None:
        taken.append(_timed(lambda: engine.swap_adapter(_ADAPTER, SHIPPED.files[_ADAPTER].path, scale=scale)))

    ask()
    for at in range(rounds):
        still = ask()
        plain.append(still)
        changing = threading.Thread(target=swap, args=(_SCALE if at % 2 == 0 else 1.0,))
        changing.start()
        within.append(ask() / still)
        changing.join()
        after.append(ask() / still)
    return {
        "request_with_swap": median(within),
        "slowest_request_with_swap": max(within),
        "request_after_swap": median(after),
        "swap": median(taken) / median(plain),
    }


def shadow(config: Config, log: DecisionLog, asked: Sequence[Item], rounds: int) -> dict[str, float]:
    """Times of live requests with a shadow over those without, and what the shadow answers meanwhile."""
    with_shadow = config.model_copy(
        update={"shadow": {_ADAPTER: AdapterConfig(path=SHIPPED.files[_ADAPTER].path, scale=_SCALE)}}
    )
    ratios: list[float] = []
    slowest = 0.0
    with Engine.open(config, log=log) as engine:
        ask = _asking(engine, asked)
        ask()
        for at in range(rounds):
            pause = _PAUSES[at % len(_PAUSES)] * ask()
            found = {}
            for settings in (config, with_shadow) if at % 2 else (with_shadow, config):
                engine.adopt(settings)
                ask()
                time.sleep(pause)
                found[bool(settings.shadow)] = ask()
            ratios.append(found[True] / found[False])
            slowest = max(slowest, ratios[-1])
        alone = ask()
        engine.adopt(with_shadow)
        before = engine.shadow.answers
        ask()
        spent = _timed(lambda: _wait(lambda: engine.shadow.answers > before))
        return {
            "live_request": median(ratios),
            "slowest_live_request": slowest,
            "shadow_of_a_request": spent / alone,
        }


def _asking(engine: Engine, asked: Sequence[Item]) -> Callable[[], float]:
    return lambda: _timed(lambda: engine.classify("fix the parser", asked, budget=None))


def _wait(is_so: Callable[[], bool], patience_s: float = 60.0) -> None:
    ends = time.perf_counter() + patience_s
    while not is_so() and time.perf_counter() < ends:
        time.sleep(0.0005)


def measure(n: int, rounds: int) -> dict[str, Any]:
    """All ratios."""
    config, asked = questions_alone(), items(n)
    with tempfile.TemporaryDirectory() as folder, DecisionLog(Path(folder) / "log.sqlite3") as log:
        with Engine.open(config, log=None) as engine:
            changed = swaps(engine, asked, rounds)
        return {"items": n, "rounds": rounds, "swap": changed, "shadow": shadow(config, log, asked, rounds)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=count, default=186)
    parser.add_argument("--rounds", type=count, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    found = measure(given.items, given.rounds)
    if given.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    lines = [f"{found['items']} items, {found['rounds']} rounds of each kind; times over those of a request without"]
    for name in ("swap", "shadow"):
        lines += [f"{name}: {what.replace('_', ' ')} {ratio:.3f}" for what, ratio in found[name].items()]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    run_script(main)
