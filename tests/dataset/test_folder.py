"""The folder of a dataset: one writer at a time, and whole wherever a process is killed."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.dataset.folder import commit, finish, locked, put
from cascade.dataset.manifest import read_dataset
from cascade.errors import InputError, MachineError

FILES = {"train.jsonl": b"new train\n", "manifest.json": b"new manifest\n"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder with an old dataset."""
    folder = tmp_path / "set"
    with locked(folder):
        for name in FILES:
            put(folder, name, [b"old\n"])
        commit(folder, list(FILES))
    return folder


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def _states(folder: Path, elsewhere: Path) -> Iterator[Path]:
    """Copies of a folder as a process leaves it that is killed after each step of a build."""

    def copy() -> Path:
        target = elsewhere / f"state-{len(list(elsewhere.iterdir()))}"
        shutil.copytree(folder, target)
        return target

    with locked(folder):
        for name, content in FILES.items():
            put(folder, name, [content])
            yield copy()
        (folder / ".ready.next").write_text('["train.jsonl", "manif')
        yield copy()
        (folder / ".ready").write_text('["train.jsonl", "manifest.json"]')
        yield copy()
        (folder / "train.jsonl.next").replace(folder / "train.jsonl")
        yield copy()
        (folder / "manifest.json.next").replace(folder / "manifest.json")
        yield copy()


def test_killed_at_each_step(old: Path, tmp_path: Path) -> None:
    """What is found by the next build is the whole old dataset or the whole new one, and no other file."""
    elsewhere = tmp_path / "states"
    elsewhere.mkdir()
    found = []
    for state in _states(old, elsewhere):
        with locked(state):
            found.append(_contents(state))
    before = dict.fromkeys(FILES, b"old\n")
    assert found == [before] * 3 + [FILES] * 3


def test_two_processes(old: Path) -> None:
    """While one process writes a dataset another is refused and changes nothing; a killed one leaves no lock."""
    context = multiprocessing.get_context("spawn")
    held, gone = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(old, held, gone))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(MachineError, match="another process builds a dataset there"), locked(old):
            pytest.fail("two processes hold the lock")
    finally:
        other.kill()
        other.join()
    with locked(old):
        assert _contents(old) == dict.fromkeys(FILES, b"old\n")


def _hold(folder: Path, held: object, gone: object) -> None:
    with locked(folder):
        held.set()  # type: ignore[attr-defined]  # an event of multiprocessing has no public type
        gone.wait()  # type: ignore[attr-defined]  # as above


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A folder that was made for a dataset that did not come is removed again."""
    folder = tmp_path / "deep" / "set"
    with pytest.raises(ZeroDivisionError), locked(folder):
        put(folder, "train.jsonl", (bytes(1 // n) for n in (1, 0)))
    assert not list(tmp_path.iterdir())


def test_finish_is_repeatable(old: Path) -> None:
    """A folder in which all is done stays as it is."""
    finish(old)
    assert _contents(old) == dict.fromkeys(FILES, b"old\n")


def test_a_reader_finishes_what_was_left(old: Path) -> None:
    """Who reads a folder after a build was killed between its renames finds the new dataset."""
    with locked(old):
        for name, content in FILES.items():
            put(old, name, [content])
        (old / ".ready").write_text('["train.jsonl", "manifest.json"]')
        (old / "train.jsonl.next").replace(old / "train.jsonl")
    with pytest.raises(InputError, match="is not JSON"):
        read_dataset(old)
    assert _contents(old) == FILES
