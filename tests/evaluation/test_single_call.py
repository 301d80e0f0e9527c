"""One call for all labels: what it asks, of which model and server, and what it makes of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Cascade, Config, Engine, Item, Task, shipped_config
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import ConfigError, InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.single_call import SingleCall, one_stage
from tests.helpers.server_configs import config, items, labels
from tests.helpers.shipped import CASCADES, SHIPPED, shipped_text

MODEL = shipped_config().parent / "embedded.gguf"


@pytest.mark.parametrize("cascade", CASCADES.values(), ids=list(CASCADES))
def test_each_item_is_asked_once(cascade: Cascade) -> None:
    """One choice among all labels for all tiers, under the first adapter."""
    found = one_stage(cascade)
    (stage,) = found.stages
    (question,) = stage.questions.values()
    assert not stage.is_tiered
    assert question.adapter == cascade.adapters()[0]
    assert tuple(value.name for value in question.values) == found.labels == cascade.labels
    assert found.dropped == cascade.dropped


@pytest.mark.slow
def test_an_engine_reads_other_labels() -> None:
    """The tokens of the texts that are given stand for yes and no, in the order given."""
    vocabulary = load_vocabulary(MODEL)
    first, second = "primary", "supporting"
    asked = {"precision": CASCADES["precision"]}
    item = Item(id="1", kind="function", name="read_config")
    found = []
    for pair in ((second, first), (first, second)):
        with Engine.open(SHIPPED, cascades=asked, labels=pair) as engine:
            assert engine.info.provenance.label_tokens == tuple(
                vocabulary.encode(text, special=False)[0] for text in pair
            )
            found.append(engine.classify("read the config", [item], "precision").decisions[0].steps[0].p_yes)
    assert found[0] == pytest.approx(1 - found[1], abs=1e-6)
    assert found[0] != pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"labels": "yn"}, "labels is 'yn'"),
        ({"labels": ("yes",)}, "labels is "),
        ({"labels": ("yes", 0)}, r"labels\[1\] is 0"),
        ({"cascades": ["precision"]}, "cascades is "),
        ({"cascades": {"precision": "precision"}}, r"cascades\['precision'\] is 'precision'"),
    ],
)
def test_what_an_engine_cannot_run_is_refused(given: dict[str, Any], words: str) -> None:
    """Cascades by name and two texts are needed; that is said before a model is loaded."""
    with pytest.raises(InputError, match=words):
        Engine.open(SHIPPED, **given)


@pytest.mark.slow
def test_a_budget_of_the_config_cuts_nothing() -> None:
    """Depth 0 is what one call costs and finds in full, whatever requests may take otherwise."""
    entry = SHIPPED.cascade["precision"].model_copy(update={"budget_ms": 0.001})
    hurried = SHIPPED.model_copy(update={"cascade": {"precision": entry}})
    symbols = tuple(Item(id=str(at), kind="function", name=f"read_{at}") for at in range(4))
    cascade = CASCADES["precision"]
    tasks = [Labelled(task=Task(text="read the config"), items=symbols, labels=(cascade.labels[0],) * 4)]
    n_told: list[None] = []
    level = SingleCall(hurried, cascade, lambda: n_told.append(None)).level(tasks)
    assert (level.depth, level.calls_per_item) == (0, 1.0)
    assert len(n_told) == len(tasks)


@pytest.mark.slow
def test_a_choice_of_the_config_is_depth_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A cascade of one choice among the same labels, with its own adapter, and a word on which of the two to ask."""
    text = (
        shipped_text()
        + """
[cascade.at_once]
instructions = "Which code symbols matter for the task?"
labels = ["excluded", "primary", "supporting", "type_context"]
[[cascade.at_once.stages]]
name = "label"
question = "which is it?"
adapter = "base"
values = ["excluded", "primary", "supporting", "type_context"]
"""
    )
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    rows = [{"id": str(at), "name": f"f{at}", "label": "excluded"} for at in range(3)]
    (tmp_path / "tasks.jsonl").write_text(json.dumps({"task": "fix it", "items": rows}), encoding="utf-8")
    command = ["depth", "--cascade", "precision", "--data", str(tmp_path / "tasks.jsonl")]
    assert main([*command, "--config", str(tmp_path / "mine.toml"), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["depth_0_by"] == "at_once"
    assert [row["depth"] for row in found["depths"]] == [0, 1, 2, 3]
    assert found["depths"][0]["calls_per_item"] == 1.0
    assert main([*command, "--config", str(tmp_path / "mine.toml")]) == ExitCode.DONE
    assert "Depth 0 is cascade 'at_once', one choice among all labels." in capsys.readouterr().out


def write_tasks(path: Path) -> Path:
    """Two labelled tasks of three items."""
    rows = [{"id": item.id, "name": item.name, "label": label} for item, label in zip(items(3), labels(3), strict=True)]
    lines = [json.dumps({"task": f"fix it {at}", "items": rows}) for at in range(2)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.slow
def test_a_server_is_asked_for_the_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cascade depth` puts the one call to the server that has the first adapter, for each label against the first."""
    vocabulary = load_vocabulary(MODEL)
    letters = [vocabulary.encode(text, special=False)[0] for text in "ABC"]
    tokens = dict(zip("ABC", letters, strict=True))
    script = Script(p=lambda *_: 0.9, adapters=("one", "two"), tokens=tokens)
    with ScriptedServer(script) as server:
        config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"', model=f'path = "{MODEL}"')
        command = ["depth", "--cascade", "files", "--data", str(write_tasks(tmp_path / "tasks.jsonl")), "--json"]
        assert main([*command, "--config", str(tmp_path / "servers.toml")]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["no_depth_0"] is None
    assert [row["depth"] for row in found["depths"]] == [0, 1, 2]
    assert found["depths"][0]["accuracy"] == pytest.approx(1 / 3)
    biased = [[token for token, _ in body["logit_bias"]] for _, _, body in script.seen]
    assert biased[-6:] == [letters] * 6


def unfit(kind: str, folder: Path, url: str, model: str = 'format = "embedded"') -> Config:
    """A config whose first adapter is on a server of a kind."""
    return config(folder, f'kind = "{kind}"\nurl = "{url}"', model=model)


@pytest.mark.parametrize(
    ("kind", "model", "words"),
    [
        ("systemone", f'path = "{MODEL}"', r"servers\.far: systemone answers yes or no alone"),
        ("completions", 'format = "embedded"', r"model\.path: only the file of the model that server 'far' has"),
        ("llama-server", 'format = "embedded"', r"model\.path: only the file"),
    ],
)
def test_servers_that_cannot_tell_labels_apart(kind: str, model: str, words: str, tmp_path: Path) -> None:
    """They are refused before anybody is asked, with the key and what to do."""
    opened = unfit(kind, tmp_path, "http://127.0.0.1:9", model)
    asked = {"files": one_stage(opened.cascades()["files"])}
    with pytest.raises(ConfigError, match=words):
        Engine.open(opened, cascades=asked, labels=("read", "dropped"))


def test_without_depth_0_the_rest_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server whose tokens nobody knows: the depths from 1 on are measured, and the reason is given."""
    script = Script(p=lambda *_: 0.9, adapters=("one", "two"), owner="vllm")
    with ScriptedServer(script) as server:
        unfit("completions", tmp_path, server.url)
        command = ["depth", "--cascade", "files", "--data", str(write_tasks(tmp_path / "tasks.jsonl")), "--json"]
        assert main([*command, "--config", str(tmp_path / "servers.toml")]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert [row["depth"] for row in found["depths"]] == [1, 2]
    assert "only the file of the model" in found["no_depth_0"]
