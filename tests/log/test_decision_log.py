"""The log of an engine: what its rows say, what it keeps of texts, and that it never costs an answer."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import DecisionLog, Engine, Group, Item, Outcome, ScriptedBackend, Task
from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError, InputError
from cascade.log.outcomes import latest
from cascade.log.store import read_outcomes_of
from cascade.report import Report
from cascade.tree import Cascade
from tests.engine.test_lanes import TREE, backends
from tests.helpers.requests import plain_items, symbols
from tests.helpers.service import Waiting
from tests.helpers.shipped import ADAPTERS, CASCADES
from tests.helpers.values import item as ticket
from tests.helpers.values import says, tickets
from tests.log.logs import SAYS, bytes_of, n_rows, opened, requests_of, scripted

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_rows_are_what_the_report_says(tmp_path: Path) -> None:
    """Every decision and every step of a report is in the log, with thresholds, hashes and costs."""
    task, items = symbols(3, 12)
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log, Engine.open(log=log) as engine:
        report = engine.classify(task, items, budget=None)
        log.flush()
        (request,) = requests_of(log.path)
        tree = engine.cascade("precision")
    assert (request.cascade, request.task, request.error, request.is_scoring) == ("precision", task.id, "", False)
    assert request.tree.value == tree.as_dict()
    assert request.provenance.value == report.as_dict()["provenance"]
    assert request.stats == report.stats.as_dict()
    assert request.task_body.value == {"text": task.text, "seeds": list(task.seeds)}
    assert [one.body.value["name"] for one in request.decisions] == [item.name for item in items]
    _same(request.decisions, report)
    calls = [call for decision in request.decisions for call in decision.calls if call.adapter]
    assert all(call.made_by == report.provenance.adapters[call.adapter] for call in calls)
    assert {call.question.value["type"] for call in calls} == {"noul"}
    assert sum(call.ms or 0 for call in calls) == pytest.approx(report.stats.decode_ms, rel=0.01)
    assert sum(call.tokens or 0 for call in calls) == pytest.approx(report.stats.tokens_decoded, abs=1)


def _same(decisions: tuple[object, ...], report: Report) -> None:
    for logged, decision in zip(decisions, report.decisions, strict=True):
        mine = (decision.id, decision.label, str(decision.status), decision.p_label, decision.cause)
        names = ("item", "label", "status", "p_label", "cause")
        assert tuple(getattr(logged, name) for name in names) == mine
        for call, step in zip(logged.calls, decision.steps, strict=True):  # type: ignore[attr-defined]
            same = ("stage", "tier", "adapter", "model", "threshold", "no_below", "p_yes", "p_calibrated", "answer")
            assert all(getattr(call, name) == getattr(step, name) for name in same)


def test_choices_and_scores_are_kept_with_their_probabilities(tmp_path: Path) -> None:
    """A call of a choice or score has the probabilities of its values, and its question their names."""
    backend = ScriptedBackend(says, frozenset({"kinds"}))
    cascade = tickets()
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        settings = EngineSettings(log=log)
        with Engine(backend, {"tickets": cascade}, settings=settings) as engine:
            report = engine.classify("sort", [ticket(1, "10_70_20", "0_10_90"), ticket(2, "80_10_10")], "tickets")
        request = requests_of(log.path)[0]
    first, second = request.decisions
    assert [decision.label for decision in request.decisions] == [one.label for one in report.decisions]
    assert [call.question.value["type"] for call in first.calls] == ["choice", "score"]
    assert first.calls[0].probabilities == pytest.approx({"none": 0.1, "bug": 0.7, "wish": 0.2})
    assert (first.calls[0].p_yes, first.calls[0].answer, first.calls[1].answer) == (None, "bug", "2")
    assert first.calls[0].question.value["criteria"] == dict.fromkeys(("none", "bug", "wish"))
    assert first.calls[1].question.value["criteria"] == ["can wait", "this week", "today"]
    assert [call.answer for call in second.calls] == ["none"]


def test_scoring_keeps_calls_without_labels(tmp_path: Path) -> None:
    """Stages that are put to all items leave calls, and no label."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        with scripted(log) as engine:
            engine.score("fix it", plain_items(3), "precision", "relevant", "primary")
        (request,) = requests_of(log.path)
    assert request.is_scoring
    assert {(one.label, one.status) for one in request.decisions} == {("", "")}
    assert {tuple(call.stage for call in one.calls) for one in request.decisions} == {("relevant", "primary")}


