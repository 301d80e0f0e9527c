"""``cascade run`` with the shipped model, as a user runs it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cascade import Task
from cascade.batch.job import Tally
from cascade.batch.reading import Source
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.cli.run import Shown
from tests.batch.scripted import task
from tests.batch.test_kills import read_lines, write_lines
from tests.helpers.terminal import on_terminal

pytestmark = pytest.mark.slow

VALUES: list[Any] = [
    task("fix the parser", "parse", "Cache", "Parser.feed"),
    {"task": "keep what was read", "task_id": "mine", "id": 7, "name": "Cache.put", "kind": "method"},
    "no object",
    {"task": "fix the parser", "items": [{"id": "x"}, {"id": "y", "name": "y"}]},
]


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """Tasks in every form, bad ones among them."""
    return write_lines(tmp_path / "tasks.jsonl", VALUES)


def ran(capsys: pytest.CaptureFixture[str], *arguments: object, code: ExitCode = ExitCode.DONE) -> tuple[str, str]:
    """What the command writes to stdout and stderr."""
    assert main(["run", *map(str, arguments)]) == code
    return capsys.readouterr()


def errors_of(rows: Iterable[dict[str, Any]]) -> Counter[str]:
    """Kinds of errors."""
    return Counter(row["error_kind"] for row in rows if row["label"] is None)


def test_every_row_has_its_results(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Labels, steps and provenance of what could be asked, an error of each kind in place of what could not."""
    out = tmp_path / "results.jsonl"
    told, notes = ran(capsys, tasks, "--out", out)
    rows = read_lines(out)
    fix = Task(text="fix the parser").id
    assert Counter((row["task_id"], row["id"]) for row in rows) == Counter(
        [(fix, "parse"), (fix, "Cache"), (fix, "Parser.feed"), (fix, "x"), (fix, "y"), ("mine", "7"), ("", "")]
    )
    assert errors_of(rows) == {"row": 1, "item": 1}
    assert all(row["steps"] and row["provenance"]["adapters"] for row in rows if row["label"] is not None)
    assert "7 rows of results: " in told
    assert "2 rows have an error: " in told
    assert not notes


