"""The replay of a repository's commits: asked in time order, logged, and split by time."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from benchmarks.replay import main, table
from cascade.cli import main as cascade
from cascade.errors import InputError
from tests.helpers.requests import symbols

pytestmark = pytest.mark.slow


def _write(path: Path, n_tasks: int, dated: str = "2026-01-{:02}T00:00:00+00:00") -> Path:
    """Labelled tasks, the latest first."""
    lines = []
    for at in reversed(range(n_tasks)):
        task, items = symbols(at, 6)
        rows = [
            {"id": item.id, "kind": item.kind, "name": item.name, "label": "excluded" if place else "primary"}
            for place, item in enumerate(items)
        ]
        date = {"date": dated.format(at + 1)} if dated else {}
        lines.append(json.dumps({"task": f"{task.text} {at}", "items": rows, **date}))
    path.write_text("\n".join(lines))
    return path


def test_the_latest_tasks_are_replayed_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log has them by date, the later half is the test part, and too few to train on are said to be so."""
    file = _write(tmp_path / "tasks.jsonl", 12)
    main([str(file), "--tasks", "10", "--shares", "1/2", "--work", str(tmp_path / "work"), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["replayed"], found["test"], found["rows"][0]["tasks"]) == (10, {"tasks": 5, "items": 30}, 2)
    assert "Too few" in found["rows"][0]["why"]
    assert "judged on the latest 5 tasks with 30 items" in next(table(found))
    with sqlite3.connect(tmp_path / "work" / "log.sqlite3") as log:
        (n_outcomes,) = log.execute("SELECT count(*) FROM outcomes").fetchone()
    assert n_outcomes == 60
    test = [json.loads(line)["task"] for line in (tmp_path / "work/data/test.jsonl").read_text().splitlines()]
    assert [int(text.split()[-1]) for text in test] == [7, 8, 9, 10, 11]
    assert cascade(["dataset", "show", str(tmp_path / "work" / "data")]) == 0


def test_tasks_without_a_date_are_refused(tmp_path: Path) -> None:
    """There would be no order of time."""
    with pytest.raises(InputError, match="a task has no date"):
        main([str(_write(tmp_path / "tasks.jsonl", 3, "")), "--work", str(tmp_path / "work")])
