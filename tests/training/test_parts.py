"""What a training reads: files parted by task, and the parts of a dataset."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from cascade.errors import InputError
from cascade.training.parts import chosen_to_validate, read_parts
from tests.training.lessons import row, tiny_config, write_dataset, write_rows


def _dataset(folder: Path) -> Path:
    """A dataset of eight tasks, four and two."""
    return write_dataset(folder, [json.dumps(row(number)) + "\n" for number in range(14)])


def test_files_are_parted_by_task(tmp_path: Path) -> None:
    """A fifth of the tasks validates, none of them is learned, and the same seed chooses the same ones."""
    cascade = tiny_config(tmp_path).cascades()["two"]
    path = write_rows(tmp_path / "rows.jsonl", 30)
    parts = read_parts([path], cascade, "first", 7, print)
    train, valid = ({labelled.task.id for labelled in some} for some in (parts.train, parts.valid))
    assert len(valid) == 6
    assert len(train) == 24
    assert not train & valid
    assert read_parts([path], cascade, "first", 7, print).sha256 == parts.sha256
    assert read_parts([path], cascade, "first", 8, print).sha256 != parts.sha256
    assert parts.manifest["sources"][0]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_so_many_tasks_validate_as_are_wished(tmp_path: Path) -> None:
    """A number in place of the fifth, which the manifest tells; a dataset has a part of its own."""
    config = tiny_config(tmp_path)
    parts = read_parts([write_rows(tmp_path / "rows.jsonl", 30)], config.cascades()["two"], "first", 7, print, 9)
    assert (len(parts.train), len(parts.valid)) == (21, 9)
    assert parts.manifest["split"] == {"by": "task", "seed": 7, "tasks": 9}
    with pytest.raises(InputError, match="Leave --valid out"):
        read_parts([_dataset(tmp_path / "data")], config.cascades()["two"], "first", 7, print, 9)


def test_tasks_of_one_id_stay_together() -> None:
    """The choice is of ids, so that a task that is there twice cannot be on both sides."""
    assert chosen_to_validate(["a", "b", "a", "c"], 1) <= {"a", "b", "c"}
    assert len(chosen_to_validate(["a", "a"], 1)) == 1


def test_a_dataset_brings_its_parts(tmp_path: Path) -> None:
    """The parts for training and validation are taken as they are, and the manifest is kept; the test part is not."""
    folder = _dataset(tmp_path / "data")
    parts = read_parts([folder], tiny_config(tmp_path).cascades()["two"], "first", 7, print)
    assert [labelled.task.text for labelled in parts.valid] == ["t8", "t9", "t10", "t11"]
    assert [labelled.task.text for labelled in parts.train] == [f"t{number}" for number in range(8)]
    assert parts.manifest["made"] == "today"
    assert parts.sha256 == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_a_dataset_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """One of another cascade or adapter, one that was changed, and a task in two parts are refused."""
    cascade = tiny_config(tmp_path).cascades()["two"]
    folder = _dataset(tmp_path / "data")
    good = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    twice = good["parts"] | {"train": good["parts"]["valid"]}
    for change, words in (
        ({"cascade": "three"}, "was made for cascade 'three', not for adapter 'first'"),
        ({"adapter": "second"}, "was made for adapter 'second' of cascade 'two'"),
        ({"parts": twice}, "a task is in two parts"),
    ):
        (folder / "manifest.json").write_text(json.dumps(good | change), encoding="utf-8")
        with pytest.raises(InputError, match=words):
            read_parts([folder], cascade, "first", 7, print)
    (folder / "manifest.json").write_text(json.dumps(good), encoding="utf-8")
    (folder / "train.jsonl").write_text(json.dumps(row(1)), encoding="utf-8")
    with pytest.raises(InputError, match=r"train\.jsonl"):
        read_parts([folder], cascade, "first", 7, print)
    with pytest.raises(InputError, match="is a folder, and with it nothing else can be given"):
        read_parts([folder, folder], cascade, "first", 7, print)


def test_how_a_dataset_weighs_classes_is_read(tmp_path: Path) -> None:
    """By label, or by the true answer where it was made for one adapter; files of tasks balance nothing."""
    config, folder = tiny_config(tmp_path), _dataset(tmp_path / "data")
    cascade = config.cascades()["two"]
    told = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for more, label, factor in (
        ({"balance": {"out": 0.25, "in": 1.0}}, "out", 0.25),
        ({"balance": {"yes": 1.0, "no": 0.5}, "adapter": "first"}, "out", 0.5),
        ({"balance": {"yes": 1.0, "no": 0.5}, "adapter": "first"}, "far", 1.0),
        ({}, "out", 1.0),
    ):
        (folder / "manifest.json").write_text(json.dumps(told | more), encoding="utf-8")
        found = read_parts([folder], cascade, "first", 7, print).balance
        assert found.of(label, [cascade.true_answers()[label].get("a")]) == factor
    assert read_parts([write_rows(tmp_path / "rows.jsonl")], cascade, "first", 7, print).balance.of("out", [False]) == 1
    (folder / "manifest.json").write_text(json.dumps(told | {"balance": {"out": 0}}), encoding="utf-8")
    with pytest.raises(InputError, match="balance"):
        read_parts([folder], cascade, "first", 7, print)


def test_something_is_left_to_learn_from(tmp_path: Path) -> None:
    """Tasks that all validate, by ``--valid`` or as they are all the same, teach nothing."""
    cascade = tiny_config(tmp_path).cascades()["two"]
    path = write_rows(tmp_path / "rows.jsonl", 10)
    with pytest.raises(InputError, match=r"All 10 tasks would validate.*or a smaller --valid"):
        read_parts([path], cascade, "first", 7, print, 10)
