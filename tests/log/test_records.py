"""A log as JSON lines: the field's form, there and back to the byte, and bad input refused whole."""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade import DecisionLog, Engine, Group, Item, Outcome, ScriptedBackend, Task
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError, InputError
from cascade.log.database import opened_log
from cascade.log.record_import import add_entries, read_entries
from cascade.log.records import read_records
from cascade.log.truths import truths
from tests.helpers.requests import plain_items, symbols
from tests.helpers.shipped import ADAPTERS, CASCADES
from tests.helpers.values import item as ticket
from tests.helpers.values import says, tickets
from tests.log.logs import n_rows, scripted

KEYS = ["v", "id", "ts", "model", "request", "answers"]


def exported(path: Path) -> str:
    """A log as JSON lines."""
    with opened_log(path, must_exist=True) as database:
        return "".join(json.dumps(record, allow_nan=False) + "\n" for record in read_records(database))


def imported(text: str, path: Path, folder: Path) -> dict[str, int]:
    """Add JSON lines to a log."""
    file = folder / "given.jevl"
    file.write_text(text, encoding="utf-8")
    entries = list(read_entries(file))
    with opened_log(path) as database:
        return add_entries(database, entries)


def filled(path: Path, texts: str) -> Path:
    """A log with requests that were answered, scored, failed and empty, of two cascades, and outcomes of all kinds."""
    items = [Item(id="a", name="parse", doc="ünï", group=Group(name="p.py"), evidence=("file9",)), *plain_items(3)]
    task = Task(text="fix the parser - now", seeds=("src/p.py",))
    with DecisionLog(path, texts=texts) as log:
        with scripted(log) as engine:
            engine.classify(task, items)
            engine.classify("another task", plain_items(2))
            engine.classify("no items", [])
            engine.score("scored", plain_items(2), "precision", "relevant")
            engine.record_outcome(Outcome(task=task.id, item="a", label="excluded", source="ann"))
            engine.record_outcome(Outcome(task=task.id, item="a", label="primary", source="bob"))
            engine.record_outcome([Outcome(task=task.id, item="a", what="used", value=0.25)] * 2)
            engine.record_outcome(Outcome(task="unknown", item="nobody", what="wrong"))
        broken = ScriptedBackend({"relevant": 0.9}, ADAPTERS, fail_at=0)
        with scripted(log, backend=broken) as engine, pytest.raises(BackendError):
            engine.classify("a failure", plain_items(1))
        settings = EngineSettings(log=log)
        with Engine(ScriptedBackend(says, frozenset({"kinds"})), {"tickets": tickets()}, settings=settings) as engine:
            engine.classify("sort", [ticket(1, "10_70_20", "0_10_90"), ticket(2, "80_10_10")], "tickets")
    return path


@pytest.mark.parametrize("texts", ["hash", "full"])
def test_a_log_there_and_back_is_the_same(tmp_path: Path, texts: str) -> None:
    """Export, import into an empty log and export again give the same bytes, whatever the log holds."""
    first = exported(filled(tmp_path / "log.sqlite3", texts))
    new = imported(first, tmp_path / "copy.sqlite3", tmp_path)
    assert exported(tmp_path / "copy.sqlite3") == first
    assert new == {"requests": 6, "decisions": 10, "calls": n_rows(tmp_path / "log.sqlite3", "calls"), "outcomes": 5}
    for table in ("bodies", "requests", "decisions", "calls", "outcomes"):
        assert n_rows(tmp_path / "copy.sqlite3", table) == n_rows(tmp_path / "log.sqlite3", table)


