"""``cascade dataset export``: parts as labelled decisions, which a log takes back in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade import read_config, shipped_config
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.log.records import record_id
from tests.dataset.logs import labelled_log
from tests.log.logs import rows_of

PRECISION = read_config(shipped_config()).cascades()["precision"]


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A dataset of ten tasks of four items."""
    labelled_log(tmp_path / "log.sqlite3")
    out = tmp_path / "set"
    named = ["--log", str(tmp_path / "log.sqlite3"), "--out", str(out)]
    assert main(["dataset", "build", "--cascade", "precision", *named]) == ExitCode.DONE
    capsys.readouterr()
    return out


def test_records_have_questions_and_true_answers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One for each item, with the questions whose answer its label decides, under the hash of what is asked."""
    file = tmp_path / "train.jevl"
    assert main(["dataset", "export", str(folder), str(file)]) == ExitCode.DONE
    assert "28 records of part train" in capsys.readouterr().out
    first, second, third, *_ = map(json.loads, file.read_text().splitlines())
    assert first["label"] == {"relevant": True, "primary": True}
    assert second["label"] == {"relevant": True, "primary": False, "supporting": True}
    assert third["label"] == {"relevant": False}
    assert first["request"]["questions"]["primary"] == {"type": "noul", "instructions": "must it be changed?"}
    assert first["request"]["state"]["task"] == {"text": "task number 0"}
    assert first["request"]["state"]["item"] == {"id": "item-0", "name": "item_0", "kind": "function"}
    assert first["id"] == record_id(first["model"], first["request"]["state"], first["request"]["questions"])
    assert first["meta"]["dataset"]["weight"] == 1


def test_a_log_takes_them_in(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Records are what ``cascade log import`` reads, and true answers become outcomes; - is stdout."""
    assert main(["dataset", "export", str(folder), "-", "--part", "test"]) == ExitCode.DONE
    file, log = tmp_path / "test.jevl", tmp_path / "other.sqlite3"
    file.write_text(capsys.readouterr().out)
    assert main(["log", "import", str(file), "--log", str(log)]) == ExitCode.DONE
    outcomes = rows_of(log, "outcomes")
    assert len(outcomes) == 2 * (2 + 3 + 1 + 3)
    assert {row[4] for row in outcomes} == {"relevant", "primary", "supporting"}


def test_what_cannot_be_exported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there, a folder without a dataset, and a cascade that lost a label are refused."""
    there = tmp_path / "there.jevl"
    there.write_text("mine")
    config = tmp_path / "own.toml"
    config.write_text(
        '[model]\npath = "m.gguf"\nformat = "embedded"\n[cascade.precision]\ninstructions = "?"\n'
        'labels = ["no", "yes"]\n[[cascade.precision.stages]]\nname = "a"\nquestion = "?"\nadapter = "base"\n'
        'yes = { label = "yes" }\nno = { label = "no" }\n'
    )
    for arguments, message in (
        ([folder, there], "is there already"),
        ([tmp_path, tmp_path / "new.jevl"], "is no dataset"),
        ([folder, tmp_path / "new.jevl", "--config", config], "which cascade 'precision' lacks"),
        ([folder, "-", "--json"], "would both write to stdout"),
    ):
        assert main(["dataset", "export", *map(str, arguments)]) == ExitCode.BAD_INPUT
        assert message in capsys.readouterr().err
    assert there.read_text() == "mine"
    assert not (tmp_path / "new.jevl").exists()
