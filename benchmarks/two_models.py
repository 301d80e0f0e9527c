"""Two models in one process: what running their waves at once brings, and weighing one against the other.

    python -m benchmarks.two_models [--large MODEL.gguf --format F] [--seconds 1] [--rounds 5] [--items 100]

The small model is the shipped one. The large one is MODEL, or else one of about 29 million random weights that is
written into a temporary folder: speed does not depend on their values, and what each item is answered is laid down
here. All ratios are of one run, and what is compared takes turns.

- ``at once``: requests to the small and to the large model that take about as long each, ``--seconds``. In one engine,
  as it runs them and with waves in turn; and in an engine each, at the same time with half of the cores each or with
  all. All are over the requests one after the other with all cores.
- ``weighed``: a request of ``--items``, of which every other one goes on from the small to the large model, as it is
  at a quarter, a half and three quarters of the time that the whole takes. How many items are decided where the wave
  goes first that settles most in a millisecond, where the small model's always does, and where the large one's does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.make_model import Geometry, write_base
from benchmarks.script import count, run_script
from benchmarks.speed.forced import ForcedBackend
from cascade import Budget, Engine, Item, read_config
from cascade.backends import open_any
from cascade.backends.base import Backend
from cascade.config.schema import shipped_config
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.machine import n_cores, processor_name
from cascade.prompt import Node
from cascade.report import Status

GEOMETRY = Geometry(n_layers=8, n_embd=512, n_heads=8, n_kv_heads=4, head_size=64, n_ffn=1536, n_vocab=9_216)
NAMES = ("small", "large")
SHARES = (0.25, 0.5, 0.75)  # of the time that a whole request takes
TASK = "read the value of the option"
_SURE = 20.0  # log odds
_TRIED = 20  # items of the request that tells how long one takes

_HEAD = """
[models.{name}]
path = "{path}"
format = "{form}"
n_threads = {n_threads}
"""
_BOTH = """
[cascade.c]
labels = ["no", "yes"]
[[cascade.c.stages]]
name = "quick"
marker = "relevant"
question = "does it matter?"
adapter = "small/base"
yes = { stage = "sound" }
no = { label = "no" }
[[cascade.c.stages]]
name = "sound"
marker = "primary"
question = "must it be changed?"
adapter = "large/base"
yes = { label = "yes" }
no = { label = "no" }
"""
_ONE = """
[cascade.{name}]
labels = ["no", "yes"]
[[cascade.{name}.stages]]
name = "only"
marker = "relevant"
question = "does it matter?"
adapter = "{adapter}"
yes = {{ label = "yes" }}
no = {{ label = "no" }}
"""


@dataclass(frozen=True, slots=True)
class Models:
    """The files.

    Attributes:
        small: The small model.
        large: The large one.
        form: The large one's prompt format.
        folder: Where configs are written.
    """

    small: Path
    large: Path
    form: str
    folder: Path

    def head(self, name: str, n_threads: int) -> str:
        """A model's table in a config."""
        path, form = (self.small, "embedded") if name == "small" else (self.large, self.form)
        return _HEAD.format(name=name, path=path.resolve(), form=form, n_threads=n_threads)

    def alone(self, name: str, n_threads: int) -> Engine:
        """An engine of one model, with one question."""
        return Engine.open(self._written(self.head(name, n_threads) + _ONE.format(name=name, adapter="base")))

    def side_by_side(self, *, at_once: bool) -> Engine:
        """An engine of both, each with a cascade of its name and one question."""
        parts = [self.head(name, 0) + _ONE.format(name=name, adapter=f"{name}/base") for name in NAMES]
        config = read_config(self._written("".join(parts)))
        backends = open_any(config, config.cascades())
        return Engine(backends, config.cascades(), settings=EngineSettings(rules=Rules(at_once=at_once)))

    def both(self, first: str, *, weighs: bool) -> Engine:
        """An engine of both, whose answers are laid down; ``first`` is the model that plain order prefers."""
        config = read_config(self._written(self.head("small", 0) + self.head("large", 0) + _BOTH))
        opened = open_any(config, config.cascades())
        order = [first, *(name for name in opened if name != first)]
        backends: dict[str, Backend] = {name: _Forced(opened[name]) for name in order}
        rules = Rules(weighs_models=weighs, asks_ahead=False)
        return Engine(backends, config.cascades(), settings=EngineSettings(rules=rules))

    def _written(self, text: str) -> Path:
        path = self.folder / f"config{abs(hash(text))}.toml"
        path.write_text(text, encoding="utf-8")
        return path


class _Forced(ForcedBackend):
    """Computes everything; every other item goes on."""

    def _forced(self, question: Node, logit: float) -> float:  # noqa: ARG002 - as what it stands in for
        (number,) = {int(node.told.id) for node in question.path if isinstance(node.told, Item)}
        return _SURE if number % 2 else -_SURE


def items(n: int) -> list[Item]:
    """Items of about 40 tokens."""
    return [Item(id=str(at), kind="function", name=f"read_{at}", doc="value " * 20) for at in range(n)]


Call = tuple[Engine, str, int]
"""An engine, one of its cascades, and how many items it is asked about."""


