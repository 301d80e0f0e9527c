"""What a budget costs that is not binding: the same request with one and without, on the shipped model.

Without a budget nothing is forecast; with one the schedule looks at every deadline before each batch.
Read the ratio of the two; ``python -m benchmarks.speed --workload budget`` takes it in pairs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cascade import Engine
from tests.helpers.requests import symbols

AN_HOUR_MS = 3_600_000.0


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The shipped engine."""
    with Engine.open() as opened:
        yield opened


@pytest.mark.benchmark(group="budget, 100 symbols")
@pytest.mark.parametrize("budget", [None, AN_HOUR_MS], ids=["none", "an hour"])
def test_budget(benchmark: BenchmarkFixture, engine: Engine, budget: float | None) -> None:
    """A request of 100 symbols in 12 files."""
    task, items = symbols(1, 100, n_files=12)
    report = benchmark.pedantic(
        engine.classify, args=(task, items), kwargs={"budget": budget}, rounds=15, warmup_rounds=2
    )
    benchmark.extra_info["stats"] = report.stats.as_dict()
