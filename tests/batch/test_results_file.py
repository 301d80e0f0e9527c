"""The file of results: what is appended, found again, refused, and left behind by what fails."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cascade.batch.answers import answered
from cascade.batch.finished import Finished
from cascade.batch.job import Job, run_job
from cascade.batch.provenance import RunProvenance
from cascade.batch.reading import Source
from cascade.batch.results_file import ResultsFile, new_results, resumed_results
from cascade.errors import DecodeError, InputError, MachineError
from tests.batch.scripted import lines_of, says, scripted, task, tickets
from tests.batch.test_kills import job, read_lines, write_lines


@pytest.fixture
def made_by() -> RunProvenance:
    """What answers."""
    with scripted() as engine:
        return RunProvenance.of(engine, "tickets")


def row(made_by: RunProvenance, **more: Any) -> dict[str, Any]:
    """A row of results."""
    return {"key": "0" * 32, "label": "now", "status": "decided", "provenance": made_by.as_dict()} | more


def seen_in(path: Path, made_by: RunProvenance, **options: bool) -> list[dict[str, Any]]:
    """The rows that are there, once the file is open for more."""
    seen: list[Any] = []
    with resumed_results(path, made_by, seen.append, **options):
        return seen


def test_what_is_there_is_found_again(tmp_path: Path, made_by: RunProvenance) -> None:
    """Rows that were appended come back in order; a torn line goes, whatever its bytes."""
    path = tmp_path / "results.jsonl"
    rows = [row(made_by, id=f"{number} \N{SNOWMAN}") for number in range(3)]
    with new_results(path) as out:
        out.append(rows[:2])
        out.append([])
        out.append(rows[2:])
    for torn in (b"", b"{", b"\0" * 5_000, path.read_bytes()[:50]):
        with path.open("ab") as file:
            file.write(torn)
        assert seen_in(path, made_by) == rows
        assert len(path.read_bytes().splitlines()) == 3


def test_another_model_or_config_is_refused(tmp_path: Path, made_by: RunProvenance) -> None:
    """The message names the line and what differs; the file stays as it is."""
    path = write_lines(tmp_path / "results.jsonl", [row(made_by)])
    before = path.read_bytes()
    told = made_by.as_dict()
    for change, words in (
        ({"model": "x"}, "other: the model"),
        ({"adapters": told["adapters"] | {"broken": "y"}}, "other: adapter 'broken'"),
        ({"thresholds": "z"}, "other: the thresholds"),
        ({"questions": "z"}, "other: what is asked"),
        ({"cascade": "z"}, "other: the cascade"),
    ):
        with pytest.raises(InputError, match=f"line 1: was made by something else .{words}"):
            seen_in(path, RunProvenance.from_dict(told | change))
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"{}\n", b'"x"\n', b"\xff\n", b'{"key": "0", "label": "a"}\n'])
def test_other_files_are_refused(tmp_path: Path, made_by: RunProvenance, line: bytes) -> None:
    """What is whole and no row of results is left alone."""
    path = write_lines(tmp_path / "results.jsonl", [row(made_by)])
    with path.open("ab") as file:
        file.write(line)
    before = path.read_bytes()
    with pytest.raises(InputError, match="line 2: is no row of results"):
        seen_in(path, made_by)
    assert path.read_bytes() == before


def test_a_file_that_is_there_is_not_lost(tmp_path: Path, made_by: RunProvenance) -> None:
    """It is gone on with, or emptied by force; what can hold no results is refused."""
    path = write_lines(tmp_path / "results.jsonl", [row(made_by)])
    with pytest.raises(InputError, match="Go on with it with --resume"), new_results(path):
        pass
    with new_results(path, force=True) as out:
        out.append([row(made_by)] * 2)
    assert len(seen_in(path, made_by)) == 2
    for no_file in (tmp_path, tmp_path / "none" / "x", Path("-"), Path("/dev/null")):
        with pytest.raises(InputError), new_results(no_file, force=True):
            pass


def test_two_at_once_are_refused(tmp_path: Path, made_by: RunProvenance) -> None:
    """One process at a time writes a file; the second hears so, and spoils nothing."""
    path = tmp_path / "results.jsonl"
    with new_results(path) as out:
        out.append([row(made_by)])
        with pytest.raises(MachineError, match="another process writes it"):
            seen_in(path, made_by)
        with pytest.raises(MachineError, match="another process writes it"), new_results(path, force=True):
            pass
        out.append([row(made_by)])
    assert len(seen_in(path, made_by)) == 2


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, made_by: RunProvenance) -> None:
    """Rows that cannot be written are not there in part; the message says how to go on, and then they are."""
    path = tmp_path / "results.jsonl"
    size = len(json.dumps(row(made_by))) + 1
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with new_results(path) as out:
            out.append([row(made_by)])
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + size // 2, limits[1]))
            with pytest.raises(MachineError, match="go on with --resume"):
                out.append([row(made_by)] * 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.stat().st_size == size
    assert len(seen_in(path, made_by)) == 1


def test_a_file_that_is_gone_is_no_success(tmp_path: Path, made_by: RunProvenance) -> None:
    """Removed, moved or replaced while rows are appended: the message says so, at the end at the latest."""
    path = tmp_path / "results.jsonl"

    def replace() -> None:
        path.rename(tmp_path / "moved.jsonl")
        path.touch()

    def write(spoil: Callable[[], object]) -> None:
        with new_results(path, force=True) as out:
            out.append([row(made_by)])
            out.sync()
            spoil()

    for spoil in (path.unlink, replace):
        with pytest.raises(MachineError, match="was removed or replaced"):
            write(spoil)


@pytest.mark.parametrize("name", ["r.jsonl.gz", "r.parquet", "r.PQ", "r.zst"])
def test_names_of_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    """What is written would not be what the name says."""
    with pytest.raises(InputError, match="results are plain JSON lines, not"), new_results(tmp_path / name):
        pass
    assert not list(tmp_path.iterdir())


def test_failed_rows_are_asked_again(tmp_path: Path) -> None:
    """With ``retry`` rows whose error was not their own are asked once more; the others stay, bad rows among them."""
    is_down = [True]

    def script(adapter: str, prompt: str) -> float:
        if is_down[0] and "now 2" in prompt:
            msg = "It is down."
            raise DecodeError(msg)
        return says(adapter, prompt)

    tasks = write_lines(tmp_path / "tasks.jsonl", [task("x", "now 1", "now 2", "now 3"), {"task": "y", "items": [1]}])
    out = tmp_path / "results.jsonl"
    with scripted(script) as engine:
        first = run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets"))
        assert dict(first.errors) == {"decode": 1, "row": 0, "item": 1} or dict(first.errors) == {
            "decode": 1,
            "item": 1,
        }
        again = run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets", resume=True))
        assert again.n_done == 0
        is_down[0] = False
        last = run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets", resume=True, retry=True))
    assert (last.n_before, last.n_done, dict(last.errors)) == (3, 1, {"item": 1})
    assert sorted(each["id"] for each in read_lines(out)) == ["", "now 1", "now 2", "now 3"]


def test_a_job_counts_what_it_did(tmp_path: Path) -> None:
    """Labels, errors and statuses of all rows, calls of this run."""
    tasks = write_lines(tmp_path / "tasks.jsonl", [task("x", "now 1", "half", "none"), {"task": "y", "items": [1]}])
    tally, asked = job(tasks, tmp_path / "out")
    assert tally.as_dict() == {
        "rows": 4, "rows_before": 0, "rows_gone": 0, "labels": {"later": 2, "now": 1}, "statuses": {"decided": 3},
        "errors": {"item": 1}, "calls": 5,
    }  # fmt: skip
    assert asked.total() == 3


def test_keys_are_counted(tmp_path: Path) -> None:
    """A key that was added twice can be taken twice; many go to the disk and are all found."""
    del tmp_path
    keys = [f"{number:032x}" for number in range(30_000)]
    with Finished() as finished:
        for key in [*keys, *keys[:10]]:
            finished.add(key)
        assert finished.n_left == 30_010
        assert all(finished.take(key) for key in [*keys[::-1], *keys[:10]])
        assert not finished.take(keys[0])
        assert not finished.take("f" * 32)
        assert finished.n_left == 0


def test_results_are_readable_while_they_grow(tmp_path: Path, made_by: RunProvenance) -> None:
    """What was appended is in the file at once, for whoever follows it."""
    path = tmp_path / "results.jsonl"
    with new_results(path) as out:
        out.append([row(made_by)])
        assert len(read_lines(path)) == 1
        out.sync()
    assert isinstance(out, ResultsFile)


def test_thresholds_that_were_tuned_again_are_other_provenance(tmp_path: Path) -> None:
    """A job with other thresholds does not go on with results of the former ones."""
    tasks, out = write_lines(tmp_path / "tasks.jsonl", [task("x", "half")]), tmp_path / "out"
    job(tasks, out)
    with scripted(cascade=tickets(threshold=0.05)) as engine, pytest.raises(InputError, match="other: the thresholds"):
        run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets", resume=True))
    with scripted(cascade=tickets(threshold=0.05)) as engine:
        ((found,),) = answered(engine, lines_of(task("x", "half")), "tickets")
    assert found[0].id == "half"
