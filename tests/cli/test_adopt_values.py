"""Choices and scores in the shadow and in a promotion: a better adapter is found and goes live."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import pytest

from cascade import Engine, Item, Outcome, Task
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.registry.live import read_state
from tests.helpers.judge import BETTER, FOLDER, build_dataset, judged_tasks, write_worse
from tests.helpers.service import PATIENCE_S
from tests.log.logs import rows_of

pytestmark = pytest.mark.slow

KINDS = {
    "choice": 'values = ["low", "high"]\n',
    "score": 'levels = ["small", "large"]\ncuts = [0.2]\nnext = [{ label = "low" }, { label = "high" }]\n',
}
CONFIG = """
[model]
path = "{folder}/embedded.gguf"
[adapters]
judge = "live.gguf"
{log}
[cascade.c]
labels = ["low", "high"]
[[cascade.c.stages]]
name = "size"
question = "how large?"
adapter = "judge"
{kind}
"""
LOG = '[log]\npath = "log.sqlite3"\nredact = false'


def _config(folder: Path, live: Path, kind: str, log: str = LOG) -> Path:
    folder.mkdir(exist_ok=True)
    shutil.copy(live, folder / "live.gguf")
    path = folder / "my.toml"
    path.write_text(CONFIG.format(folder=FOLDER, log=log, kind=KINDS[kind]))
    return path


def _labelled(folder: Path, kind: str, tasks: list[tuple[Task, list[Item]]]) -> list[list[str]]:
    """High is what the better adapter finds largest, three of eight."""
    found = []
    with Engine.open(_config(folder, BETTER, kind, log=""), log=None) as engine:
        for task, items in tasks:
            p = [list((step.probabilities or {}).values())[1] for (step,) in engine.score(task, items, "c")]
            found.append(["high" if own >= sorted(p)[5] else "low" for own in p])
    return found


def _dataset(folder: Path, kind: str) -> Path:
    tasks = judged_tasks(60)
    return build_dataset(folder, tasks, _labelled(folder, kind, tasks), folder / "my.toml")


def _shadowed(config: Path, tasks: list[tuple[Task, list[Item]]], labels: list[list[str]]) -> None:
    """Live requests that the shadow follows, and what became of their items."""
    with Engine.open(config) as engine:
        for (task, items), own in zip(tasks, labels, strict=True):
            report = engine.classify(task, items, "c", budget=None)
            engine.record_outcome([
                Outcome(task=report.task_id, item=item.id, label=label)
                for item, label in zip(items, own, strict=True)
            ])  # fmt: skip
        event = threading.Event()
        assert any(engine.shadow.requests == len(tasks) or event.wait(0.01) for _ in range(int(PATIENCE_S / 0.01)))
        assert engine.shadow.answers == 8 * len(tasks)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_better_adapter_of_values_is_found_and_goes_live(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is followed in the shadow and tested on the frozen part; one that is worse is refused."""
    worse = write_worse(tmp_path / "worse.gguf")
    dataset = _dataset(tmp_path / "data", kind)
    config = _config(tmp_path / "mine", worse, kind)
    given = ["--config", str(config)]
    assert main(["adopt", str(BETTER), "--adapter", "judge", "--shadow", *given]) == ExitCode.DONE
    tasks = judged_tasks(12)
    _shadowed(config, tasks, _labelled(tmp_path / "more", kind, tasks))
    # Values of a caller's own question are outside text, which a log of hashes does not have.
    assert all(p >= 0 for row in rows_of(config.parent / "log.sqlite3", "shadows") for p in json.loads(row[7]))
    capsys.readouterr()
    promote = ["--promote", "--data", str(dataset), "--json", *given]
    assert main(["adopt", "judge", *promote]) == ExitCode.DONE
    told = json.loads(capsys.readouterr().out)
    (test,) = told["tests"][0]["test"]
    assert (test["stage"], test["n_tasks"], test["n_rows"]) == ("size", 24, 192)
    assert test["low"] > 0
    seen = told["shadow"]
    assert seen["answers"] == 96
    assert 0 < seen["mean_shift"] < 1
    if kind == "choice":  # what is true of a score is not told by a label of the log
        assert seen["known"] == 96
        assert seen["test"][0]["after"] > seen["test"][0]["before"]
    else:
        assert (seen["known"], seen["test"]) == (0, [])
    assert main(["adopt", str(worse), "--adapter", "judge", *promote]) == ExitCode.BAD_INPUT
    assert "its AUC per task at stage size of cascade c is -" in capsys.readouterr().err
    assert read_state(config.parent / "registry").adapters["judge"].version == "judge/0001"
