"""A short run of the fuzzer of requests, and faults planted for it to find. ``tests.fuzz.requests`` is the long one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace

import pytest

from cascade.backends.base import Batch, Scores, Stop
from cascade.prompt import Node
from tests.fuzz import request_real, request_scripted
from tests.fuzz.request_calls import Tally
from tests.fuzz.request_machine import Machine
from tests.fuzz.request_scripted import Episode
from tests.fuzz.requests import EPISODE, main, real, scripted
from tests.helpers.rig import LeakyRunner

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


def test_scripted_requests_are_answered_right() -> None:
    """However a backend fails and a caller behaves, no answer is wrong and nothing is left."""
    tally = scripted(8 * EPISODE)
    assert not tally.failures
    assert set(tally.ends) == {"answered", "failed", "refused", "settled", "left", "failed by its caller"}
    assert tally.ends.total() == 8 * EPISODE
    assert tally.steps > tally.items > EPISODE


def test_real_requests_are_answered_right() -> None:
    """The same on llama.cpp, with an adapter that overflows beside sound ones."""
    tally = real(60)
    assert not tally.failures
    assert {"answered", "failed"} <= set(tally.ends)
    assert tally.ends.total() == 60


def test_an_episode_comes_out_the_same_each_time() -> None:
    """What failed once can be looked at again."""
    assert Episode(5, 60).run(PATIENCE_S) == Episode(5, 60).run(PATIENCE_S)


def test_counts_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON, for those who want it, and exit code 0 where nothing is wrong."""
    assert main(["--scripted", "10", "--real", "0", "--first", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(found["scripted"]["ends"].values()) == EPISODE
    assert found["real"]["ends"] == {}


class _MixedUp(Machine):
    """The planted fault: what one adapter has computed passes for another's."""

    def find(self, node: Node, prefix_adapter: str) -> int | None:  # noqa: ARG002 - that is the fault
        """See ``Machine.find``."""
        return next((number for (other, _), number in self.cached.items() if other is node), None)


class _Swapped(Machine):
    """The planted fault: the first two answers of a batch are in each other's place."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        scores = await super().score(batch, stop)
        return replace(scores, logits=[*scores.logits[1::-1], *scores.logits[2:]])


class _Hoarding(Machine):
    """The planted fault: nothing is ever let go."""

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""


class _Stuck(Machine):
    """The planted fault: a batch that hangs, whatever it is told."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        await asyncio.sleep(2 * request_scripted.PATIENCE_S)
        return await super().score(batch, stop)


@pytest.mark.parametrize(
    ("machine", "said"),
    [(_MixedUp, "cold it is"), (_Swapped, "cold it is"), (_Hoarding, "There is no room"), (_Stuck, "have not ended")],
)
def test_a_planted_fault_is_found(machine: type[Machine], said: str) -> None:
    """Among a few episodes, and it is told as what it is."""
    tally = Tally()
    for seed in (5, 10, 36, 38):
        tally.add(Episode(seed, 100, machine).run(PATIENCE_S))
    assert any(said in problem for problem in tally.failures), tally


def test_a_planted_leak_between_adapters_is_found() -> None:
    """KV of one adapter under another, on llama.cpp."""
    with request_real.opened_yard(0) as yard:
        tally = request_real.run(yard, 1, 200, PATIENCE_S, LeakyRunner)
    assert any("answered on what" in problem for problem in tally.failures), tally
    assert any("cold it is" in problem for problem in tally.failures), tally
