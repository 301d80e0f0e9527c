"""Every workload on the shipped model, and the two ways of asking ``Llama`` the same.

Branches follow the workload's labels, so everyone makes the same calls. Read ratios within one run;
``extra_info`` of the JSON has the figures of ``python -m benchmarks.speed``. For a model of Qwen3-0.6B's geometry
see ``benchmarks.make_model`` and ``python -m benchmarks.speed --config``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.speed.compare import setup_of
from benchmarks.speed.llama_baselines import LlamaBaseline
from benchmarks.speed.measure import Bench, Round
from benchmarks.speed.summary import summary
from benchmarks.speed.workload import WORKLOADS
from cascade.config.schema import read_config, shipped_config

CONFIG = read_config(shipped_config())
ROUNDS = 5


@pytest.fixture(params=WORKLOADS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """The shipped model, opened for one workload."""
    with Bench(CONFIG, request.param) as opened:
        yield opened


def test_workload(benchmark: BenchmarkFixture, bench: Bench) -> None:
    """All requests of a workload at once."""
    rounds: list[Round] = []
    benchmark.group = bench.workload.name
    benchmark.pedantic(lambda: rounds.append(bench.round()), rounds=ROUNDS, warmup_rounds=1)
    figures = summary(bench, rounds[1:])
    benchmark.extra_info |= figures
    assert figures["tokens_over_least"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("by_hand", [False, True], ids=["completion", "by-hand"])
def test_llama(benchmark: BenchmarkFixture, *, by_hand: bool) -> None:
    """llama-cpp-python's own class, asked what ``precision-100`` causes."""
    benchmark.group = "precision-100"
    with (
        Bench(CONFIG, "precision-100") as bench,
        closing(LlamaBaseline(setup_of(CONFIG, bench), by_hand=by_hand)) as baseline,
    ):
        benchmark.pedantic(baseline.run, rounds=3, warmup_rounds=1)
