"""``cascade dataset build``: what comes of a log and of files, what stays, and how bad input is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cascade import Item, Outcome, Task, read_config, shipped_config
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.evaluation.dataset import Labelled, read_tasks
from tests.dataset.logs import items_of, labelled_log, logged, told
from tests.helpers.shipped import shipped_text

PRECISION = read_config(shipped_config()).cascades()["precision"]
PARTS = ("train", "valid", "test")
CHOICE = """
[model]
path = "model.gguf"
format = "embedded"
[cascade.kinds]
instructions = "What is it?"
labels = ["other", "bug", "wish"]
[[cascade.kinds.stages]]
name = "kind"
kind = "choice"
question = "what is it?"
adapter = "base"
values = ["bug", "wish"]
next = { bug = { label = "bug" }, wish = { stage = "sure" } }
[[cascade.kinds.stages]]
name = "sure"
question = "is it a wish?"
adapter = "base"
yes = { label = "wish" }
no = { label = "other" }
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Ten tasks of four items, one of each label."""
    labelled_log(tmp_path / "log.sqlite3")
    return tmp_path / "log.sqlite3"


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The JSON of a command that works."""
    assert main([*map(str, arguments), "--json"]) == ExitCode.DONE
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: ExitCode = ExitCode.BAD_INPUT) -> str:
    """The one line of a command that is refused."""
    assert main(list(map(str, arguments))) == code
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def _build(capsys: pytest.CaptureFixture[str], log: Path | None, out: Path, *more: object) -> dict[str, Any]:
    named = ["--log", log] if log is not None else []
    return _run(capsys, "dataset", "build", "--cascade", "precision", "--out", out, *named, *more)


def _refused_build(capsys: pytest.CaptureFixture[str], log: Path, out: Path, *more: object) -> str:
    return _refused(capsys, "dataset", "build", "--cascade", "precision", "--out", out, "--log", log, *more)


def _parts(out: Path) -> dict[str, list[Labelled]]:
    """The tasks of each part, as other commands read them."""
    full = [part for part in PARTS if (out / f"{part}.jsonl").stat().st_size]
    return {part: read_tasks([out / f"{part}.jsonl"], PRECISION) if part in full else [] for part in PARTS}


def _labels(labelled: Labelled) -> dict[str, str]:
    return {item.id: label for item, label in zip(labelled.items, labelled.labels, strict=True)}


def _only(out: Path) -> Labelled:
    """The one task of a dataset."""
    (found,) = [labelled for part in _parts(out).values() for labelled in part]
    return found


