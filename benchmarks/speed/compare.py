"""A workload and its peers in one run, in turns, so that all meet the same machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from benchmarks.speed.choice import PeerChoice
from benchmarks.speed.fourway_peer import FourwayPeer
from benchmarks.speed.limits import best_product
from benchmarks.speed.measure import Bench, Round
from benchmarks.speed.peers import LlamaPeer, Peer, PeerSetup
from benchmarks.speed.server_peer import ServerPeer
from benchmarks.speed.summary import summary
from benchmarks.speed.torch_peer import TorchPeer
from cascade.config.schema import Config
from cascade.errors import CascadeError, PeerError
from cascade.machine import build_llama_server, peak_memory_mib

SERVER_SETTINGS = ((1, False), (4, False), (8, False), (1, True), (4, True))
"""(slots, whether by item) of the servers that are asked; the best of them counts."""


@dataclass(slots=True)
class _Entrant:
    """A peer in one setting, with what its rounds took and those over ours."""

    family: str
    peer: Peer
    wall_s: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Medians of its rounds."""
        return {"ratio": float(np.median(self.ratios)), "wall_ms": 1_000 * float(np.median(self.wall_s))}


@dataclass(slots=True)
class _Field:
    """All peers of a comparison; those that cannot run are set aside with the reason."""

    entrants: list[_Entrant] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def admit(self, setup: PeerSetup, choice: PeerChoice, stack: ExitStack) -> None:
        """Load every peer; ``stack`` closes them."""
        for family in choice.names:
            with ExitStack() as own:
                try:
                    found = [own.enter_context(closing(make())) for make in _makers(family, setup, choice)]
                except CascadeError as error:
                    self.skipped[family] = str(error)
                    continue
                stack.enter_context(own.pop_all())
            self.entrants += [_Entrant(family, peer) for peer in found]

    def run(self, ours_s: float) -> None:
        """One round of every peer, beside a round of ours; one that fails is set aside."""
        for entrant in list(self.entrants):
            try:
                wall_s = entrant.peer.run()
            except CascadeError as error:
                self.skipped[entrant.peer.name] = str(error)
                self.entrants.remove(entrant)
                continue
            entrant.wall_s.append(wall_s)
            entrant.ratios.append(wall_s / ours_s)

    def figures(self) -> dict[str, Any]:
        """Each peer at its best setting, with all of its settings."""
        found: dict[str, Any] = {}
        for family in dict.fromkeys(entrant.family for entrant in self.entrants):
            settings = {entrant.peer.name: entrant.figures() for entrant in self.entrants if entrant.family == family}
            best = min(settings, key=lambda name: settings[name]["ratio"])
            found[family] = {"setting": best, **settings[best], "settings": settings}
        return {"peers": found, "skipped": self.skipped}


def compare(
    config: Config,
    name: str,
    n_rounds: int,
    *,
    choice: PeerChoice | None = None,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Figures of a workload.

    Args:
        config: Model, adapters and cascades.
        name: The workload.
        n_rounds: Rounds whose median counts.
        choice: Peers that are asked too; none if None.
        advance: Called after every round.

    Returns:
        ``summary``; under ``peers`` each one's wall time over ours, round by round, as a median, at
        the setting that is best for it, and all of its settings; under ``skipped`` why a peer could
        not run.

    Raises:
        InputError: The workload is unknown, or the config lacks a cascade.
    """
    choice = choice or PeerChoice()
    with ExitStack() as stack:
        bench = stack.enter_context(Bench(config, name))
        peers = _Field()
        peers.admit(setup_of(config, bench), choice, stack)
        rounds: list[Round] = []
        for at, entry in enumerate(bench.rounds(n_rounds, advance)):
            rounds.append(entry)
            if choice.takes_part(at):
                peers.run(entry.wall_s)
        own = summary(bench, rounds) | {
            "peak_memory_mib": None if choice.names else peak_memory_mib(),  # peers are in the same process
            "best_flops": _best_flops(bench),
        }
        return own | peers.figures()


def _best_flops(bench: Bench) -> float | None:
    """FLOP/s of torch's BF16 matrix product on as many threads; None without torch."""
    try:
        measure = best_product(bench.size.n_threads)
    except PeerError:
        return None
    return max(measure() for _ in range(3))


def setup_of(config: Config, bench: Bench) -> PeerSetup:
    """What is put to peers of an opened workload."""
    return PeerSetup(
        config=config,
        models=bench.models,
        workload=bench.workload,
        asked=bench.asked,
        labels=bench.labels,
        size=bench.size,
    )


def _makers(family: str, setup: PeerSetup, choice: PeerChoice) -> Iterable[Callable[[], Peer]]:
    """What makes each setting of a peer.

    Raises:
        PeerError: It needs what is not given.
    """
    if family == "llama-server":
        if choice.server is None:
            msg = f"llama-server needs the path of the program: --llama-server PATH. {build_llama_server()}"
            raise PeerError(msg)
        return [
            partial(ServerPeer, setup, choice.server, n_slots, is_by_item=is_by_item)
            for n_slots, is_by_item in SERVER_SETTINGS
        ]
    one: dict[str, Callable[[], Peer]] = {
        "llama": partial(LlamaPeer, setup, by_hand=False),
        "llama-by-hand": partial(LlamaPeer, setup, by_hand=True),
        "transformers": partial(TorchPeer, setup, by_hand=False),
        "transformers-by-hand": partial(TorchPeer, setup, by_hand=True),
        "four-way": partial(FourwayPeer, setup),
    }
    return [one[family]]
