"""A job that is killed goes on: no row is lost, none is there twice, every line is whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cascade.batch.job import Job, Tally, run_job
from cascade.batch.reading import Source
from tests.batch.scripted import says, scripted, task


def write_lines(path: Path, values: Iterable[object]) -> Path:
    """A file of JSON lines."""
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All rows of results; every line must be whole."""
    content = path.read_bytes()
    assert content.endswith(b"\n")
    return [json.loads(line) for line in content.splitlines()]


def named(rows: Iterable[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """(task, item) -> rows."""
    return Counter((row["task_id"], row["id"]) for row in rows)


@pytest.mark.slow
def test_a_job_that_is_killed_a_hundred_times(tmp_path: Path) -> None:
    """Killed at a hundred moments, and cut at any byte, it ends with every row once and every line whole."""
    values: list[Any] = [task(f"task {n}", *(f"now {n}.{at}" for at in range(6))) | {"id": f"{n}"} for n in range(100)]
    values[50:50] = [{"task": "bad", "id": "bad", "items": [{"id": "no name"}]}, "no object"]
    tasks, out = write_lines(tmp_path / "tasks.jsonl", values), tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "tests.batch.killed", str(tasks), str(out), "100", "6000"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    rows = read_lines(out)
    expected = Counter((str(n), f"now {n}.{at}") for n in range(100) for at in range(6))
    assert named(rows) == expected + Counter({("bad", "no name"): 1, ("", ""): 1})
    assert len({row["key"] for row in rows}) == len(rows)
    assert Counter(row["label"] for row in rows) == {"now": 600, None: 2}


def job(tasks: Path, out: Path, **options: Any) -> tuple[Tally, Counter[str]]:
    """What a job came to, and the names of the items that it asked, each as often as it did so first."""
    asked: Counter[str] = Counter()

    def script(adapter: str, prompt: str) -> float:
        if adapter == "waiting":
            asked[prompt.split("<|item|>")[1].split("\n", maxsplit=1)[0].strip()] += 1
        return says(adapter, prompt)

    with scripted(script) as engine:
        tally = run_job(engine, Job(source=Source([tasks]), out=out, cascade="tickets", **options))
    return tally, asked


def test_cut_at_every_byte(tmp_path: Path) -> None:
    """Wherever the file ends, whole lines stay as they are, what is torn goes, and only what is missing is asked."""
    values = [task("x", "now 1", "half"), task("x", "now 1"), {"task": "", "items": []}]  # one row stands twice
    tasks, out = write_lines(tmp_path / "tasks.jsonl", values), tmp_path / "results.jsonl"
    job(tasks, out)
    whole = out.read_bytes()
    assert len(whole.splitlines()) == 4
    for end in range(0, len(whole) + 1, 19):
        out.write_bytes(whole[:end])
        n_kept = whole[:end].count(b"\n")
        tally, asked = job(tasks, out, resume=True)
        content = out.read_bytes()
        assert content.startswith(whole[: whole[:end].rfind(b"\n") + 1])
        assert Counter(content.splitlines()) == Counter(whole.splitlines())
        assert (tally.n_before, tally.n_done) == (n_kept, 4 - n_kept)
        n_errors = sum(b'"error"' in line for line in whole.splitlines()[n_kept:])
        assert asked.total() == 4 - n_kept - n_errors


def test_a_changed_input_is_gone_on_with(tmp_path: Path) -> None:
    """Rows may be added, moved and removed between two runs: new ones are asked, and the others are not."""
    tasks, out = tmp_path / "tasks.jsonl", tmp_path / "results.jsonl"
    job(write_lines(tasks, [task("x", "now 1", "now 2"), task("y", "half")]), out)
    tally, asked = job(write_lines(tasks, [task("y", "half"), task("x", "now 3", "now 2")]), out, resume=True)
    assert list(asked.values()) == [1]
    assert (tally.n_before, tally.n_done, tally.n_gone) == (3, 1, 1)
    assert [row["id"] for row in read_lines(out)][3:] == ["now 3"]
