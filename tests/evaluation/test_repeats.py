"""Labelled tasks that are given more than once: what makes two equal, and that every command counts them once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade import Group, Item, Task
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.repeats import contradiction, distinct, fingerprint
from tests.tuning.test_search import write_data

ITEMS = (
    Item(id="1", kind="function", name="read", doc="Reads it.", group=Group(name="a.py"), tiers=("metadata",)),
    Item(id="2", kind="class", name="Window"),
    Item(id="3", kind="class", name="Window"),
)
ONE = Labelled(
    task=Task(text="fix the reader", seeds=("a.py",)), items=ITEMS, labels=("primary", "excluded", "excluded")
)


@given(st.permutations(range(3)), st.text(" \n\t", max_size=3))
def test_what_only_programs_read_makes_no_other_task(order: list[int], space: str) -> None:
    """Other ids, orders, priorities, priors, repositories and white space: the same task, and equal to the first."""
    items = tuple(replace(ITEMS[at], id=f"x{at}", priority=float(at), prior=0.5) for at in order)
    labels = tuple(ONE.labels[at] for at in order)
    task = Task(text=f"{space}fix  the reader{space}", seeds=("a.py",))
    again = Labelled(task=task, items=items, labels=labels, repository="fork")
    found = distinct([ONE, again])
    assert (found.tasks, found.repeated) == ((ONE,), ((again, ONE),))
    assert fingerprint(again) == fingerprint(ONE)


def test_what_the_model_reads_makes_another_task() -> None:
    """Text, starting files, and of items name, group, evidence, tiers and number."""
    first, *rest = ITEMS
    others = [
        replace(ONE, task=Task(text="fix the writer", seeds=("a.py",))),
        replace(ONE, task=Task(text="fix the reader", seeds=("b.py",))),
        *(
            replace(ONE, items=(item, *rest))
            for item in (
                replace(first, name="write"),
                replace(first, group=Group(name="b.py")),
                replace(first, evidence=("imports",)),
                replace(first, tiers=("dependency",)),
            )
        ),
        replace(ONE, items=ITEMS[:2], labels=ONE.labels[:2]),
    ]
    assert len({fingerprint(labelled) for labelled in (ONE, *others)}) == len(others) + 1
    found = distinct([ONE, *others])
    assert (found.tasks, found.repeated, found.contradicting) == ((ONE, *others), (), ())
    assert found.overlapping == tuple((other, ONE) for other in others[2:])


def test_other_labels_contradict() -> None:
    """The same items with other labels are told with the item; which of two like items has which label is nothing."""
    other = replace(ONE, labels=("supporting", "excluded", "excluded"))
    found = distinct([ONE, other, other])
    assert found.tasks == (ONE, other)
    assert found.contradicting == ((other, ONE),)
    assert found.repeated == ((other, other),)
    assert contradiction((other, ONE)) == (ITEMS[0], "supporting", "primary")
    mixed = [
        replace(ONE, labels=("primary", *labels)) for labels in (("excluded", "supporting"), ("supporting", "excluded"))
    ]
    assert len(distinct(mixed).tasks) == 1
    empty = replace(ONE, items=(), labels=())
    assert distinct([empty, empty]).tasks == (empty, empty)


@pytest.mark.slow
def test_copies_buy_no_guarantee(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight tasks are too few for a recall of 0.9; so they are twice, by a link, and with other ids and orders."""
    data = tmp_path / "a.jsonl"
    command = [*write_data(data, 8), "--target", "recall=0.9", "--scores", str(tmp_path / "s.npz")]
    assert main(command) == ExitCode.BAD_INPUT
    assert "8 tasks have something to find" in capsys.readouterr().err
    link, copy = tmp_path / "link.jsonl", tmp_path / "copy.jsonl"
    link.symlink_to(data)
    rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        row |= {"id": "other", "items": [item | {"id": f"x{item['id']}"} for item in row["items"][::-1]]}
    copy.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for more in ([data], [link], [copy], [data, link, copy]):
        assert main([*command, *map(str, more)]) == ExitCode.BAD_INPUT
        shown = " ".join(capsys.readouterr().err.split())
        n, last = 8 * len(more), more[0].name
        assert f"{n} of {n + 8} tasks are equal to an earlier one, and not counted: " in shown
        assert f"{last}, line 1 (" in shown
        assert "8 tasks have something to find" in shown


@pytest.mark.slow
def test_every_command_counts_tasks_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same file named twice: half of the tasks are left out, and JSON says how many; figures are those of once."""
    data, out = tmp_path / "a.jsonl", tmp_path / "t.toml"
    tune = [*write_data(data, 6), str(data), "--scores", str(tmp_path / "s.npz"), "--json"]
    assert main([*tune, "--no-guarantee", "--target", "macro_f1"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["repeated_tasks"] == 6
    assert main([*tune, "--target", "recall=0.3", "--out", str(out)]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["tasks"]["held_out"], found["repeated_tasks"]) == (6, 6)
    rest = ["--data", str(data), str(data), *tune[5:7], "--json"]
    for command in ("evaluate", "depth", "audit"):
        assert main([command, "--cascade", "precision", *rest]) == ExitCode.DONE
        found = json.loads(capsys.readouterr().out)
        assert (found.get("tasks", found.get("n_tasks")), found["repeated_tasks"]) == (6, 6), command


@pytest.mark.slow
def test_contradictions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same tasks with another label in one file: file, line and item are named; an audit goes on and says so."""
    data, other = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    config = write_data(data, 6)[5:7]
    lines = data.read_text(encoding="utf-8").splitlines()
    other.write_text(lines[2].replace("excluded", "supporting"), encoding="utf-8")
    rest = ["--cascade", "precision", "--data", str(data), str(other), *config]
    for command in (["evaluate"], ["depth"], ["tune", "--target", "recall=0.5"]):
        assert main([*command, *rest]) == ExitCode.BAD_INPUT
        shown = " ".join(capsys.readouterr().err.split())
        assert "b.jsonl, line 1 (" in shown
        assert "a.jsonl, line 3). There the item 'open_socket' is 'supporting', and before it was 'excluded'" in shown
    assert main(["audit", *rest]) == ExitCode.DONE
    told = capsys.readouterr()
    assert "tasks that are the same have other labels, and all count" in " ".join(told.err.split())
    assert "2 items stand more than once; 1 of them with labels that differ" in told.out
