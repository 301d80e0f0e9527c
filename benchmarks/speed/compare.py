"""A workload and its baselines in one run, in turns, so that all meet the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.speed.baselines import Baseline, BaselineChoice, BaselineError, BaselineSetup
from benchmarks.speed.limits import best_product
from benchmarks.speed.llama_baselines import LlamaBaseline, SingleCallBaseline
from benchmarks.speed.measure import Bench, Round
from benchmarks.speed.server_baseline import ServerBaseline
from benchmarks.speed.summary import summary
from benchmarks.speed.torch_baseline import TorchBaseline
from cascade.config.schema import Config
from cascade.errors import CascadeError
from cascade.machine import peak_memory_mib

SERVER_SETTINGS = ((1, False), (4, False), (8, False), (1, True), (4, True))
"""(slots, whether by item) of the servers that are asked; the best of them counts."""


@dataclass(slots=True)
class _Entrant:
    """A baseline in one setting, with what its rounds took and those over ours."""

    family: str
    baseline: Baseline
    wall_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians of its rounds."""
        return {"ratio": float(np.median(self.ratios)), "wall_ms": 1_000 * float(np.median(self.wall_s))}


@dataclass(slots=True)
class _Field:
    """All baselines of a comparison; those that cannot run are set aside with the reason."""

    entrants: list[_Entrant] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def admit(self, setup: BaselineSetup, choice: BaselineChoice, stack: ExitStack) -> None:
        """Load every baseline; ``stack`` closes them."""
        for family in choice.names:
            with ExitStack() as own:
                try:
                    found = [own.enter_context(closing(make())) for make in _makers(family, setup, choice)]
                except CascadeError as error:
                    self.skipped[family] = str(error)
                    continue
                stack.enter_context(own.pop_all())
            self.entrants += [_Entrant(family, baseline) for baseline in found]

    def run(self, ours_s: float) -> None:
        """One round of every baseline, beside a round of ours; one that fails is set aside."""
        for entrant in list(self.entrants):
            try:
                wall_s = entrant.baseline.run()
            except CascadeError as error:
                self.skipped[entrant.baseline.name] = str(error)
                self.entrants.remove(entrant)
                continue
            entrant.wall_s.append(wall_s)
            entrant.ratios.append(wall_s / ours_s)

    def figures(self) -> dict[str, Any]:
        """Each baseline at its best setting, with all of its settings."""
        found: dict[str, Any] = {}
        for family in dict.fromkeys(entrant.family for entrant in self.entrants):
            settings = {
                entrant.baseline.name: entrant.figures() for entrant in self.entrants if entrant.family == family
            }
            best = min(settings, key=lambda name: settings[name]["ratio"])
            found[family] = {"setting": best, **settings[best], "settings": settings}
        return {"baselines": found, "skipped": self.skipped}


def compare(
    config: Config,
    name: str,
    n_rounds: int,
    *,
    choice: BaselineChoice | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Figures of a workload.

    Args:
        config: Model, adapters and cascades.
        name: The workload.
        n_rounds: Rounds whose median counts.
        choice: Baselines that are asked too; none if None.
        advance: Called after every round.

    Returns:
        ``summary``; under ``baselines`` each one's wall time over ours, round by round, as a median, at
        the setting that is best for it, and all of its settings; under ``skipped`` why a baseline could
        not run.

    Raises:
        InputError: The workload is unknown, or the config lacks a cascade.
    """
    choice = choice or BaselineChoice()
    with ExitStack() as stack:
        bench = stack.enter_context(Bench(config, name))
        baselines = _Field()
        baselines.admit(setup_of(config, bench), choice, stack)
        rounds: list[Round] = []
        for at, entry in enumerate(bench.rounds(n_rounds, advance)):
            rounds.append(entry)
            if choice.takes_part(at):
                baselines.run(entry.wall_s)
        own = summary(bench, rounds) | {
            "peak_memory_mib": None if choice.names else peak_memory_mib(),  # baselines are in the same process
            "best_flops": _best_flops(bench),
        }
        return own | baselines.figures()


def _best_flops(bench: Bench) -> float | None:
    """FLOP/s of torch's BF16 matrix product on as many threads; None without torch."""
    try:
        measure = best_product(bench.size.n_threads)
    except BaselineError:
        return None
    return max(measure() for _ in range(3))


def setup_of(config: Config, bench: Bench) -> BaselineSetup:
    """What is put to baselines of an opened workload."""
    return BaselineSetup(
        config=config,
        models=bench.models,
        workload=bench.workload,
        queries=bench.queries,
        labels=bench.labels,
        size=bench.size,
    )


def _makers(family: str, setup: BaselineSetup, choice: BaselineChoice) -> Iterable[Callable[[], Baseline]]:
    """What makes each setting of a baseline.

    Raises:
        BaselineError: It needs what is not given.
    """
    if family == "llama-server":
        if choice.server is None:
            msg = (
                "llama-server needs the path of the program: --llama-server PATH. "
                "`python -m benchmarks.build_llama_server` builds it."
            )
            raise BaselineError(msg)
        return [
            partial(ServerBaseline, setup, choice.server, n_slots, is_by_item=is_by_item)
            for n_slots, is_by_item in SERVER_SETTINGS
        ]
    one: dict[str, Callable[[], Baseline]] = {
        "llama": partial(LlamaBaseline, setup, by_hand=False),
        "llama-by-hand": partial(LlamaBaseline, setup, by_hand=True),
        "transformers": partial(TorchBaseline, setup, by_hand=False),
        "transformers-by-hand": partial(TorchBaseline, setup, by_hand=True),
        "single-call": partial(SingleCallBaseline, setup),
    }
    return [one[family]]
