"""``cascade log``: what is shown, written, read, taken out and told, and how bad input is refused."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console

from cascade import DecisionLog, Outcome, Task
from cascade.cli import main
from cascade.cli.log_output import show_requests, show_summary, show_task
from cascade.cli.output import ExitCode
from cascade.log.database import opened_log
from cascade.log.store import last_requests, read_outcomes_of, read_requests
from cascade.log.summary import summary
from tests.helpers.requests import plain_items
from tests.log.logs import bytes_of, n_rows, rows_of, scripted

TASK = Task(text="fix the parser", seeds=("src/p.py",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A log with three requests about two tasks, and one outcome."""
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log, scripted(log) as engine:
        engine.classify(TASK, plain_items(5))
        engine.classify(TASK, plain_items(2))
        engine.classify("Stromboli", plain_items(1))
        engine.record_outcome(Outcome(task=TASK.id, item="item-0", label="primary", source="ann"))
    return tmp_path / "log.sqlite3"


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command that works prints; nothing on stderr."""
    assert main(list(map(str, arguments))) == ExitCode.DONE
    out, err = capsys.readouterr()
    assert not err
    return out


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object, code: ExitCode = ExitCode.BAD_INPUT) -> str:
    """The one line of a command that is refused."""
    assert main(list(map(str, arguments))) == code
    out, err = capsys.readouterr()
    assert not out
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def test_show_counts_what_is_there(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests, decisions by label and status, calls by stage with their mean p, reuse, outcomes and size."""
    shown = _run(capsys, "log", "show", "--log", path, "--last", 2)
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "3 requests; 8 decisions about 2 tasks" in lines
    assert "24 calls, 0 of them answered from the log (0%); 0 answers kept for that" in lines
    assert "1 outcome: 1 label; 2 of the decisions have one" in lines
    assert "precision supporting 8 100.0%" in lines
    assert "8 decided" in lines
    assert "precision relevant relevant 8 0.900" in lines
    assert sum("precision 1 3" in line or "precision 2 6" in line for line in lines) == 2
    found = json.loads(_run(capsys, "log", "show", "--log", path, "--json"))
    assert (found["requests"], found["decisions"], found["tasks"], found["lost"]) == (3, 8, 2, 0)
    assert found["labels"] == {"precision": {"supporting": 8}}
    assert found["bytes"] == len(bytes_of(path))


