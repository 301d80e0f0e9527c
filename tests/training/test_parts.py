"""What a training reads: files parted by task, and the parts of a dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.training.parts import chosen_to_validate, read_parts
from tests.training.lessons import row, tiny_config, write_rows


def _dataset(folder: Path) -> Path:
    """A dataset of three parts."""
    folder.mkdir()
    parts = {}
    for name, numbers in (("train", range(8)), ("valid", range(8, 12)), ("test", range(12, 14))):
        text = "".join(json.dumps(row(number)) + "\n" for number in numbers)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        parts[name] = {"file": f"{name}.jsonl", "sha256": hashlib.sha256(text.encode()).hexdigest(), "tasks": 1}
    (folder / "manifest.json").write_text(json.dumps({"version": 1, "label": "in", "parts": parts}), encoding="utf-8")
    return folder


def test_files_are_parted_by_task(tmp_path: Path) -> None:
    """A fifth of the tasks validates, none of them is learned, and the same seed chooses the same ones."""
    cascade = tiny_config(tmp_path).cascades()["two"]
    path = write_rows(tmp_path / "rows.jsonl", 30)
    parts = read_parts([path], cascade, 7, print)
    train, valid = ({labelled.task.id for labelled in some} for some in (parts.train, parts.valid))
    assert len(valid) == 6
    assert len(train) == 24
    assert not train & valid
    assert read_parts([path], cascade, 7, print).sha256 == parts.sha256
    assert read_parts([path], cascade, 8, print).sha256 != parts.sha256
    assert parts.manifest["sources"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_tasks_of_one_id_stay_together() -> None:
    """The choice is of ids, so that a task that is there twice cannot be on both sides."""
    assert chosen_to_validate(["a", "b", "a", "c"], 1) <= {"a", "b", "c"}
    assert len(chosen_to_validate(["a", "a"], 1)) == 1


def test_a_dataset_brings_its_parts(tmp_path: Path) -> None:
    """The parts for training and validation are read, and the manifest is kept; the test part is left alone."""
    folder = _dataset(tmp_path / "data")
    (folder / "test.jsonl").unlink()
    parts = read_parts([folder], tiny_config(tmp_path).cascades()["two"], 7, print)
    assert [labelled.task.text for labelled in parts.valid] == ["t8", "t9", "t10", "t11"]
    assert len(parts.train) == 8
    assert parts.manifest["label"] == "in"
    assert parts.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_a_dataset_that_changed_is_refused(tmp_path: Path) -> None:
    """A part that is not what the manifest says, one that is missing, and a task in two parts are refused."""
    cascade = tiny_config(tmp_path).cascades()["two"]
    folder = _dataset(tmp_path / "data")
    (folder / "train.jsonl").write_text(json.dumps(row(1)), encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl: is not what its manifest says"):
        read_parts([folder], cascade, 7, print)
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    told["parts"]["train"] = told["parts"]["valid"]
    (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match="a task is in two parts"):
        read_parts([folder], cascade, 7, print)
    del told["parts"]["train"]
    (folder / "manifest.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(InputError, match="has no part 'train'"):
        read_parts([folder], cascade, 7, print)
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"manifest\.json: field 'version'"):
        read_parts([folder], cascade, 7, print)
    with pytest.raises(InputError, match="is a folder, and with it nothing else can be given"):
        read_parts([folder, folder], cascade, 7, print)
