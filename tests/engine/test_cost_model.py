"""The cost model: adds parts up, finds their prices from decodes, and is not led astray by stalls."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.backends.costs import SHORT, CallSizes, Costs, Work
from cascade.engine.cost_model import BatchShape, CostModel, work

TRUE = Work(
    calls=30.0,
    tokens=1.8,
    attended_cells=1.2e-4,
    short_calls=40.0,
    short_tokens=1.0,
    short_attended_cells=8e-4,
    outputs=0.9,
    swaps=6.0,
    batches=3.0,
)
"""Prices of a machine, unlike those that the model starts with."""


def _took(work: Work) -> float:
    return sum(price * n for price, n in zip(TRUE, work, strict=True))


def _draw(rng: random.Random) -> Work:
    """A decode of items, or one of questions."""
    cells = rng.randint(100, 4_000)
    first = Work(batches=float(rng.random() < 0.5))
    if rng.random() < 0.5:
        n = rng.randint(SHORT, 512)
        return first.plus(Work.of(tokens=n, cells=cells, most=n, swaps=float(rng.random() < 0.4)))
    n = rng.randint(2, 30)
    asked = Work.of(tokens=2 * n, cells=cells, most=2 * n, outputs=n, swaps=float(rng.random() < 0.7))
    return first.plus(asked)


def _taught(n: int, noise: Callable[[random.Random], float], seed: int = 0) -> CostModel:
    rng = random.Random(seed)
    model = CostModel(Costs())
    for _ in range(n):
        work = _draw(rng)
        model.learn(work, _took(work) * noise(rng))
    return model


def _errors(model: CostModel, seed: int = 99) -> list[float]:
    rng = random.Random(seed)
    return sorted(abs(model.predict(work) / _took(work) - 1) for work in (_draw(rng) for _ in range(200)))


def test_work_is_cut_into_equal_calls() -> None:
    """Calls of few tokens are counted apart; work adds up part by part."""
    assert Work.of(tokens=0, cells=10, most=512, swaps=1) == Work(swaps=1)
    assert Work.of(tokens=1_000, cells=10, most=512, outputs=3) == Work(2, 1_000, 1_000 * (10 + 750), outputs=3)
    assert Work.of(tokens=100, cells=10, most=62) == Work(
        short_calls=2, short_tokens=100, short_attended_cells=100 * (10 + 75)
    )
    both = Work.of(tokens=64, cells=1, most=64).plus(Work.of(tokens=3, cells=1, most=64, swaps=1))
    assert both == Work(1, 64, 64 * 65, 1, 3, 3 * 4, 0, 1)


def test_before_it_has_seen_anything_it_goes_by_costs_and_pace() -> None:
    """A batch is the sum of its parts."""
    costs = Costs(per_token_ms=2.0, per_output_ms=3.0, per_call_ms=50.0, per_swap_ms=7.0, per_cell_ms=0.0)
    work = Work.of(tokens=100, cells=500, most=100, outputs=4, swaps=1)
    assert CostModel(costs).predict(work) == pytest.approx(50 + 200 + 12 + 7)
    assert CostModel(costs, slowdown=0.5).predict(work) == pytest.approx((50 + 200 + 12 + 7) / 2)


def test_it_finds_the_prices_of_the_parts() -> None:
    """After sixty decodes without noise it predicts new ones closely, and a few are enough for the rough size."""
    exact = _errors(_taught(60, lambda _: 1.0))
    assert exact[100] < 0.02
    assert exact[190] < 0.05
    assert _errors(_taught(8, lambda _: 1.0))[100] < 0.25


def test_noise_and_stalls_do_not_lead_it_astray() -> None:
    """With a tenth of noise, and one decode in twenty stalled ten times as long, it stays within the targets."""
    errors = _errors(_taught(150, lambda rng: rng.lognormvariate(0, 0.08) * (10 if rng.random() < 0.05 else 1)))
    assert errors[100] < 0.10
    assert errors[190] < 0.25


def test_it_follows_a_machine_that_slows_down() -> None:
    """When everything takes three times as long, predictions do so within twenty decodes."""
    model = _taught(100, lambda _: 1.0)
    rng = random.Random(5)
    for _ in range(20):
        work = _draw(rng)
        model.learn(work, 3 * _took(work))
    slower = [model.predict(work) / (3 * _took(work)) for work in (_draw(rng) for _ in range(50))]
    assert sorted(abs(ratio - 1) for ratio in slower)[25] < 0.2


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=60), st.integers(0, 5))
def test_whatever_it_is_told_predictions_stay_positive(times: list[float], seed: int) -> None:
    """No part becomes free, and more work never takes less time."""
    rng = random.Random(seed)
    model = CostModel(Costs())
    for ms in times:
        model.learn(_draw(rng), ms)
    work = _draw(rng)
    assert 0 < model.predict(work) < model.predict(work.plus(work))


@pytest.mark.parametrize("ms", [0.0, -1.0])
def test_times_of_nothing_teach_nothing(ms: float) -> None:
    """A backend without a clock reports 0."""
    model = CostModel(Costs())
    work = Work.of(tokens=10, cells=10, most=10)
    before = model.predict(work)
    model.learn(work, ms)
    assert (model.predict(work), model.n_seen) == (before, 0)


SIZES = CallSizes(n_batch=512, n_batch_questions=64)


def test_one_adapter_computes_prompts_and_questions_in_the_same_calls() -> None:
    """Their tokens are cut together; two batches share them in equal parts."""
    shape = BatchShape(tokens=900, asked=100, outputs=20, cells=300, swaps=1)
    expected = Work.of(tokens=1_000, cells=300, most=512, outputs=20, swaps=1).plus(Work(batches=1))
    assert work(shape, SIZES) == expected
    halves = Work.of(tokens=600, cells=300, most=300, outputs=20, swaps=2).plus(Work(batches=2))
    assert work(shape._replace(tokens=500, batches=2, swaps=2), SIZES) == halves


def test_an_activated_adapter_asks_in_calls_of_its_own() -> None:
    """Questions attend to the prompts' cells as well, and come in calls of their own size."""
    shape = BatchShape(tokens=900, asked=100, outputs=20, cells=300, cells_asked=1_200, swaps=2)
    prompts = Work.of(tokens=900, cells=300, most=512)
    questions = Work.of(tokens=100, cells=1_200, most=64, outputs=20, swaps=2)
    assert work(shape, SIZES) == Work(batches=1).plus(prompts).plus(questions)


def test_a_server_takes_requests_and_questions() -> None:
    """What is computed there costs nothing here."""
    shape = BatchShape(tokens=900, asked=100, outputs=20, requests=5, is_served=True)
    assert work(shape, SIZES) == Work(batches=1, requests=5, questions=20)
