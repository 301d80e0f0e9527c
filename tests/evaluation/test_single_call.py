"""One call for all labels: what it asks, of which model and server, and what it makes of the answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Cascade, Config, Engine, Item, Task, shipped_config
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.backends.scripted import ByteTokenizer
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import ConfigError, InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.single_call import SingleCall, label_starts, one_stage
from tests.helpers.server_configs import LABELS, config, items, labels
from tests.helpers.shipped import CASCADES, SHIPPED

MODEL = shipped_config().parent / "embedded.gguf"
STARTS = label_starts(LABELS, load_vocabulary(MODEL))


@pytest.mark.parametrize("cascade", CASCADES.values(), ids=list(CASCADES))
def test_each_item_is_asked_once(cascade: Cascade) -> None:
    """One stage for all tiers, whose two answers are labels of the cascade, under its first adapter."""
    found = one_stage(cascade)
    (stage,) = found.stages
    (question,) = stage.questions.values()
    assert not stage.is_tiered
    assert question.adapter == cascade.adapters()[0]
    assert all(label in question.wording for label in cascade.labels)
    assert set(found.labels) <= set(cascade.labels)


def test_labels_are_told_apart_by_their_first_token() -> None:
    """A byte a token: labels must start differently, and with a character that is one token."""
    assert label_starts(["excluded", "primary"], ByteTokenizer()) == ("e", "p")
    with pytest.raises(ConfigError, match="'read' and 'relevant' start with the same token"):
        label_starts(["read", "relevant"], ByteTokenizer())
    with pytest.raises(ConfigError, match="'übrig' starts with a token that is no text"):
        label_starts(["übrig", "primary"], ByteTokenizer())


@pytest.mark.slow
def test_an_engine_reads_other_labels() -> None:
    """The tokens of the texts that are given stand for yes and no, in the order given."""
    cascade = CASCADES["precision"]
    vocabulary = load_vocabulary(MODEL)
    first, second, *_ = label_starts(cascade.labels, vocabulary)
    asked = {"precision": one_stage(cascade)}
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
    starts = label_starts(cascade.labels, load_vocabulary(MODEL))
    n_told: list[None] = []
    level = SingleCall(hurried, cascade, starts, lambda: n_told.append(None)).level(tasks)
    assert (level.depth, level.calls_per_item) == (0, 1.0)
    assert len(n_told) == len(cascade.labels) - 1


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
    tokens = {text: vocabulary.encode(text, special=False)[0] for text in STARTS}
    script = Script(p=lambda *_: 0.9, adapters=("one", "two"), tokens=tokens)
    with ScriptedServer(script) as server:
        config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"', model=f'path = "{MODEL}"')
        command = ["depth", "--cascade", "files", "--data", str(write_tasks(tmp_path / "tasks.jsonl")), "--json"]
        assert main([*command, "--config", str(tmp_path / "servers.toml")]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["no_depth_0"] is None
    assert [row["depth"] for row in found["depths"]] == [0, 1, 2]
    assert found["depths"][0]["accuracy"] == pytest.approx(1 / 3)
    biased = [tuple(token for token, _ in body["logit_bias"]) for _, _, body in script.seen]
    first, *others = (tokens[text] for text in STARTS)
    assert biased[-12:] == [(others[0], first)] * 6 + [(others[1], first)] * 6


def unfit(kind: str, folder: Path, url: str, model: str = 'format = "embedded"') -> Config:
    """A config whose first adapter is on a server of a kind."""
    return config(folder, f'kind = "{kind}"\nurl = "{url}"', model=model)


@pytest.mark.parametrize(
    ("kind", "model", "words"),
    [
        ("systemone", f'path = "{MODEL}"', r"servers\.far: System One answers yes or no alone"),
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
    """A server of yes and no alone: the depths from 1 on are measured, and the reason is given."""
    script = Script(p=lambda *_: 0.9, adapters=("one", "two"), owner="vllm")
    with ScriptedServer(script) as server:
        unfit("systemone", tmp_path, server.url)
        command = ["depth", "--cascade", "files", "--data", str(write_tasks(tmp_path / "tasks.jsonl")), "--json"]
        assert main([*command, "--config", str(tmp_path / "servers.toml")]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert [row["depth"] for row in found["depths"]] == [1, 2]
    assert "System One answers yes or no alone" in found["no_depth_0"]
