"""Answers from the log: the same to the last bit, known by model, adapter and tokens, and no KV is mixed up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cascade import DecisionLog, Engine, Item, ScriptedBackend, Task, shipped_config
from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.scripted import Script
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError
from cascade.report import Report, Step
from cascade.stages import SERVED, Limits
from cascade.tree import Cascade
from tests.engine.test_lanes import TREE, backends
from tests.helpers.requests import files, plain_items, symbols
from tests.helpers.shipped import ADAPTERS, CASCADES, write_shipped
from tests.helpers.values import item as ticket
from tests.helpers.values import says, tickets
from tests.log.logs import SAYS, n_rows, rows_of

TOLERANCE = 1e-3
"""Of p(yes), where the same tokens are computed in other company."""


def _steps(report: Report) -> dict[str, tuple[Step, ...]]:
    """Item -> all that it was asked."""
    return {decision.id: decision.steps for decision in report.decisions}


@pytest.mark.slow
def test_a_second_run_is_the_first_to_the_last_bit(tmp_path: Path) -> None:
    """Labels, probabilities and steps are equal, nothing is computed, and the report says so; in a new process too."""
    task, items = symbols(1, 30)
    config = write_shipped(tmp_path / "my.toml")
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log:
        with Engine.open(config, log=log) as engine:
            first = engine.classify(task, items, budget=None)
            log.flush()
            again = engine.classify(task, items, budget=None)
        with Engine.open(config, log=log) as engine:
            later = engine.classify(task, list(reversed(items)), budget=None)
    assert first.stats.calls_reused == 0
    for second in (again, later):
        assert _steps(second) == _steps(first)
        assert second.labels() == first.labels()
        stats = second.stats
        assert (stats.calls, stats.calls_reused) == (first.stats.calls, first.stats.calls)
        assert (stats.decode_calls, stats.tokens_decoded, stats.adapter_swaps) == (0, 0, 0)


@pytest.mark.slow
def test_values_come_back_to_the_last_bit(tmp_path: Path) -> None:
    """The probabilities of a choice and of a score are those that were computed."""
    config = tmp_path / "my.toml"
    config.write_text(
        'extends = "shipped"\n'
        "[cascade.t]\nlabels = ['none', 'bug', 'now', 'later']\n"
        "[[cascade.t.stages]]\nname = 'kind'\nquestion = 'what is it?'\nadapter = 'base'\n"
        "values = ['none', 'bug', 'wish']\nnext = { wish = { stage = 'urgency' } }\n"
        "[[cascade.t.stages]]\nname = 'urgency'\nquestion = 'how urgent?'\nadapter = 'base'\n"
        "levels = ['low', 'high']\ncuts = [0.5]\nnext = [{ label = 'later' }, { label = 'now' }]\n"
    )
    items = plain_items(12)
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log, Engine.open(config, log=log) as engine:
        first = engine.score("sort these", items, "t")
        log.flush()
        assert engine.score("sort these", items, "t") == first
        assert engine.classify("sort these", items, "t").stats.calls_reused > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "known"),
    [("precision", "half of the items"), ("precision", "the first stage"), ("precision", "the last stage"),
     ("scope", "half of the items")],
)  # fmt: skip
def test_what_is_computed_beside_reused_answers_is_right(tmp_path: Path, name: str, known: str) -> None:
    """KV that was not computed for a reused answer is computed for the next question; all p agree with a cold run.

    The adapters of ``precision`` share KV of the base model, and each of those of ``scope`` has its own.
    """
    task, items = symbols(2, 40) if name == "precision" else files(2, 24)
    config = write_shipped(tmp_path / "my.toml")
    with Engine.open(config) as engine:
        cold = engine.score(task, items, name)
        stages = [stage.name for stage in engine.cascade(name).stages]
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log, Engine.open(config, log=log) as engine:
        if known == "half of the items":
            engine.score(task, items[::2], name)
        else:
            engine.score(task, items, name, stages[0] if known == "the first stage" else stages[-1])
        log.flush()
        asked = engine.classify(task, items, name, budget=None)
        mixed = engine.score(task, items, name)
    assert asked.stats.calls_reused > 0
    assert asked.stats.tokens_decoded > 0
    for one, other in zip(cold, mixed, strict=True):
        assert [step.p_yes for step in one] == pytest.approx([step.p_yes for step in other], abs=TOLERANCE)
    by_question = [{(step.stage, step.tier): step.p_yes for step in steps} for steps in cold]
    for decision, p in zip(asked.decisions, by_question, strict=True):
        assert decision.steps
        assert all(step.p_yes == pytest.approx(p[step.stage, step.tier], abs=TOLERANCE) for step in decision.steps)


@pytest.mark.slow
def test_a_small_cache_holds_what_the_planner_thinks(tmp_path: Path) -> None:
    """In a context that fits a few items alone, reused answers neither fill the cache nor overfill it."""
    task, items = symbols(3, 40)
    text = (
        write_shipped(tmp_path / "my.toml").read_text().replace("[model]\n", "[model]\nn_ctx = 512\nn_seq_max = 8\n", 1)
    )
    config = tmp_path / "small.toml"
    config.write_text(text)
    with Engine.open(config) as engine:
        cold = _steps(engine.classify(task, items, budget=None))
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log, Engine.open(config, log=log) as engine:
        engine.score(task, items[::3], "precision", "relevant")
        log.flush()
        for _ in range(2):
            found = engine.classify(task, items, budget=None)
            assert {id_: [step.stage for step in steps] for id_, steps in _steps(found).items()} == {
                id_: [step.stage for step in steps] for id_, steps in cold.items()
            }
            for id_, steps in _steps(found).items():
                p = [step.p_yes for step in cold[id_]]
                assert [step.p_yes for step in steps] == pytest.approx(p, abs=TOLERANCE)
            assert engine.n_cached == 0
            log.flush()


class Counting(ScriptedBackend):
    """A scripted backend with another model, or other files of adapters."""

    model, hashes, scales, served = "scripted", {}, {}, frozenset()  # type: ignore[var-annotated]

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        info = super().info
        made_by = replace(info.provenance, model=self.model, adapters={**info.provenance.adapters, **self.hashes})
        prefixes = {name: SERVED if name in self.served else of for name, of in info.prefix_adapters.items()}
        return replace(info, provenance=made_by, scales=self.scales, prefix_adapters=prefixes)


def _asked(log: DecisionLog, cascade: Cascade | None = None, script: Script | None = None, **own: object) -> Report:
    """What the report of one request is, with another backend or tree."""
    backend = Counting(script or SAYS, ADAPTERS)
    for name, value in own.items():
        setattr(backend, name, value)
    cascades = {"precision": cascade or CASCADES["precision"]}
    with Engine(backend, cascades, settings=EngineSettings(log=log)) as engine:
        report = engine.classify("fix it", plain_items(4))
    log.flush()
    return report


def test_answers_are_known_by_what_they_depend_on(tmp_path: Path) -> None:
    """Another model, adapter, scale or wording is asked anew; other thresholds and targets are not."""
    precision = CASCADES["precision"]
    first = precision.first
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log:
        assert _asked(log).stats.calls_reused == 0
        assert _asked(log).stats.calls_reused == 12
        assert _asked(log, model="other").stats.calls_reused == 0
        assert _asked(log, hashes={"primary": "other"}).stats.calls_reused == 8
        assert _asked(log, scales={"primary": 0.5}).stats.calls_reused == 8
        higher = replace(precision, stages=(first.with_limits({"": Limits(0.95, 0.95)}), *precision.stages[1:]))
        found = _asked(log, higher)
        assert (found.stats.calls, found.stats.calls_reused) == (4, 4)
        assert found.labels() == {"excluded": 4}
        other = {tier: replace(question, wording="is it?") for tier, question in first.questions.items()}
        reworded = replace(precision, stages=(replace(first, questions=other), *precision.stages[1:]))
        assert _asked(log, reworded).stats.calls_reused == 0
        assert _asked(log).stats.calls_reused == 12


def test_servers_are_always_asked(tmp_path: Path) -> None:
    """What a server answers is neither kept for reuse nor answered from the log."""
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log:
        for _ in range(2):
            assert _asked(log, served=frozenset(ADAPTERS)).stats.calls_reused == 0
        assert n_rows(log.path, "answers") == 0


def test_without_reuse_nothing_is_kept_for_it(tmp_path: Path) -> None:
    """A log that is not asked for answers keeps none."""
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        assert _asked(log).stats.calls_reused == _asked(log).stats.calls_reused == 0
        assert n_rows(log.path, "answers") == 0


def test_reuse_over_several_models_and_values(tmp_path: Path) -> None:
    """Each model's answers are its own, and those of choices and scores come back as they were."""
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log:
        settings = EngineSettings(log=log)
        for n_reused in (0, 3):
            with Engine(backends(), {"c": TREE}, settings=settings) as engine:
                report = engine.classify("a task", [Item(id="1", name="name_1")], "c")
            assert report.stats.calls_reused == n_reused
            log.flush()
        found = []
        for _ in range(2):
            with Engine(
                ScriptedBackend(says, frozenset({"kinds"})), {"tickets": tickets()}, settings=settings
            ) as engine:
                found.append(engine.classify("sort", [ticket(1, "10_70_20", "0_10_90")], "tickets"))
            log.flush()
    assert [one.stats.calls_reused for one in found] == [0, 2]
    assert found[0].decisions == found[1].decisions