def test_a_second_run_goes_on(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked again; other models, thresholds and cascades are refused, and a file is not lost by mistake."""
    out = tmp_path / "results.jsonl"
    first = json.loads(ran(capsys, tasks, "--out", out, "--resume", "--json")[0])
    before = out.read_bytes()
    again = json.loads(ran(capsys, tasks, "--out", out, "--resume", "--json")[0])
    assert (first["rows"], first["rows_before"], first["errors"]) == (7, 0, {"row": 1, "item": 1})
    assert (again["rows"], again["rows_before"], again["calls"]) == (7, 7, 0)
    assert (again["labels"], again["errors"]) == (first["labels"], first["errors"])
    refused = ExitCode.BAD_INPUT
    assert "--resume" in ran(capsys, tasks, "--out", out, code=refused)[1]
    assert "other: the cascade" in ran(capsys, tasks, "--out", out, "--resume", "--cascade", "module", code=refused)[1]
    assert "other: the depth" in ran(capsys, tasks, "--out", out, "--resume", "--depth", 1, code=refused)[1]
    assert out.read_bytes() == before
    forced = json.loads(ran(capsys, tasks, "--out", out, "--force", "--json")[0])
    assert (forced["rows"], forced["rows_before"]) == (7, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--retry"], "it goes with --resume"),
        (["--resume", "--force"], "Give one of them"),
        (["--cascade", "nothing"], "Unknown cascade"),
        (["--concurrency", "0"], "--concurrency"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    """With what to do, and without a file."""
    out = tmp_path / "results.jsonl"
    assert message in ran(capsys, tasks, "--out", out, *arguments, code=ExitCode.BAD_INPUT)[1]
    assert not out.exists()


def test_files_that_cannot_be_used_are_refused(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not there, what is read under this name or another, and what is no file."""
    before = tasks.read_bytes()
    (tmp_path / "hard.jsonl").hardlink_to(tasks)
    (tmp_path / "soft.jsonl").symlink_to(tasks)
    for arguments in (
        [tmp_path / "none", "--out", tmp_path / "o"],
        [tasks, "--out", tasks, "--force"],
        [tasks, "--out", tmp_path / "hard.jsonl", "--force"],
        [tasks, "--out", tmp_path / "soft.jsonl", "--force"],
        [tasks, "--out", "-"],
        [tasks, "--out", tmp_path / "none" / "o"],
    ):
        ran(capsys, *arguments, code=ExitCode.BAD_INPUT)
    assert tasks.read_bytes() == before


def test_a_damaged_input_keeps_what_came_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command fails with the name of the file, and says that what is done stands; a whole file is gone on with."""
    whole = "".join(json.dumps(task(f"task {number}", "a")) + "\n" for number in range(30)).encode()
    tasks, out = tmp_path / "tasks.jsonl.gz", tmp_path / "results.jsonl"
    tasks.write_bytes(gzip.compress(whole)[:-4])
    assert "is damaged" in ran(capsys, tasks, "--out", out, "--resume", code=ExitCode.BAD_INPUT)[1]
    tasks.write_bytes(gzip.compress(whole))
    assert json.loads(ran(capsys, tasks, "--out", out, "--resume", "--json")[0])["rows"] == 30
    assert len(read_lines(out)) == 30


def command(tasks: Path, out: Path) -> list[str]:
    """The command in a process of its own."""
    return [sys.executable, "-m", "cascade", "run", str(tasks), "--out", str(out), "--resume"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """It ends at once with its exit code; the rest follows."""
    values = [task(f"fix part {part}", *(f"name_{part}_{at}" for at in range(40))) for part in range(60)]
    tasks, out = write_lines(tmp_path / "tasks.jsonl", values), tmp_path / "results.jsonl"
    with subprocess.Popen(command(tasks, out), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        sizes = set[int]()
        while len(sizes) < 3 and process.poll() is None:  # nothing, some rows, more: the first of them are counted
            sizes.add(out.stat().st_size if out.exists() else 0)
            time.sleep(0.01)
        process.send_signal(number)
        _, notes = process.communicate()
    assert process.returncode == code, notes
    assert "The same command with --resume goes on from there." in notes
    n_before = len(read_lines(out))
    assert 0 < n_before < 60 * 40
    write_lines(tasks, values[:12])  # enough to see that the rest follows
    done = subprocess.run([*command(tasks, out), "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["rows_before"] == n_before
    rows = read_lines(out)
    assert len({row["key"] for row in rows}) == len(rows)
    assert {row["id"] for row in rows} >= {item["id"] for value in values[:12] for item in value["items"]}


def test_a_terminal_of_80_columns_shows_a_bar(tmp_path: Path) -> None:
    """Rate and time left fit into the line; at the end it gives way to the results."""
    values = [task(f"fix part {part}", *(f"name_{part}_{at}" for at in range(20))) for part in range(30)]
    tasks, out = write_lines(tmp_path / "tasks.jsonl", values), tmp_path / "results.jsonl"
    code, shown = on_terminal(80, ["run", str(tasks), "--out", str(out)], has_notes=True)
    assert code == 0
    assert " of about 600 rows, " in shown
    assert " rows/s" in shown
    lines = [line for part in shown.split("\n") for line in part.split("\r")]
    assert max(map(len, lines)) <= 80
    assert "600 rows of results: " in shown


def test_a_pipe_gets_lines_about_progress(tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where stderr is no terminal, a note says now and then how far the job is; one line, and no bar."""
    source = Source([tasks])
    assert sum(map(len, source)) == 7
    with Shown.over(source, tmp_path / "results.jsonl", note_s=0.0) as shown:
        time.sleep(0.25)  # longer than between two looks
        shown(Tally(n_done=3))
    notes = capsys.readouterr().err
    assert notes.startswith("note: 3 of about 7 rows, ")
    assert notes.count("\n") == 1


def test_stdin_is_read(tasks: Path, tmp_path: Path) -> None:
    """A pipe is read as a file is."""
    out = tmp_path / "results.jsonl"
    done = subprocess.run(
        command(Path("-"), out), input=tasks.read_bytes(), capture_output=True, check=True, env=os.environ
    )
    assert b"7 rows of results" in done.stdout
    assert {row["error"].split(":")[0] for row in read_lines(out) if row["label"] is None} == {
        "stdin, line 3", "stdin, line 4",
    }  # fmt: skip
    with tasks.open("rb") as file:
        again = subprocess.run(
            [*command(Path("-"), tasks), "--retry"], stdin=file, capture_output=True, text=True, check=False
        )
    assert "is read by the same command" in again.stderr
