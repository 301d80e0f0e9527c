"""The lock of tuned thresholds: other files and other questions are refused, or warned of."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Literal

import pytest

from cascade import Engine
from cascade.config.lock import check_locks, questions_at_hand, questions_fingerprint
from cascade.config.schema import AdapterConfig, Config
from cascade.config.thresholds import ThresholdsFile
from cascade.errors import ConfigError
from cascade.report import Provenance
from tests.helpers.shipped import CASCADES, questions_alone, reading

SHIPPED = questions_alone()
SCOPE = CASCADES["scope"]
PROVENANCE = Provenance(
    model="m",
    adapters=dict.fromkeys([*SCOPE.adapters(), "stranger"], "sha"),
    prompt_format="embedded",
    label_tokens=(10, 11),
)


def locked(made_for: dict[str, Any], on_threshold_mismatch: Literal["refuse", "warn"] = "refuse") -> Config:
    """The shipped config with thresholds for `scope`."""
    file = ThresholdsFile.model_validate(
        {
            "guarantee": {
                "recall_per_task": 0.9, "delta": 0.05, "p_value": 0.01, "tasks": 100, "minimised": "calls",
            },
            "held_out": {"recall_per_task": 0.93, "calls_per_item": 1.2, "false_positives_per_item": 0.2},
            "made_for": made_for,
            "thresholds": {stage.name: dict.fromkeys(stage.questions, 0.25) for stage in SCOPE.stages},
        }
    )  # fmt: skip
    scope = SHIPPED.cascade["scope"].model_copy(update={"thresholds": file})
    engine = SHIPPED.engine.model_copy(update={"on_threshold_mismatch": on_threshold_mismatch})
    return SHIPPED.model_copy(update={"engine": engine, "cascade": {**SHIPPED.cascade, "scope": scope}})


def made_for() -> dict[str, Any]:
    """What fits the shipped config and ``PROVENANCE``."""
    adapters = dict.fromkeys(SCOPE.adapters(), "sha")
    questions = questions_at_hand(SHIPPED, SCOPE, PROVENANCE)
    return {"model": "m", "data": "d", "questions": questions, "adapters": adapters}


def check(config: Config, provenance: Provenance = PROVENANCE) -> None:
    """Check the locks of a config's cascades."""
    check_locks(config, config.cascades(), provenance)


def test_what_they_were_made_for_is_let_in() -> None:
    """The same files and questions; adapters that the cascade does not ask do not matter."""
    check(locked(made_for()))
    check(locked(made_for()), replace(PROVENANCE, adapters=PROVENANCE.adapters | {"stranger": "other"}))


@pytest.mark.parametrize(
    ("provenance", "named"),
    [
        (replace(PROVENANCE, model="n"), "the model is not"),
        (replace(PROVENANCE, adapters=PROVENANCE.adapters | {"metadata": "other"}), "adapter 'metadata' is not"),
        (replace(PROVENANCE, prompt_format="qwen3"), "what is asked"),
        (replace(PROVENANCE, label_tokens=(11, 10)), "what is asked"),
        (replace(PROVENANCE, model="n", label_tokens=(1, 2)), "the model, what is asked"),
    ],
)
def test_other_files_are_refused(provenance: Provenance, named: str) -> None:
    """Another model, another adapter, another form of prompts; all that differs is named, with what to do."""
    with pytest.raises(ConfigError, match=named) as caught:
        check(locked(made_for()), provenance)
    assert "cascade.scope.thresholds" in str(caught.value)
    assert "cascade tune --out" in str(caught.value)


def test_other_questions_are_refused() -> None:
    """Another wording, other instructions, limits or an adapter's scale; thresholds alone are no other question."""
    config = locked(made_for())
    scope = config.cascade["scope"]
    stage = scope.stages[0]
    limits = config.model.limits.model_copy(update={"item": 7})
    scaled = AdapterConfig(path=config.adapter("metadata").path, scale=2.0)
    others = [
        config.model_copy(update={"cascade": {"scope": scope.model_copy(update={"instructions": "Other."})}}),
        config.model_copy(update={"model": config.model.model_copy(update={"limits": limits})}),
        config.model_copy(update={"adapters": {**config.adapters, "metadata": scaled}}),
    ]
    for other in others:
        with pytest.raises(ConfigError, match="what is asked"):
            check(other)
    lower = scope.model_copy(update={"stages": (stage.model_copy(update={"threshold": 0.125}), *scope.stages[1:])})
    check(config.model_copy(update={"cascade": {"scope": lower}}))
    assert questions_fingerprint(SCOPE) != questions_fingerprint(SCOPE, {"scale": 2.0})
    with pytest.raises(ConfigError, match="what is asked"):
        check(config.model_copy(update={"cascade": {"scope": scope.model_copy(update={"evidence": "made"})}}))


def test_what_is_read_belongs_to_the_questions() -> None:
    """A stage that reads texts, or more of them, is another question; one that reads none is what it always was."""
    config = locked(made_for())
    scope = config.cascade["scope"]
    for most in (None, 9, 10):
        reads = scope.stages[0].model_copy(update={"reads": "text", "max_text_tokens": most})
        stages = (reads, *scope.stages[1:])
        with pytest.raises(ConfigError, match="what they read"):
            check(config.model_copy(update={"cascade": {"scope": scope.model_copy(update={"stages": stages})}}))
    name = SCOPE.first.name
    found = {questions_fingerprint(reading(SCOPE, {name: most})) for most in (0, 9, 10)}
    assert len(found) == 3
    assert questions_fingerprint(SCOPE) in found


def test_a_warning_lets_other_files_in(caplog: pytest.LogCaptureFixture) -> None:
    """``on_threshold_mismatch = "warn"``: one line names cascade and differences; none where nothing differs."""
    with caplog.at_level(logging.WARNING):
        check(locked(made_for(), "warn"))
        assert not caplog.records
        check(locked(made_for(), "warn"), replace(PROVENANCE, model="n"))
    (record,) = caplog.records
    assert "guarantee nothing" in record.getMessage()
    assert "scope" in record.getMessage()
    assert "the model" in record.getMessage()


@pytest.mark.slow
def test_an_engine_is_opened_or_not(caplog: pytest.LogCaptureFixture) -> None:
    """With the shipped model its own files open, others do so with a warning alone, or for other cascades."""
    with Engine.open() as engine:
        info = engine.info.provenance
    adapters = {name: info.adapters[name] for name in SCOPE.adapters()}
    questions = questions_at_hand(SHIPPED, SCOPE, info)
    fitting = {"model": info.model, "data": "d", "questions": questions, "adapters": adapters}
    with Engine.open(locked(fitting)) as engine:
        assert {question.threshold for question in engine.cascade("scope").questions()} == {0.25}
    with pytest.raises(ConfigError, match="the model is not what these thresholds were tuned with"):
        Engine.open(locked(fitting | {"model": "other"}))
    with caplog.at_level(logging.WARNING), Engine.open(locked(fitting | {"model": "other"}, "warn")):
        assert "the model" in caplog.text
    with Engine.open(locked(fitting | {"model": "other"}), cascades={"own": SCOPE}) as engine:
        assert list(engine.cascades) == ["own"]