def test_a_log_that_cannot_be_read_is_not_asked(tmp_path: Path) -> None:
    """Where the file has gone, every question is asked and answered."""
    log = DecisionLog(tmp_path / "log.sqlite3", reuse=True)
    _asked(log)
    log.close()
    for file in tmp_path.iterdir():
        file.unlink()
    report = _asked(log)
    assert (report.stats.calls_reused, report.labels()) == (0, {"supporting": 4})


class Stopping(ScriptedBackend):
    """A backend whose queries below a name cannot be answered with a number."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        scores = await super().score(batch, stop)
        return replace(scores, logits=[float("nan")] * len(scores.logits))


def test_what_is_no_number_is_not_kept(tmp_path: Path) -> None:
    """A fault of the backend is no answer, so that it is not answered from the log later."""
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log:
        settings = EngineSettings(log=log)
        with Engine(Stopping(SAYS, ADAPTERS), CASCADES, settings=settings) as engine, pytest.raises(BackendError):
            engine.classify(Task(text="fix it"), plain_items(2))
        log.flush()
        assert n_rows(log.path, "answers") == 0
        assert [row[7] for row in rows_of(log.path, "requests")] == ["BackendError"]


@pytest.mark.slow
def test_answers_belong_to_the_adapter_that_gave_them(tmp_path: Path) -> None:
    """After a swap what the new adapter answers is asked anew, and after the way back the old answers are there."""
    task, items = symbols(1, 10)
    config = write_shipped(tmp_path / "my.toml")
    file = shipped_config().parent
    with DecisionLog(tmp_path / "log.sqlite3", reuse=True) as log, Engine.open(config, log=log) as engine:
        first = engine.score(task, items, "precision", "relevant")
        log.flush()
        engine.swap_adapter("relevant", file / "supporting.gguf")
        other = engine.score(task, items, "precision", "relevant")
        log.flush()
        engine.swap_adapter("relevant", file / "relevant.gguf")
        assert engine.score(task, items, "precision", "relevant") == first
        assert engine.classify(task, items, budget=None).stats.calls_reused >= len(items)
    assert [step.p_yes for (step,) in other] != [step.p_yes for (step,) in first]