def test_several_models_are_told_apart(tmp_path: Path) -> None:
    """Calls name the model that answered, and what it is made of."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        with Engine(backends(), {"c": TREE}, settings=EngineSettings(log=log)) as engine:
            report = engine.classify("a task", [Item(id="1", name="name_1")], "c")
        (request,) = requests_of(log.path)
    (decision,) = request.decisions
    asked = [(step.stage, step.model) for step in report.decisions[0].steps]
    assert asked == [("quick", "small"), ("judge", "large"), ("last", "small")]
    assert [(call.stage, call.model) for call in decision.calls] == asked
    assert set(request.provenance.value["models"]) == {"small", "large"}


def test_failed_requests_are_kept_and_cancelled_ones_are_not(tmp_path: Path) -> None:
    """A request that failed has its error and no decision; one whose caller left has no row."""
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log:
        failing = ScriptedBackend({"relevant": 0.9}, ADAPTERS, fail_at=0)
        with scripted(log, backend=failing) as engine, pytest.raises(BackendError, match="as the script says"):
            engine.classify("fix it", plain_items(2))

        async def leave() -> None:
            waiting = Waiting({"relevant": 0.9})
            async with scripted(log, backend=waiting) as engine:
                work = asyncio.ensure_future(engine.aclassify("fix it", plain_items(2)))
                await asyncio.to_thread(waiting.reached.wait)
                work.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await work

        asyncio.run(leave())
        log.flush()
        (request,) = requests_of(log.path)
    assert request.error.startswith("BackendError: Batch 0 fails")
    assert request.decisions == ()


def test_hash_mode_keeps_no_text(tmp_path: Path) -> None:
    """Nothing of a task or an item but ids is in the file, not even through an error or a caller's own cascade."""
    task = Task(text="Krakatoa erupts", seeds=("Stromboli.py",))
    own = CASCADES["precision"].as_dict()["name"]
    item = Item(
        id="the-id",
        kind="Vesuvius",
        name="Popocatepetl",
        signature="Kilimanjaro",
        doc="Etna",
        text="Fuji",
        evidence=("Eldfell",),
        group=Group(name="Paricutin", evidence=("Galeras",)),
    )

    def fail(_: object) -> None:
        msg = "Tambora"
        raise ValueError(msg)

    with DecisionLog(tmp_path / "log.sqlite3") as log:
        with scripted(log) as engine:
            engine.classify(task, [item], own)
            with pytest.raises(ValueError, match="Tambora"):
                engine.classify(task, [item], own, on_decision=fail)
            asyncio.run(engine.ascore(task, [item], _asking("Is it Cotopaxi?")))
        log.flush()
        held = bytes_of(log.path)
        assert {request.error for request in requests_of(log.path)} == {"", "ValueError"}
    words = "Krakatoa Stromboli Vesuvius Popocatepetl Kilimanjaro Etna Fuji Eldfell Paricutin Galeras Tambora Cotopaxi"
    assert [word for word in words.split() if word.encode() in held] == []
    assert b"the-id" in held
    assert task.id.encode() in held


def _asking(wording: str) -> Cascade:
    """A cascade of a caller, that no config has."""
    precision = CASCADES["precision"]
    first = precision.stages[0]
    asked = {tier: replace(question, wording=wording) for tier, question in first.questions.items()}
    return replace(precision, stages=(replace(first, questions=asked), *precision.stages[1:]))


