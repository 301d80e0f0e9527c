"""Adapters in the shadow: asked once nobody waits, never in the way, and logged beside the live answers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from math import nan
from pathlib import Path

import pytest

from cascade import DecisionLog, Engine, Outcome, ScriptedBackend, read_config, shipped_config
from cascade.backends.base import Batch, Scores, Stop
from cascade.config.schema import Config
from cascade.engine.adoption import Origin
from cascade.engine.settings import EngineSettings
from cascade.log.database import opened_log
from cascade.log.shadows import read_shadows
from cascade.report import Step
from tests.helpers.gguf_files import write_plain
from tests.helpers.requests import plain_items, symbols
from tests.helpers.service import PATIENCE_S, Waiting
from tests.helpers.shipped import ADAPTERS, write_shipped
from tests.log.logs import n_rows

FILE = "primary.gguf"
"""What answers in the shadow, of ``relevant``."""


class Slow(Waiting):
    """One whose first batch in the shadow takes for ever, unless it is told to stop."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        if "@" not in batch.adapter or self.gate.is_set():
            return await ScriptedBackend.score(self, batch, stop)
        scores = await super().score(batch, stop)
        self.gate.set()
        return replace(scores, logits=[nan] * len(scores.logits))  # nothing was scored


def _config(tmp_path: Path, shadow: str = FILE) -> Config:
    config = write_shipped(tmp_path / "my.toml")
    head = f'[shadow]\nrelevant = "{shadow}"\n' if shadow else ""
    config.write_text(head + config.read_text())
    return read_config(config)


def _files(config: Config) -> dict[str, str]:
    """What a scripted backend has loaded."""
    return {name: str(entry.path) for name, entry in config.files.items()}


def _engine(tmp_path: Path, log: DecisionLog, script: Callable[[str, str], float]) -> tuple[Engine, ScriptedBackend]:
    config = _config(tmp_path)
    backend = ScriptedBackend(script, ADAPTERS, files=_files(config))
    settings = EngineSettings(log=log, origin=Origin(config=config))
    engine = Engine(backend, config.cascades(), settings=settings)
    engine.adopt(config)
    return engine, backend


def _soon(is_so: Callable[[], bool]) -> bool:
    event = threading.Event()
    return any(is_so() or event.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))


def _says(adapter: str, _: str) -> float:
    return 0.8 if "@" in adapter else 0.3