def test_a_log_becomes_parts_by_time(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The latest tasks are tested on; the manifest has counts and hashes, and parts are read as labelled tasks are."""
    out = tmp_path / "set"
    manifest = _build(capsys, log, out)
    parts = _parts(out)
    assert {part: len(tasks) for part, tasks in parts.items()} == {"train": 7, "valid": 1, "test": 2}
    assert [one.task.text for one in parts["test"]] == ["task number 8", "task number 9"]
    times = [one.at or 0.0 for part in PARTS for one in parts[part]]
    assert times == sorted(times)
    assert times[0] > 0
    assert _labels(parts["train"][0])["item-1"] == "supporting"
    assert parts["train"][0].weights == ()
    for part in PARTS:
        entry = manifest["parts"][part]
        assert entry["sha256"] == hashlib.sha256((out / entry["file"]).read_bytes()).hexdigest()
        assert entry["items"] == 4 * entry["tasks"]
        assert entry["positives"] == 3 * entry["tasks"]
        assert entry["answers"]["supporting"] == {"no": entry["tasks"], "yes": entry["tasks"]}
    assert json.loads((out / "manifest.json").read_text())["cascade"] == "precision"
    card = (out / "card.md").read_text()
    assert "; its tasks are 0 to 0 days old." in card
    assert "| train | 7 | 28 |" in card
    assert "commit 40" in card
    shown = _run(capsys, "dataset", "show", out)
    assert shown["sha256"] == hashlib.sha256((out / "manifest.json").read_bytes()).hexdigest()


def test_the_test_part_stays(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A later build keeps its bytes, adds later tasks, and trains on none of it under any id, case or layout."""
    out = tmp_path / "set"
    _build(capsys, log, out)
    before = (out / "test.jsonl").read_bytes()
    trained = {one.task.text for one in _parts(out)["train"]}
    items = items_of(4, "late")
    again = [Task(text="task number 8", seeds=("src/other.py",)), Task(text="Task  NUMBER\n9")]
    late = [*again, *(Task(text=f"late number {at}") for at in range(10))]
    logged(log, [(task, items) for task in late])
    told(log, [Outcome(task=task.id, item=item.id, label="primary") for task in late for item in items])
    manifest = _build(capsys, log, out)
    parts = _parts(out)
    assert (out / "test.jsonl").read_bytes().startswith(before)
    assert [one.task.text for one in parts["test"][2:]] == ["late number 8", "late number 9"]
    assert trained <= {one.task.text for part in ("train", "valid") for one in parts[part]}
    in_training = {" ".join(one.task.text.lower().split()) for part in ("train", "valid") for one in parts[part]}
    assert not in_training & {"task number 8", "task number 9"}
    assert manifest["left_out"] == {"their tasks are in the test part, which stays as it is": 8}
    frozen = (out / "test.jsonl").read_bytes()
    labelled_log(log, 10, prefix="later")
    _build(capsys, log, out, "--freeze")
    assert (out / "test.jsonl").read_bytes() == frozen
    assert len(_parts(out)["train"]) > len(parts["train"])


def test_what_was_trained_on_is_never_tested(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks of earlier training parts stay out of the test part, though the log forgot them and they come again."""
    out, other = tmp_path / "set", tmp_path / "other.sqlite3"
    _build(capsys, log, out)
    labelled_log(other, 12)
    _build(capsys, other, out, "--test", 0.5)
    assert [one.task.text for one in _parts(out)["test"]] == [f"task number {at}" for at in (8, 9, 10, 11)]


def test_corrections_of_the_test_part(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels that differ now are counted; the part takes them over where that is asked for, and not otherwise."""
    out, task = tmp_path / "set", Task(text="task number 9")
    _build(capsys, log, out)
    told(log, [Outcome(task=task.id, item="item-0", label="excluded", source="commit")])
    assert _build(capsys, log, out)["test_differs"] == 1
    assert "`--correct-test` takes them over" in (out / "card.md").read_text()
    assert _labels(_parts(out)["test"][1])["item-0"] == "primary"
    found = _build(capsys, log, out, "--correct-test")
    assert found["corrected_outcomes"] == 1
    assert _labels(_parts(out)["test"][1])["item-0"] == "excluded"


def test_hashes_alone_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the log keeps no text the message says how many items and what to set; nothing is left behind."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, items_of(3))], texts="hash")
    told(log, [Outcome(task=task.id, item=f"item-{at}", label="primary") for at in range(3)])
    message = _refused_build(capsys, log, out)
    assert "3 items have a label, and the log keeps the text of none" in message
    assert 'texts = "full" under [log]' in message
    assert not out.exists()
    logged(log, [(Task(text="fix another"), items_of(2))])
    told(log, [Outcome(task=Task(text="fix another").id, item="item-0", label="primary")])
    assert _build(capsys, log, out)["left_out"] == {"their texts are not kept in the log": 3}


def test_empty_logs_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No request, requests of another cascade, no outcome, and outcomes of items that were never judged."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [])
    assert "no request of cascade 'precision'; it has none at all" in _refused_build(capsys, log, out)
    logged(log, [(task, items_of(3))])
    other = _refused(capsys, "dataset", "build", "--cascade", "scope", "--out", out, "--log", log)
    assert "no request of cascade 'scope'; it has some of 'precision'" in other
    assert "3 items were judged, and no outcome tells the label of one" in _refused_build(capsys, log, out)
    told(log, [Outcome(task=task.id, item="elsewhere", label="primary")])
    assert "Those that are there are about 1 item that it did not judge." in _refused_build(capsys, log, out)
    assert "no such cascade" in _refused(capsys, "dataset", "build", "--cascade", "nope", "--out", out, "--log", log)
    assert "no request of cascade 'precision' since 20" in _refused_build(capsys, log, out, "--since", "2099-01-01")
    assert not out.exists()


def test_labels_of_another_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A label that the cascade does not have is named, counted, and read under its new name where that is said."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, items_of(3))])
    told(log, [Outcome(task=task.id, item="item-0", label="needed")])
    message = _refused_build(capsys, log, out)
    assert "labels that cascade 'precision' does not have: 'needed' (1)" in message
    assert "--rename OLD=NEW" in message
    assert "'nope' is no label of cascade" in _refused_build(capsys, log, out, "--rename", "needed=nope")
    _build(capsys, log, out, "--rename", "needed=primary")
    assert _labels(_only(out)) == {"item-0": "primary"}


def test_sources_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The most trusted source counts, then the latest; conflicts are listed, corrections are none."""
    log, task = tmp_path / "log.sqlite3", Task(text="fix it")
    logged(log, [(task, items_of(4))])
    said = [
        ("item-0", "primary", "ann"), ("item-0", "excluded", "ben"),  # the latest
        ("item-1", "primary", "ann"), ("item-1", "excluded", "oracle:big@1"),  # a person before an oracle
        ("item-2", "primary", "ann"), ("item-2", "supporting", "ann"),  # a correction
    ]  # fmt: skip
    told(log, [Outcome(task=task.id, item=item, label=label, source=source) for item, label, source in said])
    manifest = _build(capsys, log, tmp_path / "set", "--no-balance")
    assert _labels(_only(tmp_path / "set")) == {"item-0": "excluded", "item-1": "primary", "item-2": "supporting"}
    assert (manifest["conflicts"], manifest["corrected_outcomes"]) == (2, 1)
    listed = [json.loads(line) for line in (tmp_path / "set" / "conflicts.jsonl").read_text().splitlines()]
    assert listed[0]["labels"] == {"ben": "excluded", "ann": "primary"}
    assert listed[0]["kept"] == "excluded"
    _build(capsys, log, tmp_path / "other", "--trust", "ann=0.25", "--no-balance")
    found = _only(tmp_path / "other")
    assert _labels(found) == {"item-0": "excluded", "item-1": "excluded", "item-2": "supporting"}
    assert found.weights == (1.0, 0.5, 0.25)
    _build(capsys, log, tmp_path / "without", "--trust", "ann=0")
    assert _labels(_only(tmp_path / "without")) == {"item-0": "excluded", "item-1": "excluded"}
    assert "a number in [0, 1] is needed" in _refused_build(capsys, log, tmp_path / "no", "--trust", "ann=2")


def test_a_task_that_was_asked_several_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All of its items are taken, each as it was when its label became known."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    first, second, third = (Item(id="a", name="parse", doc=doc) for doc in ("Old.", "Then.", "New."))
    other = Item(id="b", name="read")
    logged(log, [(task, [first]), (task, [second, other])])
    told(log, [Outcome(task=task.id, item=item, label="primary") for item in ("a", "b")])
    logged(log, [(task, [third])])
    _build(capsys, log, out)
    assert {item.id: item.doc for item in _only(out).items} == {"a": "Then.", "b": ""}


def test_equal_items_count_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of items of which the model reads the same one is kept, and labels that differ are told of."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, [Item(id=id_, name="parse") for id_ in "abc"])])
    labels = {"a": "primary", "b": "primary", "c": "excluded"}
    told(log, [Outcome(task=task.id, item=item, label=label, source="ann") for item, label in labels.items()])
    manifest = _build(capsys, log, out)
    assert manifest["left_out"] == {"the model reads the same of another item of the task": 2}
    assert manifest["conflicts"] == 1
    assert "equal items" in (out / "card.md").read_text()
    assert len(_only(out).items) == 1


def test_kinds_of_outcomes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds mean labels as they are told to, wrong tells of the label that was given, and the rest may have one."""
    log, task = tmp_path / "log.sqlite3", Task(text="fix it")
    logged(log, [(task, items_of(6))])  # all come to supporting
    told(
        log,
        [
            Outcome(task=task.id, item="item-0", what="changed", value=0.75),
            Outcome(task=task.id, item="item-1", what="used", value=0.0),
            Outcome(task=task.id, item="item-2", what="wrong", value=0.0),
            Outcome(task=task.id, item="item-3", what="wrong", value=1.0),
            Outcome(task=task.id, item="item-4", what="liked"),
        ],
    )
    kinds = ("--outcome", "changed=primary", "--outcome", "used=supporting,excluded", "--no-balance")
    _build(capsys, log, tmp_path / "set", *kinds)
    found = _only(tmp_path / "set")
    assert _labels(found) == {"item-0": "primary", "item-1": "excluded", "item-2": "supporting"}
    assert found.weights == (0.75, 1.0, 1.0)
    _build(capsys, log, tmp_path / "rest", *kinds, "--rest", "type_context", "--trust", "rest=0.5")
    found = _only(tmp_path / "rest")
    assert _labels(found)["item-5"] == "type_context"
    assert found.weights[-1] == 0.5
    assert "3 of 6 labels of this build are that of `--rest`" in (tmp_path / "rest" / "card.md").read_text()
    assert "a name and a value are needed" in _refused_build(capsys, log, tmp_path / "no", "--outcome", "changed")
    assert "'nope' is no label" in _refused_build(capsys, log, tmp_path / "no", "--outcome", "changed=nope")


def test_classes_balance_by_weight(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No item is dropped: every class weighs the same together, and the rarest class counts 1."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, items_of(5))])
    labels = ["primary", *["excluded"] * 4]
    told(log, [Outcome(task=task.id, item=f"item-{at}", label=label) for at, label in enumerate(labels)])
    manifest = _build(capsys, log, out)
    assert _only(out).weights == (1.0, *[0.25] * 4)
    assert manifest["balance"] == {"primary": 1.0, "excluded": 0.25}
    assert _build(capsys, log, tmp_path / "other", "--no-balance")["balance"] == {}
    assert manifest["parts"]["train"]["labels"] == {"excluded": 4, "primary": 1}
    assert "with fewer than 30" in (out / "card.md").read_text()


def test_one_class_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset of one class is built, and its card and a note say that nothing can be learned from it."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, items_of(2))])
    told(log, [Outcome(task=task.id, item=f"item-{at}", label="excluded") for at in range(2)])
    assert main(["dataset", "build", "--cascade", "precision", "--out", str(out), "--log", str(log)]) == ExitCode.DONE
    out_, err = capsys.readouterr()
    assert "nothing can be learned from one class" in err
    assert "train" in out_
    assert "nothing can be learned from one class" in (out / "card.md").read_text()


def test_items_of_one_adapter(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only items whose label tells its true answer are taken, and its yes and no weigh the same together."""
    out = tmp_path / "set"
    manifest = _build(capsys, log, out, "--adapter", "primary")
    assert manifest["adapter"] == "primary"
    assert manifest["parts"]["train"]["answers"] == {"primary": {"no": 14, "yes": 7}}
    assert manifest["parts"]["train"]["positives"] == 7
    assert _parts(out)["train"][0].weights == (1.0, 0.5, 0.5)
    assert "holds a dataset of cascade 'precision' and adapter 'primary'" in _refused_build(capsys, log, out)
    assert "Its adapters are relevant, primary, supporting" in _refused_build(
        capsys, log, tmp_path / "no", "--adapter", "edge"
    )


def test_an_oracle_is_trained_on_and_not_tested_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items of the test part have labels of people or commits alone; a task that an oracle labelled is not in it."""
    log, out = tmp_path / "log.sqlite3", tmp_path / "set"
    tasks = [Task(text=f"task {at}") for at in range(4)]
    logged(log, [(task, items_of(3)) for task in tasks])
    oracle = "oracle:big@1"
    told(log, [Outcome(task=one.id, item="item-0", label="primary", source=oracle) for one in tasks])
    told(log, [Outcome(task=one.id, item="item-1", label="excluded", source="ann") for one in tasks[:3]])
    manifest = _build(capsys, log, out)
    (tested,) = _parts(out)["test"]
    assert tested.task.text == "task 2"
    assert _labels(tested) == {"item-1": "excluded"}
    assert manifest["left_out"] == {"their labels are an oracle's, and they are of the test part": 1}


def test_commits_and_labelled_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mined commits are split by their dates and merged with labelled files and the log, each task once."""
    rows = []
    for at in range(5):
        symbols = [
            {"path": "a.py", "qualname": f"f{n}", "kind": "function", "label": label}
            for n, label in enumerate(("primary", "excluded"))
        ]
        date = f"2025-0{9 - at}-01T10:00:00+02:00"
        row = {"repo": "o/r", "commit": f"{at}", "date": date, "task": f"commit {at}", "seed": "a.py", "files": []}
        rows.append(row | {"symbols": symbols})
    mined, own, out = tmp_path / "mined.jsonl.gz", tmp_path / "own.jsonl", tmp_path / "set"
    mined.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))
    items = [{"id": "1", "name": "Parser", "label": "primary"}]
    own.write_text(json.dumps({"task": "no time", "items": items}) + "\n")
    manifest = _build(capsys, None, out, "--data", mined, own, "--test", 0.4, "--valid", 0.2)
    parts = _parts(out)
    assert [one.task.text for one in parts["test"]] == ["commit 1", "commit 0"]
    assert [one.task.text for one in parts["valid"]] == ["commit 2"]
    assert {one.task.text for one in parts["train"]} == {"commit 3", "commit 4", "no time"}
    assert manifest["sources"][0]["first"] == "2025-05-01T08:00:00Z"
    assert parts["test"][0].repository == "o/r"
    bad = tmp_path / "bad.jsonl"
    bad.write_text(json.dumps({"task": "x", "date": "yesterday", "items": items}) + "\n")
    message = _refused(capsys, "dataset", "build", "--cascade", "precision", "--out", tmp_path / "no", "--data", bad)
    assert "bad.jsonl, line 1: field 'date'" in message
    assert not (tmp_path / "no").exists()


def test_names_of_files_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card has no sign of a file's name that a terminal would act on, nor one that is no UTF-8."""
    data, out = tmp_path / os.fsdecode(b"a\x1b[31m\xff\n.jsonl"), tmp_path / "set"
    item = {"kind": "method", "name": "Parser.feed"}
    items = [item | {"id": label, "name": label, "label": label} for label in PRECISION.answers]
    data.write_text(json.dumps({"task": "fix it", "items": items}))
    _build(capsys, None, out, "--data", data)
    untrusted = ("--cascade", "precision", "--out", tmp_path / "no", "--data", data, "--trust", f"{data}=0")
    assert "4 because --trust gives their source 0" in _refused(capsys, "dataset", "build", *untrusted)
    card = (out / "card.md").read_text(encoding="utf-8")
    assert "a [31m  .jsonl" in card
    assert card.replace("\n", "").isprintable()


@pytest.mark.parametrize("date", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "9999-99-99"])
def test_dates_that_no_clock_has_are_refused(date: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names file, line and field."""
    data = tmp_path / "data.jsonl"
    item = {"id": "1", "kind": "method", "name": "Parser.feed", "label": "primary"}
    data.write_text(json.dumps({"task": "fix it", "date": date, "items": [item]}))
    told = ("--cascade", "precision", "--out", tmp_path / "set", "--data", data)
    assert "data.jsonl, line 1: field 'date': a time such as" in _refused(capsys, "dataset", "build", *told)
    assert not (tmp_path / "set").exists()


def test_tasks_that_are_kept_out(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of the tasks of other files is in any part."""
    out, other = tmp_path / "set", tmp_path / "other"
    _build(capsys, log, out)
    manifest = _build(capsys, log, other, "--keep-out", out / "test.jsonl")
    texts = {one.task.text for tasks in _parts(other).values() for one in tasks}
    assert texts == {f"task number {at}" for at in range(8)}
    assert manifest["left_out"] == {"their tasks are kept out": 8}
    every = [word for part in PARTS for word in ("--keep-out", out / f"{part}.jsonl")]
    message = _refused_build(capsys, log, tmp_path / "no", *every)
    assert "No item is left for the dataset: 40 because their tasks are kept out" in message
    bad = tmp_path / "bad.jsonl"
    for line, field in (('{"task": 5}', "task"), ('{"task": "x", "seeds": 5}', "seeds"),
                        ('{"task": "x", "seeds": [5]}', "seeds")):  # fmt: skip
        bad.write_text(line)
        message = _refused_build(capsys, log, tmp_path / "no", "--keep-out", bad)
        assert f"bad.jsonl, line 1: field '{field}'" in message


def test_weights_go_by_what_is_seldom_labelled(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items of a label that is seldom looked at count more, and a label of which none is known is told of."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, items_of(10))])
    told(log, [Outcome(task=task.id, item=f"item-{at}", label="excluded") for at in range(5)])
    manifest = _build(capsys, log, out)
    assert manifest["selection"] == [{"given": "supporting", "judged": 10, "labelled": 5, "weight": 1.0}]
    assert "Which items are labelled was no random choice" in (out / "card.md").read_text()


def test_secrets_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Items whose text was redacted stay, and the card says how many."""
    log, out, task = tmp_path / "log.sqlite3", tmp_path / "set", Task(text="fix it")
    logged(log, [(task, [Item(id="1", name="key", doc="AKIAIOSFODNN7EXAMPLE"), Item(id="2", name="other")])])
    told(log, [Outcome(task=task.id, item=item, label="primary") for item in "12"])
    assert _build(capsys, log, out)["redacted_items"] == 1
    assert "1 item had a secret, which reads [redacted]" in (out / "card.md").read_text()


def test_questions_that_have_changed(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The card says which questions the log was written under others; other thresholds are no change."""
    same, other = tmp_path / "same.toml", tmp_path / "other.toml"
    same.write_text(shipped_text().replace("threshold = 0.46", "threshold = 0.5"))
    first = _build(capsys, log, tmp_path / "same", "--config", same)
    assert first["changed_questions"] == []
    assert first["questions"] == _build(capsys, log, tmp_path / "shipped")["questions"]
    other.write_text(same.read_text().replace("does this symbol matter at all?", "is this symbol of use?"))
    second = _build(capsys, log, tmp_path / "other", "--config", other)
    assert second["questions"] != first["questions"]
    (change,) = second["changed_questions"]
    assert change.startswith("10 requests of ")
    assert change.endswith("had other question 'relevant'")
    assert f"{change}; the labels are kept." in (tmp_path / "other" / "card.md").read_text()


def test_tiers_and_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each tier's adapter has the items of its tier, and of a choice each value is counted."""
    files = tmp_path / "files.jsonl"
    rows = [("a.py", ["dependency"], "relevant"), ("b.py", ["dependency", "metadata"], "irrelevant")]
    items = [{"id": name, "name": name, "tiers": tiers, "label": label} for name, tiers, label in rows]
    files.write_text(json.dumps({"task": "fix it", "items": items}) + "\n")
    data = ("--data", files, "--out")
    answers = _run(capsys, "dataset", "build", "--cascade", "scope", *data, tmp_path / "scope")["parts"]["train"][
        "answers"
    ]
    assert answers == {"dependency": {"no": 1, "yes": 1}, "metadata": {"no": 1}}
    metadata = (*data, tmp_path / "metadata", "--adapter", "metadata")
    assert _run(capsys, "dataset", "build", "--cascade", "scope", *metadata)["parts"]["train"]["items"] == 1
    config = tmp_path / "own.toml"
    config.write_text(CHOICE)
    rows = [("1", [], "bug"), ("2", [], "bug"), ("3", [], "wish")]
    items = [{"id": name, "name": name, "label": label} for name, _, label in rows]
    files.write_text(json.dumps({"task": "sort", "items": items}) + "\n")
    kinds = (*data, tmp_path / "kinds", "--config", config)
    manifest = _run(capsys, "dataset", "build", "--cascade", "kinds", *kinds)
    assert manifest["parts"]["train"]["answers"] == {"base": {"bug": 2, "wish": 1, "yes": 1}}


def test_files_that_are_no_dataset(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder of other files, a file, a changed part and a later version are refused; nothing is changed."""
    out = tmp_path / "set"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert "holds other files, such as 'mine.txt'" in _refused_build(capsys, log, out)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    assert "is no folder" in _refused_build(capsys, log, out / "mine.txt")
    assert "is no dataset" in _refused(capsys, "dataset", "show", out)
    good = tmp_path / "good"
    _build(capsys, log, good)
    (good / "train.jsonl").write_text("{}\n")
    message = _refused_build(capsys, log, good)
    assert "train.jsonl: was changed" in message
    assert "train.jsonl: was changed" in _refused(capsys, "dataset", "show", good)
    manifest = json.loads((good / "manifest.json").read_text())
    (good / "manifest.json").write_text(json.dumps(manifest | {"version": 2}))
    assert "is of version 2; this release reads up to 1" in _refused(capsys, "dataset", "show", good)
    for text, words in (("[1]", "is an array"), ("", "is not JSON"), ("[" * 100_000, "is not JSON")):
        (good / "manifest.json").write_text(text)
        assert f"manifest.json: {words}" in _refused(capsys, "dataset", "show", good)
    other = tmp_path / "other"
    _build(capsys, log, other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps(manifest | {"files": {}}))
    assert "field 'files.tasks': it is missing" in _refused_build(capsys, log, other)
