"""Every command with a stage that an encoder answers: alone, and beside a decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from adapters.recipe.tiny_encoder import write_tiny
from cascade import Engine, Item
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.service.metrics import Metrics
from tests.helpers.checkout import Checkout
from tests.helpers.gguf_files import write_model
from tests.helpers.service import PATIENCE_S, serving

pytestmark = pytest.mark.slow

N_TASKS, N_ITEMS = 40, 10
SAME = 1e-3  # in p(yes), as in test_encoder.py of the backend
ENCODER = 'path = "reader.gguf"\nn_threads = 1\nlimits = { task = 16, group = 16, item = 24 }\n'
DECODER = 'path = "decoder.gguf"\nn_threads = 1\nn_ctx = 1024\n'
LAST = """
question = "must it be changed?"
reads = "text"
max_text_tokens = 20
threshold = 0.42
yes = { label = "yes" }
no = { label = "no" }
"""
ALONE = f"""
[model]
{ENCODER}
[cascade.c]
labels = ["no", "yes"]
[[cascade.c.stages]]
name = "read"
adapter = "base"
{LAST}
"""
BOTH = f"""
[models.small]
{DECODER}
[models.reader]
{ENCODER}
[cascade.c]
labels = ["no", "yes"]
[[cascade.c.stages]]
name = "asked"
question = "does it matter?"
marker = "yes"
adapter = "small/base"
threshold = 0.01
yes = {{ stage = "read" }}
no = {{ label = "no" }}
[[cascade.c.stages]]
name = "read"
adapter = "reader/base"
{LAST}
"""


def item(number: int) -> dict[str, Any]:
    """An item of which no two of a task are alike."""
    word = "abcdefghijklmnopqrstuvwxyz"[number % 26]
    name = f"parse_{word}" + "_url" * (number % 3)
    return {"id": str(number), "kind": "function", "name": name, "text": f"def {word}(self): return self.cache[url]"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both models, both configs, and tasks whose labels are what the encoder says, of every tenth item the opposite."""
    found = tmp_path_factory.mktemp("encoder")
    write_tiny(found / "reader.gguf")
    write_model(found / "decoder.gguf")
    (found / "alone.toml").write_text(ALONE, encoding="utf-8")
    (found / "both.toml").write_text(BOTH, encoding="utf-8")
    rng = np.random.default_rng(1)
    rows = []
    with Engine.open(found / "alone.toml") as engine:
        for number in range(N_TASKS):
            task = f"fix the parser {'url ' * (number % 5)}{number}"
            drawn = [item(int(at)) for at in rng.choice(200, N_ITEMS, replace=False)]
            steps = engine.score(task, [Item(**one) for one in drawn], "c")
            p = [own[0].p_yes for own in steps]
            cut = np.quantile(p, 0.7)
            labels = [(one > cut) ^ (rng.random() < 0.1) for one in p]
            own = [one | {"label": "yes" if label else "no"} for one, label in zip(drawn, labels, strict=True)]
            rows.append({"task": task, "items": own, "repository": f"r{number % 4}"})
    lines = [json.dumps(row) + "\n" for row in rows]
    (found / "rows.jsonl").write_text("".join(lines[: N_TASKS * 3 // 4]), encoding="utf-8")
    (found / "new.jsonl").write_text("".join(lines[N_TASKS * 3 // 4 :]), encoding="utf-8")
    (found / "items.jsonl").write_text("".join(json.dumps(item(at)) + "\n" for at in range(30)), encoding="utf-8")
    return found


@pytest.fixture(params=["alone", "both"])
def config(request: pytest.FixtureRequest, folder: Path) -> Path:
    """A config whose last stage the encoder answers."""
    return folder / f"{request.param}.toml"


def run(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    """What a command that succeeds says as JSON."""
    code = main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    assert code == ExitCode.DONE, err
    return json.loads(out)


def data(config: Path, rows: str = "rows") -> list[object]:
    """The options of commands on labelled tasks."""
    return ["--cascade", "c", "--config", config, "--data", config.parent / f"{rows}.jsonl"]


def test_it_is_evaluated(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each stage has its figures; the encoder's tell that the labels are its own, a tenth of them aside."""
    found = run(capsys, "evaluate", *data(config))
    stages = found["stages"]
    assert list(stages) == (["read"] if config.stem == "alone" else ["asked", "read"])
    if config.stem == "alone":
        assert 0.7 < stages["read"]["auc_per_task"] < 1


def test_it_is_tuned_calibrated_and_checked(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Thresholds with a guarantee are found and used, hold for new tasks, and are refused for another encoder."""
    out = tmp_path / "c.thresholds.toml"
    run(capsys, "tune", *data(config), "--target", "recall=0.6", "--delta", "0.2", "--out", out)
    assert "read" in out.read_text(encoding="utf-8")
    if config.stem == "alone":
        assert "calibration" in out.read_text(encoding="utf-8")
    asked = [
        "classify",
        "--cascade",
        "c",
        "--items",
        config.parent / "items.jsonl",
        "--task",
        "fix",
        "--thresholds",
        out,
    ]
    steps = [one["steps"] for one in run(capsys, *asked, "--config", config)["decisions"]]
    assert all("p_calibrated" in own[-1] for own in steps) == (config.stem == "alone")
    checked = ["check", "c", "--config", config, "--data", config.parent / "new.jsonl", "--thresholds", out]
    assert main([*map(str, checked), "--json"]) in {ExitCode.DONE, ExitCode.FAILURE}
    assert json.loads(capsys.readouterr().out)
    write_tiny(tmp_path / "reader.gguf", "Q8_0")
    other = tmp_path / "other.toml"
    text = config.read_text(encoding="utf-8").replace("decoder.gguf", str(config.parent / "decoder.gguf"))
    other.write_text(text, encoding="utf-8")
    assert main([*map(str, asked), "--config", str(other)]) == ExitCode.BAD_INPUT
    assert "is not what these thresholds were tuned with" in capsys.readouterr().err


def test_its_depth_is_measured(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every depth has its figures; one call for all labels is asked where a decoder can be."""
    found = run(capsys, "depth", *data(config))
    assert [level["depth"] for level in found["depths"]] == ([1] if config.stem == "alone" else [0, 1, 2])


def test_it_is_audited(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The audit has the encoder's question among its tables, and its page is written."""
    found = run(capsys, "audit", *data(config), "--html", tmp_path / "page")
    assert "read" in json.dumps(found)
    assert list((tmp_path / "page").iterdir())


def test_it_is_explained(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A symbol's text is read from the repository, and the explanation has the encoder's answer."""
    checkout = Checkout(tmp_path / "repo")
    checkout.write({"parser.py": "def parse(text):\n    return text.split()\n"})
    words = ("explain", "parse", "--task", "fix the parser", "--repo", checkout.root, "--cascade", "c")
    found = run(capsys, *words, "--config", config)
    assert "read" in json.dumps(found)


def test_doctor_tells_encoder_and_decoder_apart(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The encoder is named as such, is scored in the self-test, and is said to have no tuning."""
    findings = {one["name"]: one["value"] for one in run(capsys, "doctor", "--config", config)["findings"]}
    name, of = ("model", "") if config.stem == "alone" else ("model reader", " of reader")
    assert "an encoder that reads pairs" in findings[name]
    assert findings["self-test"].startswith("cascade c: ")
    assert "no tuning" in findings[f"speed{of}"]
    assert ("tuning of small" in findings) == (config.stem == "both")


@pytest.fixture(scope="module")
def quantised(folder: Path) -> Path:
    """The encoder as llama.cpp's quantiser writes it."""
    target = folder / "small" / "reader.gguf"
    target.parent.mkdir()
    assert main(["quantize", str(folder / "reader.gguf"), str(target), "--type", "Q8_0"]) == ExitCode.DONE
    return target


def test_a_quantised_encoder_reads_as_before(quantised: Path, folder: Path) -> None:
    """``quantize`` keeps head and positions usable: the answers of the smaller file are near those of the larger."""
    found = []
    for path in (folder / "reader.gguf", quantised):
        config = path.parent / "alone.toml"
        config.write_text(ALONE, encoding="utf-8")
        with Engine.open(config) as engine:
            steps = engine.score("fix the parser", [Item(**item(at)) for at in range(20)], "c")
        found.append(np.array([own[0].p_yes for own in steps]))
    assert quantised.stat().st_size < (folder / "reader.gguf").stat().st_size
    assert 0 < np.abs(found[0] - found[1]).max() < 0.02


def test_it_is_served(config: Path) -> None:
    """The service answers as the engine does, and lists the encoder's question."""
    items = [item(at) for at in range(8)]
    with Engine.open(config) as engine:
        alone = engine.classify("fix the parser", [Item(**one) for one in items], "c")
        with serving(engine, Metrics()) as url, httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
            found = client.post("/v1/cascades/c", json={"task": "fix the parser", "items": items}).json()
            listed = client.get("/v1/cascades").json()["cascades"][0]["stages"][-1]
    assert [one["label"] for one in found["decisions"]] == [one.label for one in alone.decisions]
    for here, there in zip(alone.decisions, found["decisions"], strict=True):
        assert abs(here.steps[-1].p_yes - there["steps"][-1]["p_yes"]) < SAME
    assert listed["questions"][0]["max_text_tokens"] == 20
