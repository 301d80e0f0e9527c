"""Other adapters and cascades while an engine works: one set for a request, all of it or nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from cascade import Engine, ScriptedBackend
from cascade.errors import ClosedError, ConfigError, InputError
from tests.engine.test_lanes import TREE, backends, items
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.service import PATIENCE_S, Waiting
from tests.helpers.shipped import ADAPTERS, CASCADES, write_shipped


def _says(adapter: str, _: str) -> float:
    """New versions say yes, all others no."""
    return 0.9 if "@" in adapter else 0.1


def _soon(is_so: Callable[[], bool]) -> bool:
    event = threading.Event()
    return any(is_so() or event.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))


def test_a_request_keeps_the_adapters_that_it_began_with() -> None:
    """One that waits is answered by the former adapter, a later one by the new; then the former is freed."""
    backend = Waiting(_says)
    with Engine(backend, CASCADES) as engine:
        running: list[object] = []
        thread = threading.Thread(
            target=lambda: running.append(engine.classify("a task", plain_items(4), "precision", budget=None))
        )
        thread.start()
        assert backend.reached.wait(PATIENCE_S)
        swap = threading.Thread(target=engine.swap_adapter, args=("relevant", "new.gguf"))
        swap.start()
        backend.gate.set()  # the change is made between two batches
        swap.join(PATIENCE_S)
        thread.join(PATIENCE_S)
        after = engine.classify("a task", plain_items(4), "precision", budget=None)
        (before,) = running
        assert {decision.label for decision in before.decisions} == {"excluded"}  # type: ignore[attr-defined] # a report
        assert "excluded" not in after.labels()
        assert {step.adapter for step in after.decisions[0].steps} <= ADAPTERS
        assert after.provenance.adapters["relevant"].endswith("new.gguf")
        assert _soon(lambda: backend.adapters == (ADAPTERS - {"relevant"}) | {"relevant@2"})


def test_cascades_change_with_the_adapter() -> None:
    """Thresholds that are given with an adapter hold from the same request on as it does."""
    precision = CASCADES["precision"]
    stage = replace(
        precision.stage("relevant"),
        questions={"": replace(precision.stage("relevant").questions[""], threshold=0.95)},
    )
    strict = replace(precision, stages=(stage, *precision.stages[1:]))
    backend = ScriptedBackend(_says, ADAPTERS)
    with Engine(backend, CASCADES) as engine:
        changed = engine.swap_adapter("relevant", "new.gguf", cascades={"precision": strict})
        assert (set(changed.adapters), changed.cascades) == ({"relevant"}, ("precision",))
        report = engine.classify("a task", plain_items(2), "precision", budget=None)
        assert [step.threshold for step in report.decisions[0].steps] == [0.95]
        assert report.labels() == {"excluded": 2}
        assert engine.cascades["precision"] == strict


def test_what_was_learned_of_other_cascades_stays() -> None:
    """Pass rates of a cascade go on over a change that it has no part in, and begin anew where its adapter changes."""
    with Engine(ScriptedBackend(_says, ADAPTERS), CASCADES) as engine:
        before = engine._generations.live.expected  # noqa: SLF001 - what is expected is nobody else's
        engine.swap_adapter("relevant", "new.gguf")
        after = engine._generations.live.expected  # noqa: SLF001 - as above
        assert after["scope"] is before["scope"]
        assert after["precision"] is not before["precision"]


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [("nobody", 1.0, "no adapter 'nobody'"), ("relevant", 0.0, "above 0"), ("relevant", True, "above 0")],
)
def test_what_cannot_be_swapped_is_refused(name: str, scale: float, words: str) -> None:
    """An unknown adapter and a scale that is none are refused, and nothing changes."""
    with Engine(ScriptedBackend(_says, ADAPTERS), CASCADES) as engine:
        with pytest.raises(InputError, match=words):
            engine.swap_adapter(name, "new.gguf", scale=scale)
        assert engine.classify("a task", plain_items(1), budget=None).labels() == {"excluded": 1}


def test_a_cascade_that_does_not_fit_changes_nothing() -> None:
    """What was loaded for it is freed again."""
    precision = CASCADES["precision"]
    lost = replace(precision.stage("relevant"), questions={
        "": replace(precision.stage("relevant").questions[""], adapter="nobody")
    })  # fmt: skip
    backend = ScriptedBackend(_says, ADAPTERS)
    with Engine(backend, CASCADES) as engine:
        with pytest.raises(ConfigError, match="nobody"):
            engine.swap_adapter(
                "relevant", "new.gguf", cascades={"precision": replace(precision, stages=(lost, *precision.stages[1:]))}
            )
        assert _soon(lambda: backend.adapters == ADAPTERS)
        assert engine.classify("a task", plain_items(1), budget=None).labels() == {"excluded": 1}


def test_a_closed_engine_and_one_of_parts_adopt_nothing(tmp_path: Path) -> None:
    """The one says that it is closed, the other that it has no config."""
    engine = Engine(ScriptedBackend(_says, ADAPTERS), CASCADES)
    with pytest.raises(InputError, match="made from parts"):
        engine.adopt(write_shipped(tmp_path / "my.toml"))
    engine.close()
    with pytest.raises(ClosedError):
        engine.swap_adapter("relevant", "new.gguf")


def test_an_adapter_of_one_of_several_models_is_swapped() -> None:
    """The new version is asked of its own model, and the other model keeps what it has."""
    both = backends(quick=1.0, judge=0.0)
    both["large"].script = lambda adapter, _: 0.9 if adapter in {"judge@2", "base", "large/base"} else 0.1
    with Engine(both, {"c": TREE}) as engine:
        assert engine.classify("a task", items(), cascade="c").labels() == {"drop": 10}
        engine.swap_adapter("judge", "new.gguf")
        report = engine.classify("a task", items(), cascade="c")
        assert report.labels() == {"keep": 10}
        assert [step.adapter for step in report.decisions[0].steps[:2]] == ["quick", "judge"]
        assert report.provenance.models["large"].adapters["judge"].endswith("new.gguf")
        assert _soon(lambda: both["large"].adapters == {"judge@2"})
        assert both["small"].adapters == {"quick"}


@run
async def test_many_changes_under_load_lose_no_request() -> None:
    """Requests that come while adapters change over and over are all answered, each by one version."""
    backend = ScriptedBackend(_says, ADAPTERS, records=False)
    async with Engine(backend, CASCADES) as engine:

        async def ask(n: int) -> tuple[str, set[str]]:
            await asyncio.sleep(n * 0.002)
            report = await engine.aclassify("a task", plain_items(3), "precision", budget=None)
            return report.provenance.adapters["relevant"], set(report.labels())

        async def change() -> None:
            for n in range(10):
                await engine.aswap_adapter("relevant", f"{n}.gguf")

        changing = asyncio.ensure_future(change())
        answers = await asyncio.gather(*(ask(n) for n in range(60)))
        await changing
        assert len(backend.adapters) <= len(ADAPTERS) + 2
    for made_by, labels in answers:
        assert ("excluded" in labels) == (made_by == "scripted")


@pytest.mark.slow
def test_a_config_is_taken_over(tmp_path: Path) -> None:
    """Another file under [adapters] is live after adopt; another model and a bad file change nothing."""
    config = write_shipped(tmp_path / "my.toml")
    text = config.read_text()
    with Engine.open(config) as engine:
        assert not engine.adopt(config).is_change
        before = engine.info.provenance.adapters
        config.write_text(text.replace("relevant.gguf", "primary.gguf"))
        assert set(engine.adopt(config).adapters) == {"relevant"}
        assert engine.info.provenance.adapters["relevant"] == before["primary"]
        config.write_text(text.replace("relevant.gguf", "nothing.gguf"))
        with pytest.raises(InputError, match=r"adapters\.relevant: "):
            engine.adopt(config)
        config.write_text(text.replace('format = "embedded"', 'format = "embedded"\nn_ctx = 1024'))
        with pytest.raises(ConfigError, match="other base models"):
            engine.adopt(config)
        assert engine.info.provenance.adapters["relevant"] == before["primary"]
        config.write_text(text)
        assert set(engine.adopt(config).adapters) == {"relevant"}
        assert engine.info.provenance.adapters == before


@pytest.mark.slow
def test_tuned_thresholds_are_bound_to_the_new_file_too() -> None:
    """The shipped thresholds were tuned with the shipped adapters, so another file alone is refused, by name."""
    from cascade import shipped_config  # noqa: PLC0415 - that of the user

    with Engine.open() as engine:
        with pytest.raises(ConfigError, match=r"cascade\.precision\.thresholds: adapter 'relevant'"):
            engine.swap_adapter("relevant", shipped_config().parent / "primary.gguf")
        assert engine.info.provenance == engine.info.provenance
