"""A short run of ``benchmarks.budget_simulation``: budgets hold on a machine that is not as the engine believes."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.budget_simulation import simulate
from benchmarks.virtual_time import VirtualLoop
from cascade.machine import n_cores

pytestmark = pytest.mark.slow


def test_everyone_is_answered_in_time() -> None:
    """300 requests, some stalled, some given up, some without a budget: all end, in time, with nothing left over."""
    figures = simulate(300)
    assert figures.is_good, figures
    assert figures.given_up > 0
    assert figures.unlimited > 0
    assert all(share > 0 for share in figures.statuses.values())
    assert set(figures.statuses) == {"decided", "depth_cap", "deadline"}


def test_lasting_overload_leaves_nobody_out() -> None:
    """Three times what can be done arrives all the time: still all end in time, or at all."""
    figures = simulate(100, seed=3, loads=(3.0,))
    assert figures.is_good, figures
    assert set(figures.decided_by_load) == {3.0}


def test_two_models_at_once_keep_budgets_as_in_turn() -> None:
    """On cores that two models share everyone is answered in time, and not much less is decided than in turn."""
    at_once, in_turn = (simulate(160, n_models=2, at_once=each) for each in (True, False))
    assert at_once.is_good, at_once
    assert in_turn.is_good, in_turn
    assert (at_once.at_once, in_turn.at_once) == (2 if n_cores() > 1 else 1, 1)
    assert at_once.statuses["decided"] > 0.9 * in_turn.statuses["decided"]


def test_virtual_time_passes_only_in_sleep() -> None:
    """Hours take no time, and timers come in order."""
    loop = VirtualLoop()
    rung = []

    async def wait(seconds: float) -> None:
        await asyncio.sleep(seconds)
        rung.append(loop.time())

    async def both() -> None:
        await asyncio.gather(wait(7_200.0), wait(3_600.0))

    loop.run_until_complete(both())
    loop.close()
    assert rung == [3_600.0, 7_200.0]