def test_a_second_import_changes_nothing(tmp_path: Path) -> None:
    """What the log has already is left as it is, in any order of the lines, and half of a file adds to the other."""
    text = exported(filled(tmp_path / "log.sqlite3", "full"))
    lines = text.splitlines(keepends=True)
    copy = tmp_path / "copy.sqlite3"
    imported("".join(lines[len(lines) // 2 :]), copy, tmp_path)
    imported("".join(reversed(lines)), copy, tmp_path)
    assert imported(text, copy, tmp_path) == {"requests": 0, "decisions": 0, "calls": 0, "outcomes": 0}
    assert sorted(map(len, exported(copy).splitlines())) == sorted(len(line) - 1 for line in lines)


def test_records_have_the_form(tmp_path: Path) -> None:
    """Required keys, an id that is the digest of model, questions and state, and answers as System One gives them."""
    records = [json.loads(line) for line in exported(filled(tmp_path / "log.sqlite3", "full")).splitlines()]
    assert len(records) == 17
    for record in records:
        assert list(record)[: len(KEYS)] == KEYS
        assert record["v"] == 1
        told = {
            "model": record["model"],
            "questions": record["request"]["questions"],
            "state": record["request"]["state"],
        }
        canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert record["id"] == f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
        assert record["answers"].keys() == record["request"]["questions"].keys()
    first = records[0]
    assert first["request"]["state"]["task"] == {"text": "fix the parser - now", "seeds": ["src/p.py"]}
    assert first["request"]["questions"]["relevant"] == {
        "type": "noul", "instructions": "does this symbol matter at all?",
    }  # fmt: skip
    assert first["answers"]["relevant"] == {"type": "noul", "noul": pytest.approx(0.9)}
    assert first["label"] == {"relevant": True, "primary": True}  # the correction counts
    assert all("label" not in record for record in records[1:])
    by_kind = {
        answer["type"]: answer for record in records for answer in record["answers"].values() if record["answers"]
    }
    assert by_kind["score"]["score"] == pytest.approx(1.9)
    assert by_kind["score"]["legend"] == ["can wait", "this week", "today"]
    assert by_kind["score"]["probabilities"].keys() == {"0", "1", "2"}
    assert by_kind["choice"]["choice"] in by_kind["choice"]["probabilities"]


def test_tiers_are_asked_by_name(tmp_path: Path) -> None:
    """A stage that asks by tier has a question for each, named with its tier."""
    items = [Item(id="x.py", name="x.py", tiers=("dependency", "co_change"))]
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        with scripted(log, backend=ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS)) as engine:
            engine.classify("fix it", items, "scope")
        log.flush()
        (record,) = map(json.loads, exported(log.path).splitlines())
    first = CASCADES["scope"].stages[0].name
    assert {f"{first}/dependency", f"{first}/co_change"} <= record["request"]["questions"].keys()


def test_true_answers_follow_from_the_tree() -> None:
    """A label that only one answer of a stage leads to decides it; one that several lead to, or none, does not."""
    tree = CASCADES["precision"].as_dict()
    assert truths(tree, "excluded") == {"relevant": False}
    assert truths(tree, "primary") == {"relevant": True, "primary": True}
    assert truths(tree, "type_context") == {"relevant": True, "primary": False, "supporting": False}
    assert truths(tree, "no such label") == {}
    assert truths({}, "primary") == {}
    choice = tickets().as_dict()
    assert truths(choice, "wish") == {"kind": "wish"}
    assert truths(choice, "now") == {"kind": "bug"}


@pytest.mark.slow
def test_the_fields_own_reader_takes_the_lines(tmp_path: Path) -> None:
    """The reader of jevkit reads every record, and its digest of each is the record's id."""
    jevkit = pytest.importorskip("jevkit_core", reason="jevkit-core is not installed")
    file = tmp_path / "log.jevl"
    file.write_text(exported(filled(tmp_path / "log.sqlite3", "full")), encoding="utf-8")
    records = list(jevkit.read_records(str(file)))
    assert len(records) == 17
    for record in records:
        assert jevkit.Record(record.model, record.state, record.questions, record.answers).id == record.id


def test_records_of_other_programs_are_taken_in(tmp_path: Path) -> None:
    """A record without anything of a log's own is a request of one item; its labels are outcomes."""
    questions = {
        "ok": {"type": "noul", "instructions": "Is it ok?"},
        "kind": {"type": "choice", "criteria": {"a": None}},
    }
    answers = {
        "ok": {"type": "noul", "noul": 0.75},
        "kind": {"type": "choice", "choice": "a", "probabilities": {"a": 1}},
    }
    record = {
        "v": 1, "id": "sha256:0", "ts": "2026-11-29T08:00:00Z", "model": "m-1", "label": {"ok": True, "kind": "a"},
        "request": {"state": {"mail": "hello"}, "questions": questions}, "answers": answers, "more": [1],
    }  # fmt: skip
    path = tmp_path / "log.sqlite3"
    line = json.dumps(record) + "\n"
    assert imported(line, path, tmp_path) == {"requests": 1, "decisions": 1, "calls": 2, "outcomes": 2}
    assert imported(line, path, tmp_path) == {"requests": 0, "decisions": 0, "calls": 0, "outcomes": 0}
    first, *outcomes = (json.loads(one) for one in exported(path).splitlines())
    assert first["request"]["questions"] == questions
    assert first["answers"]["ok"] == {"type": "noul", "noul": 0.75}
    assert first["meta"]["cascade"]["request"]["at"] == 1795939200.0
    assert [one["meta"]["cascade"]["what"] for one in outcomes] == ["ok", "kind=a"]


def _drop(*keys: str) -> Callable[[dict[str, Any]], None]:
    """Takes a value out of a record."""

    def drop(record: dict[str, Any]) -> None:
        *above, last = keys
        for key in above:
            record = record[key]
        del record[last]

    return drop


def _put(value: object, *keys: str) -> Callable[[dict[str, Any]], None]:
    """Puts a value into a record."""

    def put(record: dict[str, Any]) -> None:
        *above, last = keys
        for key in above:
            record = record[key]
        record[last] = value

    return put


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (_drop("v"), "v"),
        (_put(2, "v"), "v"),
        (_put("1", "v"), "v"),
        (_drop("request", "questions"), "request.questions"),
        (_put(2, "answers", "relevant", "noul"), "answers.relevant.noul"),
        (_put("x", "meta", "cascade", "kind"), "meta.cascade.kind"),
        (_drop("meta", "cascade", "kind"), "meta.cascade.kind"),
        (_put(-1, "meta", "cascade", "place"), "meta.cascade.place"),
        (_put("gone", "meta", "cascade", "status"), "meta.cascade.status"),
        (_put("short", "meta", "cascade", "request", "tree"), "meta.cascade.request.tree"),
        (_put("x", "request", "state"), "request.state.item"),
        (
            _put({"0" * 64: {"kind": "tree", "body": {}}}, "meta", "cascade", "bodies"),
            f"meta.cascade.bodies.{'0' * 64}",
        ),
    ],
)
def test_bad_records_are_refused_whole(tmp_path: Path, change: Callable[[dict[str, Any]], None], field: str) -> None:
    """The message names file, line and field, and nothing of the file is taken in."""
    lines = exported(filled(tmp_path / "log.sqlite3", "full")).splitlines()
    bad = json.loads(lines[1])
    change(bad)
    lines[1] = json.dumps(bad)
    copy = tmp_path / "copy.sqlite3"
    with pytest.raises(InputError) as caught:
        imported("\n".join(lines), copy, tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'given.jevl'}, line 2: field '{field}'")
    assert not copy.exists()


