"""The workload with budgets: its trials are what they say, its figures add up, and the command shows them."""

from __future__ import annotations

import asyncio
import json
import threading
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.speed.budget_trials import (
    AT_ONCE,
    LEAST_MS,
    MOST_MS,
    PLENTY,
    Trial,
    Tried,
    anytime,
    groups_of_trials,
    overshoot,
    spread,
    trial_figures,
)
from benchmarks.speed.cli import main
from benchmarks.speed.forced import ForcedEngine
from benchmarks.speed.tables import show_budgets
from benchmarks.speed.workload import Call
from cascade import Decision, Item, Report, ScriptedBackend, Status, Task
from cascade.backends.base import BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.report import Provenance, Statistics
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

FULL_MS = 100.0
PROVENANCE = Provenance(model="m", adapters={}, prompt_format="embedded", label_tokens=(1, 2))


def call(n: int = 4) -> Call:
    """A request of which every other item is to be kept."""
    items = tuple(Item(id=str(at), kind="class", name=f"C{at}") for at in range(n))
    labels = tuple("primary" if at % 2 else "excluded" for at in range(n))
    return Call(task=Task(text="a task"), items=items, labels=labels, cascade="precision")


def tried(
    labels: list[str], budget_ms: float = FULL_MS, took_ms: float = FULL_MS, status: Status = Status.DECIDED
) -> Tried:
    """A trial that came back with these labels."""
    decisions = tuple(
        Decision(id=str(at), label=label, status=status, steps=(), provenance=PROVENANCE)
        for at, label in enumerate(labels)
    )
    report = Report(cascade="precision", decisions=decisions, stats=Statistics(), provenance=PROVENANCE)
    trial = Trial(call=call(), full_ms=FULL_MS, budget_ms=budget_ms, is_alone=True)
    return Tried.of(trial, took_ms, report, CASCADES["precision"])


RIGHT = ["excluded", "primary", "excluded", "primary"]


def test_trials_are_alone_or_in_company() -> None:
    """Half alone, the others two to four at once, all budgets within their range, the same for the same seed."""
    calls = [(call(), 40.0), (call(8), 100_000.0)]
    groups = groups_of_trials(calls, 400)
    trials = [trial for group in groups for trial in group]
    assert len(trials) == 400
    assert {len(group) for group in groups} == set(range(1, AT_ONCE + 1))
    assert sum(trial.is_alone for trial in trials) == pytest.approx(200, abs=AT_ONCE)
    assert all(trial.is_alone == (len(group) == 1) for group in groups for trial in group)
    assert all(LEAST_MS <= trial.budget_ms <= min(MOST_MS, PLENTY * trial.full_ms) for trial in trials)
    assert groups == groups_of_trials(calls, 400)
    assert groups != groups_of_trials(calls, 400, seed=1)


def test_overshoot_is_what_the_caller_sees() -> None:
    """Time left is below 0; shares are of requests."""
    found = overshoot([tried(RIGHT, 100, took) for took in (90, 105, 111, 131)])
    assert found is not None
    assert (found["max_ms"], found["over"], found["over_10_ms"], found["over_30_ms"]) == (31, 0.75, 0.5, 0.25)
    assert overshoot([]) is None


@pytest.mark.parametrize(
    ("labels", "status", "n"),
    [
        (RIGHT, Status.DEADLINE, 0),
        (RIGHT[:3], Status.DECIDED, 1),
        (["excluded", "", "relevant", "primary"], Status.DEPTH_CAP, 2),
    ],
)
def test_every_item_has_a_label_and_a_status(labels: list[str], status: Status, n: int) -> None:
    """Missing decisions, and labels of no cascade, count."""
    assert tried(labels, status=status).violations == n


def test_the_anytime_curve() -> None:
    """Accuracy and recall by budget; labels may be wrong and still keep what is to be kept."""
    half = tried(["excluded", "supporting", "excluded", "excluded"], 55, status=Status.DEADLINE)
    low, high = anytime([tried(RIGHT, 110), half], {"precision": CASCADES["precision"]})
    assert (low["share"], low["accuracy"], low["recall_over_rows"], low["decided"]) == (0.55, 0.5, 0.5, 0)
    assert (high["share"], high["accuracy"], high["recall_over_rows"], high["decided"]) == (pytest.approx(1.1), 1, 1, 1)


def test_figures_without_company() -> None:
    """What was not measured is None, and shares sum to 1."""
    found = trial_figures([tried(RIGHT)], CASCADES)
    assert found["overshoot_in_company"] is None
    assert sum(found["statuses"].values()) == 1
    assert found["violations"] == 0
    assert spread([])["p50"] is None


class _UntilAborted:
    """A backend whose batches end when they are aborted."""

    def __init__(self, info: BackendInfo) -> None:
        self.info = info
        self.began = threading.Event()

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """Nothing is scored."""
        ended = asyncio.Event()
        with stop.interrupting(ended.set):
            self.began.set()
            await ended.wait()
        assert stop.is_asked
        cost = BatchCost(decode_calls=0, adapter_swaps=0, tokens_decoded=0, tokens_reused=0, elapsed_ms=1.0)
        return Scores([float("nan")] * len(batch.queries), cost)

    def release(self, nodes: object, prefix_adapter: str | None = None) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is open."""


@run
async def test_an_abort_is_timed_and_reaches_the_backend() -> None:
    """The engine's stop works through what watches it; a batch that ends by itself leaves no time."""
    cascades = {"precision": CASCADES["precision"]}
    adapters = frozenset(cascades["precision"].adapters())
    scripted = ScriptedBackend(dict.fromkeys(adapters, 0.9), adapters)
    with ForcedEngine(scripted, cascades) as engine:
        await engine.aclassify("a task", plain_items(3))
    assert engine.backend.abort_ms == []

    endless = _UntilAborted(scripted.info)
    with ForcedEngine(endless, cascades) as engine:
        call = asyncio.create_task(engine.aclassify("a task", plain_items(3)))
        await asyncio.to_thread(endless.began.wait)
        call.cancel()
        await asyncio.wait([call])
    assert len(engine.backend.abort_ms) == 1
    assert engine.backend.abort_ms[0] >= 0


@pytest.mark.slow
def test_the_command_runs_budgets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure is there, whatever its value, and is shown; pictures where matplotlib is."""
    command = ["--workload", "budget", "--requests", "4", "--json"]
    has_plots = find_spec("matplotlib") is not None
    assert main(command + ["--plot", str(tmp_path)] * has_plots) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["requests"] == len(figures["over_ms"]) == 4
    assert figures["violations"] == 0
    assert figures["prediction_error"]["n"] > 0
    assert figures["unbinding_over_none"]["p50"] > 0
    assert figures["at_once_over_sequence"]["p50"] > 0
    assert figures["machine"]["system"]
    if has_plots:
        names = {f"budget-{name}.png" for name in ("anytime", "prediction", "overshoot")}
        assert {path.name for path in tmp_path.iterdir()} == names
    show_budgets(figures)
    shown = capsys.readouterr().out
    assert "items without a label or status" in shown
    assert "quality by budget" in shown


def test_no_baseline_knows_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and what to do."""
    assert main(["--workload", "budget", "--baseline", "llama"]) == 2
    assert "--baseline llama with --workload budget; no baseline knows budgets. Leave one of the two out." in (
        capsys.readouterr().err
    )
