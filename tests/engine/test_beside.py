"""Several sets of adapters and cascades on one model at once: each answers as if it were alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cascade import Engine, ScriptedBackend
from cascade.config.schema import config_from
from cascade.errors import ClosedError, ConfigError, InputError, ModelFileError
from cascade.report import Report
from tests.helpers.asyncs import run
from tests.helpers.requests import symbols
from tests.helpers.service import PATIENCE_S
from tests.helpers.shipped import ADAPTERS, CASCADES, SHIPPED

pytestmark = pytest.mark.slow

TASK, ITEMS = symbols(3, 30)

TOLERANCE = 5e-3
"""Of p(yes), where the same tokens are computed in other company."""


def tables(**adapters: str) -> dict[str, Any]:
    """The shipped config as a caller's own tables, with questions alone and other files for some adapters."""
    precision = SHIPPED.cascade["precision"].model_dump(mode="json", exclude_none=True, by_alias=True)
    stages = [stage for stage in precision["stages"] if stage.get("kind") != "prior"]
    return {
        "extends": "shipped",
        "model": {"n_ctx": 1024, "n_threads": 1},
        "adapters": {name: str(SHIPPED.adapter(other).path) for name, other in adapters.items()},
        "cascade": {"precision": {"thresholds": "", "stages": stages}},
    }


def _p(report: Report) -> list[list[float]]:
    return [[step.p_yes for step in decision.steps] for decision in report.decisions]


def _loaded(engine: Engine) -> set[str]:
    """Keys of the adapters in memory."""
    backend = next(iter(engine._adopter._backends.values()))  # noqa: SLF001 - what is in memory is nobody else's
    return set(backend.info.adapters)


def _soon(is_so: Callable[[], bool]) -> bool:
    event = threading.Event()
    return any(is_so() or event.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))


def test_each_answers_as_if_it_were_alone() -> None:
    """Requests of three sets at once, whose adapters differ, get the answers of three engines."""
    sets = [tables(), tables(relevant="primary"), tables(relevant="supporting", primary="metadata")]
    alone = []
    for each in sets:
        with Engine.open(each) as engine:
            alone.append(engine.classify(TASK, ITEMS, budget=None))
    with Engine.open(sets[0]) as engine, engine.beside(sets[1]) as second, engine.beside(sets[2]) as third:
        engines = [engine, second, third] * 3
        with ThreadPoolExecutor(9) as threads:
            reports = list(threads.map(lambda each: each.classify(TASK, ITEMS, budget=None), engines))
    for place, report in enumerate(reports):
        expected = alone[place % 3]
        assert report.provenance == expected.provenance
        for found, wanted in zip(_p(report), _p(expected), strict=True):
            assert found == pytest.approx(wanted, abs=TOLERANCE)
    assert _p(alone[0]) != _p(alone[1])


def test_equal_files_are_loaded_once_and_freed_with_the_last() -> None:
    """A set that differs in one adapter takes the memory of one; the engine and the other set go on without it."""
    with Engine.open(tables()) as engine:
        before = _loaded(engine)
        other, same = engine.beside(tables(relevant="primary")), engine.beside(tables(relevant="primary"))
        assert len(_loaded(engine)) == len(before) + 1
        other.close()
        other.close()
        with pytest.raises(ClosedError):
            other.classify(TASK, ITEMS)
        assert (other.is_open, same.is_open, engine.is_open) == (False, True, True)
        assert len(same.classify(TASK, ITEMS).decisions) == len(ITEMS)
        same.close()
        assert _soon(lambda: _loaded(engine) == before)
        assert len(engine.classify(TASK, ITEMS).decisions) == len(ITEMS)


def test_a_request_that_runs_keeps_what_is_closed() -> None:
    """To close a set under a request neither ends nor changes it."""
    with Engine.open(tables()) as engine:
        before = _loaded(engine)
        other = engine.beside(tables(relevant="primary"))
        wanted, first = other.classify(TASK, ITEMS, budget=None), threading.Event()
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(other.classify, TASK, ITEMS, budget=None, on_decision=lambda _: first.set())
            assert first.wait(PATIENCE_S)
            other.close()
            assert asked.result().labels() == wanted.labels()
        assert _soon(lambda: _loaded(engine) == before)


def test_the_engine_changes_and_what_stands_beside_does_not() -> None:
    """What is adopted is live for the engine alone."""
    with Engine.open(tables()) as engine, engine.beside(tables(relevant="primary")) as other:
        before = other.info.provenance
        assert set(engine.adopt(tables(relevant="metadata")).adapters) == {"relevant"}
        assert other.info.provenance == before
        assert engine.info.provenance != before
        with pytest.raises(InputError, match="stand beside"):
            other.adopt(tables())
        with pytest.raises(InputError, match="stand beside"):
            other.swap_adapter("relevant", SHIPPED.adapter("primary").path)


def test_what_does_not_fit_leaves_nothing_behind() -> None:
    """A missing file, another base model and thresholds of other files are refused, by name."""
    lost = tables()
    lost["adapters"] = {"relevant": "nothing.gguf"}
    tuned = {"extends": "shipped", "model": tables()["model"], "adapters": tables(relevant="primary")["adapters"]}
    with Engine.open(tables()) as engine:
        before = _loaded(engine)
        with pytest.raises(ModelFileError, match=r"adapters\.relevant"):
            engine.beside(lost)
        with pytest.raises(ConfigError, match="other base models"):
            engine.beside(tables() | {"model": {"n_ctx": 2048}})
        with pytest.raises(ConfigError, match=r"cascade\.precision\.thresholds: adapter 'relevant'"):
            engine.beside(tuned)
        with pytest.raises(InputError, match="its tables as a dict"):
            engine.beside(7)  # type: ignore[arg-type] # what a caller might give
        assert _soon(lambda: _loaded(engine) == before)


def test_an_engine_of_parts_has_nothing_beside() -> None:
    """It has no config that another could be like."""
    with (
        Engine(ScriptedBackend(lambda *_: 0.1, ADAPTERS), CASCADES) as engine,
        pytest.raises(InputError, match="parts"),
    ):
        engine.beside(config_from(tables()))


@run
async def test_async_callers_leave_the_engine_open() -> None:
    """``async with`` closes what stands beside, and not the engine."""
    async with Engine.open(tables()) as engine:
        async with engine.beside(tables(relevant="primary")) as other:
            assert len((await other.aclassify(TASK, ITEMS)).decisions) == len(ITEMS)
        assert not other.is_open
        assert len((await engine.aclassify(TASK, ITEMS)).decisions) == len(ITEMS)


def test_tables_are_read_like_a_file(tmp_path: Path) -> None:
    """A file and its tables make the same config, and the caller's tables stay as they are."""
    given = tables(relevant="primary")
    kept = repr(given)
    config = config_from(given)
    assert repr(given) == kept
    assert config.adapter("relevant").path == SHIPPED.adapter("primary").path
    with pytest.raises(ConfigError, match=r"<config>: cascade\.precision\.labls"):
        config_from({"extends": "shipped", "cascade": {"precision": {"labls": []}}})
    with pytest.raises(ConfigError, match="extends"):
        config_from({"extends": str(tmp_path / "none.toml")})
