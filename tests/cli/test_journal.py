"""A journal of steps: what is done is not done again, unless something else goes in or what it made is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cascade.cli.journal import Journal


def _run(folder: Path, given: dict[str, Any], *, is_there: bool = True) -> list[str]:
    """Two steps, the second of which takes what came of the first; the names of those that were done now."""
    done: list[str] = []

    def work(name: str) -> dict[str, Any]:
        done.append(name)
        return {"made": f"{name} of {given}"}

    with Journal.opened(folder, "a test") as journal:
        first, _ = journal.step("one", given, lambda: work("one"), lambda _: is_there)
        _, was_done = journal.step("two", first, lambda: work("two"))
        assert was_done == ("two" not in done)
        assert list(journal.steps) == ["one", "two"]
    return done


def test_steps_are_done_once(tmp_path: Path) -> None:
    """Another process finds them done; other inputs, or a thing that is gone, have them and what follows done again."""
    assert _run(tmp_path, {"a": 1}) == ["one", "two"]
    assert _run(tmp_path, {"a": 1}) == []
    assert _run(tmp_path, {"a": 2}) == ["one", "two"]
    assert _run(tmp_path, {"a": 2}, is_there=False) == ["one", "two"]


def test_a_new_round_keeps_what_the_last_came_to(tmp_path: Path) -> None:
    """Its steps are forgotten, on disk as well."""
    assert _run(tmp_path, {"a": 1}) == ["one", "two"]
    with Journal.opened(tmp_path, "a test") as journal:
        journal.begin({"why": "it ended"})
    with Journal.opened(tmp_path, "a test") as journal:
        assert (journal.steps, journal.last) == ({}, {"why": "it ended"})
    assert _run(tmp_path, {"a": 1}) == ["one", "two"]
