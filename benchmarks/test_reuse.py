"""What sharing a task's prompt saves: one request of 100 symbols, against 100 requests of one.

Both run the same llama.cpp, model, adapters and questions; a request for each item computes the
task's prefix and the group's header again every time. Read the ratio of the two, not the times.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cascade import Engine, Item, Task
from tests.helpers.requests import symbols

N_ITEMS = 100


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """The shipped engine."""
    with Engine.open() as opened:
        yield opened


@pytest.fixture(scope="module")
def request_of_100() -> tuple[Task, list[Item]]:
    """A seeded task with 100 symbols in 12 files."""
    return symbols(1, N_ITEMS, n_files=12)


@pytest.mark.benchmark(group="precision, 100 symbols")
def test_one_request(benchmark: BenchmarkFixture, engine: Engine, request_of_100: tuple[Task, list[Item]]) -> None:
    """All items in one request: prefix, groups and items computed once."""
    task, items = request_of_100
    report = benchmark.pedantic(engine.classify, args=(task, items), rounds=7, warmup_rounds=1)
    benchmark.extra_info["stats"] = report.stats.as_dict()


@pytest.mark.benchmark(group="precision, 100 symbols")
def test_one_by_one(benchmark: BenchmarkFixture, engine: Engine, request_of_100: tuple[Task, list[Item]]) -> None:
    """A request for each item: nothing is shared between items."""
    task, items = request_of_100

    def run() -> list[int]:
        return [engine.classify(task, [item]).stats.tokens_decoded for item in items]

    tokens = benchmark.pedantic(run, rounds=3, warmup_rounds=1)
    benchmark.extra_info["tokens_decoded"] = sum(tokens)