def test_show_tells_all_of_a_task(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task is found by the beginning of its id, with its decisions, answers and outcomes."""
    shown = _run(capsys, "log", "show", "--log", path, "--task", TASK.id[:6])
    assert shown.startswith(f"task {TASK.id}: fix the parser\n")
    assert "primary (ann)" in shown
    assert "relevant 0.90, primary 0.20, supporting 0.70" in shown
    assert "Stromboli" not in shown
    found = json.loads(_run(capsys, "log", "show", "--log", path, "--task", TASK.id, "--json"))
    assert [len(one["decisions"]) for one in found["requests"]] == [5, 2]
    assert found["task"] == {"text": TASK.text, "seeds": list(TASK.seeds)}
    assert found["requests"][0]["decisions"][0]["calls"][0]["question"]["type"] == "noul"
    assert [one["label"] for one in found["outcomes"]] == ["primary"]
    assert "the log has no such task" in _refused(capsys, "log", "show", "--log", path, "--task", "zz")
    assert "2 tasks have ids that begin so" in _refused(capsys, "log", "show", "--log", path, "--task", "")


def test_tables_fit_into_80_columns(
    path: Path,
) -> None:
    """No line of what a terminal of that width shows is longer."""
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False, markup=False)
    with opened_log(path) as database:
        show_summary(console, Path("log.sqlite3"), summary(database, path))
        show_requests(console, last_requests(database, 3))
        show_task(console, TASK.id, list(read_requests(database, task=TASK.id)), read_outcomes_of(database, TASK.id))
    assert "supporting" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_export_and_import(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of records makes the same log elsewhere; a file that is there is not replaced without --force."""
    file, copy = tmp_path / "log.jevl", tmp_path / "copy.sqlite3"
    assert _run(capsys, "log", "export", file, "--log", path) == f"{file}: 9 records of {path}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert _run(capsys, "log", "export", "-", "--log", path) == file.read_text()
    told = _run(capsys, "log", "import", file, "--log", copy)
    assert told == f"{copy}: new are 3 requests, 8 decisions, 24 calls, 1 outcome\n"
    found = json.loads(_run(capsys, "log", "import", file, "--log", copy, "--json"))
    assert found["new"] == {"requests": 0, "decisions": 0, "calls": 0, "outcomes": 0}
    assert "is there already" in _refused(capsys, "log", "export", file, "--log", path)
    assert "Name a file" in _refused(capsys, "log", "export", "-", "--log", path, "--json")
    _run(capsys, "log", "export", file, "--log", copy, "--force")
    assert file.read_text() == _run(capsys, "log", "export", "-", "--log", path)


def test_a_bad_line_is_named_and_nothing_is_imported(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, one line with file, line and field, and the log is as it was, or not even there."""
    file, copy = tmp_path / "log.jevl", tmp_path / "copy.sqlite3"
    lines = _run(capsys, "log", "export", "-", "--log", path).splitlines()
    file.write_text("\n".join([*lines, '{"v": 1}']))
    assert _refused(capsys, "log", "import", file, "--log", copy).startswith(
        f"{file}, line 10: field 'id': it is missing"
    )
    assert not copy.exists()


def test_prune_takes_out_what_is_old(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Requests before a time go with their decisions, calls and texts; what is needed stays, and the file shrinks."""
    with opened_log(path) as database:
        database.execute("UPDATE requests SET at = at - 100 * 86400 WHERE task <> ?", (TASK.id,))
        database.execute("INSERT INTO answers VALUES (x'00', 1.0, 0.5, NULL)")
    before = bytes_of(path)
    dry = _run(capsys, "log", "prune", "--older-than", "30d", "--dry-run", "--log", path)
    assert "1 request with 1 decision, 1 answer kept for reuse, 0 outcomes, 1 text, question or tree would" in dry
    assert bytes_of(path) == before
    found = json.loads(_run(capsys, "log", "prune", "--older-than", "30d", "--log", path, "--json"))
    counts = {name: found[name] for name in ("requests", "decisions", "answers", "outcomes", "bodies")}
    assert counts == {"requests": 1, "decisions": 1, "answers": 1, "outcomes": 0, "bodies": 1}
    assert b"Stromboli" not in bytes_of(path)
    assert (n_rows(path, "requests"), n_rows(path, "decisions"), n_rows(path, "calls")) == (2, 7, 21)
    _run(capsys, "log", "show", "--log", path, "--task", TASK.id)
    _run(capsys, "log", "prune", "--before", "2100-01-01", "--outcomes", "--log", path)
    assert {n_rows(path, table) for table in ("bodies", "requests", "decisions", "calls", "outcomes")} == {0}


def test_prune_gives_room_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A large log is a small file once all of it is pruned, while another process has it open."""
    with DecisionLog(tmp_path / "log.sqlite3", texts="full") as log, scripted(log) as engine:
        for at in range(100):
            engine.classify(f"task {at} " + "long " * 400, plain_items(3))
        log.flush()
        found = json.loads(_run(capsys, "log", "prune", "--before", "2100-01-01", "--log", log.path, "--json"))
        assert found["bytes_freed"] > 200_000
        engine.classify("afterwards", plain_items(2))
        log.flush()
        assert (n_rows(log.path, "requests"), log.n_lost) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give exactly one of --older-than, such as 30d, and --before"),
        (("--older-than", "30"), "--older-than '30' is no age"),
        (("--before", "yesterday"), "--before 'yesterday' is no day or time"),
        (("--before", "2026-01-01", "--older-than", "1d"), "Give exactly one"),
    ],
)
def test_prune_refuses_ages_that_are_none(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str
) -> None:
    """The message says what was given and what is allowed."""
    assert words in _refused(capsys, "log", "prune", "--log", path, *arguments)


def test_outcomes_of_a_file(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines may name task, item, kind, label, value and source; what they leave out the command says."""
    file = tmp_path / "outcomes.jsonl"
    lines = [
        {"item": "item-1", "label": "excluded"},
        {"task": "other", "item": "x", "what": "used", "value": 0.5, "source": "bob"},
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert (
        main(["log", "outcome", "--task", TASK.id, "--file", str(file), "--source", "commit", "--log", str(path)]) == 0
    )
    out, err = capsys.readouterr()
    assert out == f"{path}: 2 outcomes recorded\n"
    assert "1 outcome is about items that the log has no decision on, such as 'x' of task 'other'" in err
    assert [row[2:] for row in rows_of(path, "outcomes")][1:] == [
        (TASK.id, "item-1", "label", "excluded", 1.0, "commit"), ("other", "x", "used", "", 0.5, "bob"),
    ]  # fmt: skip
    assert abs(rows_of(path, "outcomes")[-1][1] - time.time()) < 600


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"item": "i", "what": "used"}, "no task is given"),
        ({"task": "t", "what": "used"}, "field 'item': it is missing"),
        ({"task": "t", "item": "i"}, "a label is needed"),
        ({"task": "t", "item": "i", "what": "used", "label": "x"}, "none for other kinds"),
        ({"task": "t", "item": "i", "what": "used", "value": 1.5}, "field 'value'"),
        ({"task": "t", "item": "i", "what": "used", "wieght": 1}, "there is no such field"),
    ],
)
def test_bad_outcomes_are_refused_whole(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: dict[str, object], words: str
) -> None:
    """File and line are named, and no line of the file is kept."""
    file = tmp_path / "outcomes.jsonl"
    file.write_text("\n".join(map(json.dumps, [{"task": "t", "item": "i", "what": "used"}, line])))
    told = _refused(capsys, "log", "outcome", "--file", file, "--log", path)
    assert told.startswith(f"{file}, line 2: ")
    assert words in told
    assert n_rows(path, "outcomes") == 1