def test_packed_files_are_read(tmp_path: Path) -> None:
    """A file may be gzipped, as all files of JSON lines may."""
    text = exported(filled(tmp_path / "log.sqlite3", "hash"))
    file = tmp_path / "log.jevl.gz"
    file.write_bytes(gzip.compress(text.encode()))
    with opened_log(tmp_path / "copy.sqlite3") as database:
        add_entries(database, list(read_entries(file)))
    assert exported(tmp_path / "copy.sqlite3") == text


def test_a_failing_disk_leaves_a_log_as_it_was(tmp_path: Path) -> None:
    """Where the file is full in the middle of an import, nothing of the import is in it."""
    text = exported(filled(tmp_path / "log.sqlite3", "full"))
    (tmp_path / "given.jevl").write_text(text, encoding="utf-8")
    copy = tmp_path / "copy.sqlite3"
    with opened_log(copy):
        pass
    with sqlite3.connect(copy, isolation_level=None) as database:
        database.execute(f"PRAGMA max_page_count = {database.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            add_entries(database, list(read_entries(tmp_path / "given.jevl")))
    database.close()
    assert n_rows(copy, "requests") == n_rows(copy, "bodies") == n_rows(copy, "outcomes") == 0


@pytest.mark.slow
def test_names_that_are_no_text_are_kept_as_escapes(tmp_path: Path) -> None:
    """A lone surrogate, as names of files may have, costs no entry, and the log can be exported."""
    item = Item(id="caf\udce9.py", name="caf\udce9", doc="\ud800")
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log:
        with scripted(log) as engine:
            engine.classify("open caf\udce9.py", [item])
        log.flush()
        assert log.n_lost == 0
        (record,) = map(json.loads, exported(log.path).splitlines())
    assert record["meta"]["cascade"]["item"] == r"caf\udce9.py"


@pytest.mark.slow
def test_a_log_of_the_shipped_model_comes_back(tmp_path: Path) -> None:
    """Real probabilities survive to the last bit."""
    task, items = symbols(5, 20)
    with DecisionLog(tmp_path / "log.sqlite3") as log:
        with Engine.open(log=log) as engine:
            engine.classify(task, items, budget=None)
        log.flush()
        text = exported(log.path)
    imported(text, tmp_path / "copy.sqlite3", tmp_path)
    assert exported(tmp_path / "copy.sqlite3") == text