def test_nothing_is_lost_at_a_clean_close(tmp_path: Path) -> None:
    """Requests of many threads at once are all written when the engine is closed."""
    with DecisionLog(tmp_path / "log.sqlite3") as log, scripted(log) as engine:
        threads = [
            threading.Thread(target=lambda at=at: engine.classify(f"task {at}", plain_items(3))) for at in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        engine.record_outcome([Outcome(task="t", item=str(at), what="used") for at in range(100)])
        engine.close()
        assert (n_rows(log.path, "requests"), n_rows(log.path, "decisions")) == (40, 120)
        assert n_rows(log.path, "outcomes") == 100
        assert log.n_lost == 0


class Slow:
    """An observer that takes its time to hear that a request is over."""

    def began(self, request: Request) -> None:
        """Called before a request."""

    def scored(self, seen: SeenBatch) -> None:
        """Called after a batch."""

    def ended(self, request: Request) -> None:
        """Called before the log is told."""
        assert request.done.done()
        time.sleep(0.05)


def test_a_request_is_in_the_log_once_it_is_flushed(tmp_path: Path) -> None:
    """Whoever has an answer finds it in the log after a flush, though the log is told after the caller."""
    log = DecisionLog(tmp_path / "log.sqlite3")
    with Engine(
        ScriptedBackend(SAYS, ADAPTERS), CASCADES, settings=EngineSettings(observers=[Slow()], log=log)
    ) as engine:
        engine.classify("fix it", plain_items(2))
        log.flush()
        assert n_rows(log.path, "requests") == 1
    log.close()


@pytest.mark.slow
def test_a_process_that_never_closes_loses_nothing(tmp_path: Path) -> None:
    """What was answered when Python ends is written, although nobody closed the engine or the log."""
    code = (
        "import sys; from cascade import DecisionLog; from tests.log.logs import scripted\n"
        "from tests.helpers.requests import plain_items\n"
        "engine = scripted(DecisionLog(sys.argv[1]))\n"
        "for at in range(30): engine.classify(f'task {at}', plain_items(2))\n"
    )
    path = tmp_path / "log.sqlite3"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert n_rows(path, "requests") == 30


def test_outcomes_need_a_log() -> None:
    """An engine without a log says what to do."""
    with scripted(None) as engine, pytest.raises(InputError, match=r"keeps no log. Give the config a \[log\]"):
        engine.record_outcome(Outcome(task="t", item="i", what="used"))


def test_a_correction_keeps_what_it_corrects(tmp_path: Path) -> None:
    """Outcomes are rows of their own; a later one of the same kind stands beside the earlier one."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        log.record(Outcome(task="t", item="i", label="primary", source="ann"))
        log.record([Outcome(task="t", item="i", label="excluded", source="bob")])
        log.flush()
        with opened(log.path) as database:
            found = read_outcomes_of(database)
    assert [one.label for one in found] == ["primary", "excluded"]
    assert [(one.label, one.source) for one in latest(found)] == [("excluded", "bob")]


def test_closed_logs_take_nothing_and_say_nothing(tmp_path: Path) -> None:
    """An engine goes on after its log was closed."""
    log = DecisionLog(tmp_path / "log.sqlite3")
    with scripted(log) as engine:
        log.close()
        log.close()
        assert engine.classify("fix it", plain_items(2)).labels() == {"supporting": 2}
        log.flush()
    assert n_rows(log.path, "requests") == 0


def test_a_flush_waits_for_the_commit(tmp_path: Path) -> None:
    """What was handed over before a flush is there for another connection after it, many times in a row."""
    with DecisionLog(tmp_path / "log.sqlite3") as log, opened(log.path) as database:
        for n in range(1, 51):
            log.record(Outcome(task="t", item=str(n), what="used"))
            log.flush()
            assert database.execute("SELECT count(*) FROM outcomes").fetchone() == (n,)