def test_outcomes_of_a_task_by_the_beginning_of_its_id(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A beginning is that of one task of the log, or refused; only a whole id may be one that is still to come."""
    file, to_come = tmp_path / "outcomes.jsonl", Task(text="later").id
    file.write_text('{"item": "item-1", "what": "used"}\n')

    def told(task: str) -> list[str]:
        return ["log", "outcome", "--task", task, "--file", str(file), "--log", str(path)]

    assert _run(capsys, *told(TASK.id[:6])) == f"{path}: 1 outcome recorded\n"
    assert rows_of(path, "outcomes")[-1][2] == TASK.id
    assert "the log has no such task, and one that is still to come needs its whole id" in _refused(capsys, *told("zz"))
    assert "2 tasks have ids that begin so" in _refused(capsys, *told(""))
    assert n_rows(path, "outcomes") == 2
    assert main(told(to_come)) == ExitCode.DONE
    assert f"such as 'item-1' of task '{to_come}'; they are kept" in capsys.readouterr().err
    assert rows_of(path, "outcomes")[-1][2] == to_come


def test_the_log_is_named_once(tmp_path: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--log, or the config's own, relative to its file; without either, or where none is there, a line says so."""
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n[log]\npath = "log.sqlite3"\n')
    assert _run(capsys, "log", "show", "--config", config) == _run(capsys, "log", "show", "--log", path)
    assert "Give --log FILE, or a config that has [log]" in _refused(capsys, "log", "show")
    assert "There is no log" in _refused(capsys, "log", "show", "--log", tmp_path / "none.sqlite3")
    assert not (tmp_path / "none.sqlite3").exists()


@pytest.mark.slow
def test_classify_keeps_and_reuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The task's id in the JSON is that of the log, --log keeps decisions, and a config may reuse answers."""
    items, log = tmp_path / "items.jsonl", tmp_path / "other.sqlite3"
    items.write_text('{"id": "1", "name": "Parser.feed"}\n{"id": "2", "name": "Cache"}\n')
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n[log]\npath = "own.sqlite3"\nreuse = true\n')
    asked = ("classify", "--task", "fix the parser", "--items", items, "--config", config, "--log", log)
    found = json.loads(_run(capsys, *asked, "--json"))
    assert found["task_id"] == Task(text="fix the parser").id
    assert found["stats"]["calls_reused"] == 0
    shown = _run(capsys, *asked)
    assert f"{found['stats']['calls']} of them answered from the log" in shown
    assert n_rows(log, "requests") == 2
    assert not (tmp_path / "own.sqlite3").exists()