def test_both_answers_are_in_the_log(tmp_path: Path) -> None:
    """Each question that the live adapter answered is answered by the other too, and joined with what became of it."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        engine, backend = _engine(tmp_path, log, _says)
        with engine:
            report = engine.classify("a task", plain_items(5), "precision", budget=None)
            assert {step.adapter for decision in report.decisions for step in decision.steps} <= ADAPTERS
            assert {round(decision.steps[0].p_yes, 3) for decision in report.decisions} == {0.3}
            assert _soon(lambda: engine.shadow.requests == 1)
            engine.record_outcome([
                Outcome(task=report.task_id, item="item-0", label="primary"),
                Outcome(task=report.task_id, item="item-1", label="excluded"),
            ])  # fmt: skip
            assert engine.shadow.answers == 5
        log.flush()
        sha256 = backend.files["relevant@2"]
        with opened_log(log.path) as database:
            pairs = list(read_shadows(database, "relevant", sha256))
        assert [(each.item, each.truth) for each in pairs] == [
            ("item-0", True), ("item-1", False), ("item-2", None), ("item-3", None), ("item-4", None),
        ]  # fmt: skip
        assert {(round(each.before[""], 3), round(each.after[""], 3), each.stage) for each in pairs} == {
            (0.3, 0.8, "relevant")
        }
        assert n_rows(log.path, "requests") == 1


def test_a_live_request_ends_the_batch_of_a_shadow(tmp_path: Path) -> None:
    """While the shadow is asked a live request comes: the batch is ended at once, and the shadow goes on after it."""
    config = _config(tmp_path)
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        backend = Slow(_says)
        backend.files = _files(config)
        settings = EngineSettings(log=log, origin=Origin(config=config))
        with Engine(backend, config.cascades(), settings=settings) as engine:
            engine.adopt(config)
            engine.classify("a task", plain_items(3), "precision", budget=None)
            assert backend.reached.wait(PATIENCE_S)
            report = engine.classify("another task", plain_items(3), "precision", budget=None)
            assert backend.gate.is_set()
            assert len(report.decisions) == 3
            assert _soon(lambda: engine.shadow.requests == 2)


def test_there_is_no_shadow_without_a_log(tmp_path: Path) -> None:
    """An engine without a log, as that of evaluate and tune, asks nothing in the shadow."""
    config = _config(tmp_path)
    backend = ScriptedBackend(_says, ADAPTERS, files=_files(config))
    with Engine(backend, config.cascades(), settings=EngineSettings(origin=Origin(config=config))) as engine:
        engine.adopt(config)
        engine.classify("a task", plain_items(3), "precision", budget=None)
        assert engine.shadow.adapters == ()
        assert backend.adapters == ADAPTERS


def test_a_shadow_that_ends_is_freed(tmp_path: Path) -> None:
    """A config without it takes it away; one that makes it live loads nothing again."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        engine, backend = _engine(tmp_path, log, _says)
        with engine:
            assert "relevant@2" in backend.adapters
            live = _config(tmp_path, shadow="")
            promoted = live.model_copy(update={"adapters": live.adapters | _config(tmp_path).shadows()})
            engine.adopt(promoted)
            assert engine.shadow.adapters == ()
            assert {key for key in backend.files if "@" in key} == {"relevant@2"}
            assert _soon(lambda: "relevant" not in backend.adapters)
            report = engine.classify("a task", plain_items(3), "precision", budget=None)
            assert report.decisions[0].steps[0].p_yes == pytest.approx(0.8)


def test_no_time_is_spent_that_a_budget_does_not_leave(tmp_path: Path) -> None:
    """A request whose budget is used up is not followed."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        engine, _ = _engine(tmp_path, log, lambda *_: 0.3)
        with engine:
            engine.classify("a task", plain_items(3), "precision", budget=0.001)
            engine.classify("a task", plain_items(3), "precision", budget=None)
            assert _soon(lambda: engine.shadow.requests == 1)
            assert engine.shadow.requests + engine.shadow.left_out <= 2


@pytest.mark.slow
@pytest.mark.parametrize("is_plain", [False, True], ids=["activated", "plain"])
def test_live_answers_are_the_same_with_a_shadow(tmp_path: Path, *, is_plain: bool) -> None:
    """Requests that end the shadow's batches again and again are answered as without it, to the last bit."""
    new = shipped_config().parent / "supporting.gguf"
    config = _config(tmp_path, str(write_plain(new, tmp_path / "plain.gguf") if is_plain else new))
    # Nothing is asked ahead: that would depend on how long things took.
    config = config.model_copy(update={"engine": config.engine.model_copy(update={"ask_ahead": False})})
    assert _live_answers(config, tmp_path / "with.sqlite3") == _live_answers(
        config.model_copy(update={"shadow": {}}), tmp_path / "without.sqlite3"
    )


def _live_answers(config: Config, path: Path) -> list[list[tuple[Step, ...]]]:
    """What six requests, one after the other, are answered."""
    asked = [symbols(seed, 25) for seed in range(6)]
    with DecisionLog(path) as log, Engine.open(config, log=log) as engine:
        reports = [engine.classify(task, items, budget=None) for task, items in asked]
        if config.shadow:
            assert _soon(lambda: engine.shadow.requests + engine.shadow.left_out == len(asked))
            assert engine.shadow.answers
        assert engine.n_cached == 0
    return [[decision.steps for decision in report.decisions] for report in reports]
