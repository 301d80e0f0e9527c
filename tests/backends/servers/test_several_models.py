"""Two base models of which one has no file here: a server answers for it, beside the model of this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.recipe.tiny_encoder import write_tiny
from benchmarks.wire_server import Script, ScriptedServer
from cascade import Engine, Item, read_config
from cascade.cli import main
from cascade.cli.doctor import examine
from cascade.cli.output import ExitCode
from cascade.config.lock import questions_at_hand
from cascade.errors import ConfigError
from cascade.models.model_set import load_model_sets
from tests.helpers.gguf_files import write_model

CONFIG = """
[models.small]
path = "small.gguf"
n_threads = 1
n_ctx = 1024
[models.large]
format = "qwen3"
[servers.gpu]
kind = "completions"
url = "URL"
[adapters]
judge = { server = "gpu", name = "judge-lora", model = "large" }
[cascade.c]
labels = ["no", "maybe", "yes"]
[[cascade.c.stages]]
name = "first"
marker = "yes"
question = "does it matter?"
adapter = "small/base"
no_below = 0.01
yes_from = 0.99
yes = { label = "yes" }
no = { label = "no" }
uncertain = { stage = "second" }
[[cascade.c.stages]]
name = "second"
question = "must it be changed?"
adapter = "judge"
yes = { label = "yes" }
no = { label = "maybe" }
"""
ITEMS = [Item(id=str(at), name=f"parse_{at}", text="url" * (at % 2)) for at in range(12)]


@pytest.fixture
def script() -> Script:
    """A server with one adapter, which says yes of what ends in an odd number."""
    return Script(p=lambda _, prompt: 0.8 if _number(prompt) % 2 else 0.3, adapters=("judge-lora",), owner="vllm")


def _number(prompt: str) -> int:
    return int("".join(char for char in prompt.partition("parse_")[2][:3] if char.isdecimal()))


@pytest.fixture
def config(tmp_path: Path, script: Script) -> Iterator[Path]:
    """A config of both models, beside the file of the small one, while its server runs."""
    write_model(tmp_path / "small.gguf")
    with ScriptedServer(script) as server:
        path = tmp_path / "my.toml"
        path.write_text(CONFIG.replace("URL", server.url), encoding="utf-8")
        yield path


def test_a_server_answers_for_the_large_model(config: Path, script: Script) -> None:
    """Its prompts are of its own format and of survivors alone; steps and provenance name both models."""
    with Engine.open(config) as engine:
        report = engine.classify("fix it", ITEMS, "c")
        alone = engine.score("fix it", ITEMS, "c", "first")
        assert engine.n_cached == 0
    asked = [decision for decision in report.decisions if len(decision.steps) > 1]
    assert len(script.seen) == len(asked) > 0
    assert all(body["prompt"].startswith("<|im_start|>system") for _, _, body in script.seen)
    assert all("does it matter?" not in body["prompt"] for _, _, body in script.seen)
    for decision, (own,) in zip(report.decisions, alone, strict=True):
        first, *rest = decision.steps
        assert first.model == "small"
        assert first.p_yes == pytest.approx(own.p_yes, abs=1e-3)
        assert [step.model for step in rest] == ["large"] * len(rest)
        assert not rest or decision.label == ("yes" if int(decision.id) % 2 else "maybe")
    assert report.provenance.models["large"].adapters == {"judge": "gpu/base-model/judge-lora"}
    assert report.provenance.models["small"].model == load_model_sets(read_config(config))["small"].model_sha256


def test_locks_know_the_server(config: Path, script: Script) -> None:
    """Another model on the server is not what thresholds were tuned with."""
    found = []
    for model in ("base-model", "other-model"):
        script.model = model
        with Engine.open(config) as engine:
            made_by = engine.info.provenance_of(engine.cascade("c"))
            found.append((made_by, questions_at_hand(read_config(config), engine.cascade("c"), made_by)))
    assert found[0][0] != found[1][0]
    assert found[0][1] == found[1][1]


def test_commands_say_where_the_model_is(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``config show`` maps the stage to its model; ``doctor`` says that servers answer for it, and asks it."""
    assert main(["config", "show", "c", "--config", str(config), "--json"]) == ExitCode.DONE
    rows = json.loads(capsys.readouterr().out)["map"]
    assert [(row["stage"], row["model"], row["is_encoder"]) for row in rows] == [
        ("first", "small", False),
        ("second", "large", False),
    ]
    findings = {finding.name: finding for finding in examine(config)}
    assert all(finding.ok for finding in findings.values())
    assert findings["model large"].value == "not here: servers answer for it"
    assert findings["self-test"].value.startswith("cascade c: ")
    assert "tuning of small" in findings


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('"judge"\nyes', '"large/base"\nyes', r"models\.large\.path: is missing\. cascade\.c asks 'large/base'"),
        (
            '[adapters]\njudge = { server = "gpu", name = "judge-lora", model = "large" }',
            "",
            r"models\.large\.path: is missing, and no server answers for the model 'large'",
        ),
        (', model = "large"', "", r"adapters\.judge\.model: is missing"),
        ('format = "qwen3"', 'path = "reader.gguf"', "a server has it, and its model is an encoder"),
    ],
)
def test_what_no_server_answers_is_refused(config: Path, before: str, after: str, words: str) -> None:
    """A model without a file cannot be asked alone, or by nobody; an encoder's adapter cannot be on a server."""
    write_tiny(config.parent / "reader.gguf")
    text = config.read_text(encoding="utf-8")
    assert before in text
    changed = text.replace(before, after)
    if "[adapters]" not in changed:
        changed = changed.replace('adapter = "judge"', 'adapter = "small/base"\nmarker = "no"')
    config.write_text(changed, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        Engine.open(config)


@pytest.mark.slow
def test_autotune_measures_what_is_here(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of four models both decoders are measured and found again; encoder and server are named as left out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_tiny(tmp_path / "reader.gguf")
    write_model(tmp_path / "other.gguf", pre="llama-bpe")
    more = '[models.reader]\npath = "reader.gguf"\n[models.other]\npath = "other.gguf"\nn_threads = 1\nn_ctx = 1024\n'
    config.write_text(more + config.read_text(encoding="utf-8"), encoding="utf-8")
    command = ["doctor", "--autotune", "--seconds", "1", "--config", str(config)]
    assert main([*command, "--json"]) == ExitCode.DONE
    out, err = capsys.readouterr()
    tunings = json.loads(out)["tunings"]
    assert {entry["name"] for entry in tunings} == {"small", "other"}
    assert len({entry["file"] for entry in tunings}) == 2
    assert "reader is left out: an encoder has no settings to measure" in err
    assert "large is left out: a model on a server has no settings to measure" in err
    findings = {finding.name: finding.value for finding in examine(config)}
    assert all("a full cache makes decodes" in findings[f"tuning of {name}"] for name in ("small", "other"))
    with Engine.open(config) as engine:
        costs = {name: info.costs for name, info in engine.info.backends.items()}
        engine.classify("fix it", ITEMS, "c")
    for entry in tunings:
        assert costs[entry["name"]].per_token_ms == entry["tuning"]["costs"]["per_token_ms"]