def timed(*calls: Call, at_once: bool) -> float:
    """Seconds that requests take together."""
    started = time.perf_counter()
    with ThreadPoolExecutor(len(calls) if at_once else 1) as pool:
        for call in [pool.submit(engine.classify, TASK, items(n), name, budget=None) for engine, name, n in calls]:
            call.result()
    return time.perf_counter() - started


def at_once(models: Models, seconds: float, rounds: int) -> str:
    """Both models at the same time over one after the other."""
    with ExitStack() as stack:
        each = [stack.enter_context(models.alone(name, 0)) for name in NAMES]
        half = [stack.enter_context(models.alone(name, max(1, n_cores() // 2))) for name in NAMES]
        one, other = (stack.enter_context(models.side_by_side(at_once=at_once)) for at_once in (True, False))
        engines = {
            "one engine, waves at once": [one, one],
            "one engine, waves in turn": [other, other],
            "an engine each, half of the cores each": half,
            "an engine each, all cores each": each,
        }
        sizes = [_size((engine, name), seconds) for engine, name in zip(each, NAMES, strict=True)]
        calls = {name: list(zip(own, NAMES, sizes, strict=True)) for name, own in engines.items()}
        found: dict[str, list[float]] = {name: [] for name in ("in turn", *calls)}
        for number in range(rounds + 1):
            times = {"in turn": timed(*zip(each, NAMES, sizes, strict=True), at_once=False)}
            times |= {name: timed(*own, at_once=True) for name, own in calls.items()}
            for name, s in times.items() if number else ():  # the first warms up
                found[name].append(s)
    in_turn = found.pop("in turn")
    lines = [
        f"at once: {sizes[0]} items on the small model, {sizes[1]} on the large one; {median(in_turn):.2f} s in turn"
    ]
    for name, own in found.items():
        ratios = [one / other for one, other in zip(own, in_turn, strict=True)]
        lines.append(f"  {name}: {median(ratios):.3f} of that ({min(ratios):.3f} to {max(ratios):.3f})")
    return "\n".join(lines)


def _size(of: tuple[Engine, str], seconds: float) -> int:
    """How many items take an engine about so long."""
    timed((*of, _TRIED), at_once=False)
    return max(1, round(_TRIED * seconds / timed((*of, _TRIED), at_once=False)))


def weighed(models: Models, n_items: int, rounds: int) -> str:
    """Items that are decided within a deadline, by the order of waves."""
    orders = {"weighed": ("small", True), "small first": ("small", False), "large first": ("large", False)}
    with ExitStack() as stack:
        engines = {
            name: stack.enter_context(models.both(first, weighs=weighs)) for name, (first, weighs) in orders.items()
        }
        for engine in engines.values():  # each learns its prices
            timed((engine, "c", n_items), at_once=False)
        whole_ms = 1_000 * median(timed((engine, "c", n_items), at_once=False) for engine in engines.values())
        lines = [f"weighed: {n_items} items, every other one on both models, {whole_ms:.0f} ms without a deadline"]
        for share in SHARES:
            decided: dict[str, list[int]] = {name: [] for name in engines}
            for _ in range(rounds):
                for name, engine in engines.items():
                    decided[name].append(_decided(engine, n_items, share * whole_ms))
            lines.append(f"  {share * whole_ms:.0f} ms: " + _shown(decided))
    return "\n".join(lines)


def _decided(engine: Engine, n_items: int, ms: float) -> int:
    report = engine.classify(TASK, items(n_items), "c", budget=Budget(ms=ms))
    return sum(decision.status is Status.DECIDED for decision in report.decisions)


def _shown(decided: Mapping[str, Sequence[int]]) -> str:
    """Medians, and each over that of plain order with the small model first."""
    middle = {name: median(counts) for name, counts in decided.items()}
    plain = middle["small first"]
    ratios = {name: f", {n / plain:.2f}" if plain and name != "small first" else "" for name, n in middle.items()}
    return "; ".join(f"{name} {n:.0f} decided{ratios[name]}" for name, n in middle.items())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", type=Path, help="a decoder in GGUF form; random weights if absent")
    parser.add_argument("--format", default="embedded", help="its prompt format")
    parser.add_argument("--seconds", type=float, default=1.0, help="about what each of two requests takes")
    parser.add_argument("--rounds", type=count, default=5)
    parser.add_argument("--items", type=count, default=100, help="of the request with a deadline")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        large = given.large or Path(name) / "large.gguf"
        if given.large is None:
            write_base(large, "Q8_0", GEOMETRY)
        models = Models(shipped_config().parent / "embedded.gguf", large, given.format, Path(name))
        sizes = ", ".join(f"{path.name} {path.stat().st_size / 1e6:.1f} MB" for path in (models.small, models.large))
        sys.stdout.write(f"{processor_name()}, {n_cores()} cores; {sizes}; {given.rounds} rounds\n")
        sys.stdout.write(at_once(models, given.seconds, given.rounds) + "\n")
        sys.stdout.write(weighed(models, given.items, given.rounds) + "\n")
    return 0


if __name__ == "__main__":
    run_script(main)
