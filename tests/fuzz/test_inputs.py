"""Whatever is read ends in an answer or in an error with a remedy; and whatever else it ends in is seen and kept."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade.errors import CascadeError, InputError
from tests.fuzz.inputs import Tally, fuzz, main, replay, shown
from tests.fuzz.targets import TARGETS
from tests.fuzz.verdict import Outcome, Verdict, judged, lack
from tests.fuzz.worker import Worker

INPUTS_PER_SHARE = 10


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    """A process for inputs."""
    with Worker(patience_s=60) as worker:
        yield worker


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_short_run_finds_nothing(name: str, worker: Worker, tmp_path: Path) -> None:
    """Some of a target's inputs are accepted; none ends the process, hangs, or ends in an error without a remedy."""
    target = TARGETS[name]
    tally = fuzz(target, worker, math.ceil(INPUTS_PER_SHARE * target.share), seed=0, keep=tmp_path)
    assert not tally.n_bad, "\n".join(file.read_text("utf-8") for file in tmp_path.glob("*.txt"))
    assert tally.counts[Verdict.ACCEPTED]


def _accept(folder: Path) -> bool:
    return (folder / "a").read_bytes() == b"a"


def _refuse(folder: Path) -> bool:
    msg = f"{folder}/a: is empty. Write something into it."
    raise InputError(msg)


def _fail(folder: Path) -> bool:
    return bool(1 // len((folder / "a").read_bytes()))


def _die(folder: Path) -> bool:
    os.write(2, f"{folder.name}: last words".encode())
    os.kill(os.getpid(), signal.SIGSEGV)
    return False


def _hang(_: Path) -> bool:
    time.sleep(60)
    return False


@pytest.mark.slow
def test_what_became_of_an_input_is_told(worker: Worker) -> None:
    """Of one that is accepted, refused or fails, and of one that ends the process; the next one runs."""
    assert worker.judge(_accept, {"a": b"a"}).verdict is Verdict.ACCEPTED
    died = worker.judge(_die, {"a": b""})
    assert (died.verdict, died.note.partition("\n")[0]) == (Verdict.DEATH, "SIGSEGV")
    assert "last words" in died.note
    assert worker.judge(_refuse, {"a": b""}).verdict is Verdict.REFUSED
    failed = worker.judge(_fail, {"a": b""})
    assert failed.verdict is Verdict.ERROR
    assert "ZeroDivisionError" in failed.note


@pytest.mark.slow
def test_an_input_that_never_ends_is_a_hang() -> None:
    """Its process is ended, and it counts."""
    with Worker(patience_s=0.5) as worker:
        assert worker.judge(_hang, {"a": b""}) == Outcome(Verdict.HANG, "no answer within 0.5 s")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("/in/a.toml: model.path: is missing. Add it.", ""),
        ("model.path: a table is needed (given 3)", ""),
        ("Item 'f' has an empty id; give every item a unique id.", ""),
        ("There is nothing here. Give something.", "names neither file nor field"),
        ("/in/a.toml: it broke", "does not say what to do"),
    ],
)
def test_an_error_needs_a_place_and_a_remedy(message: str, expected: str) -> None:
    """A message names the file or the field, and says what to do."""
    assert lack(InputError(message), Path("/in")) == expected


def test_an_error_without_a_remedy_is_one(tmp_path: Path) -> None:
    """It is told with what the message lacks."""

    def take(_: Path) -> bool:
        msg = "It broke"
        raise CascadeError(msg)

    outcome = judged(take, tmp_path)
    assert outcome.verdict is Verdict.ERROR
    assert outcome.note == "CascadeError: It broke\n(the message names neither file nor field)"


def test_an_input_that_was_kept_can_be_seen_again(tmp_path: Path) -> None:
    """A folder that has the name of its target and a number is judged anew."""
    folder = tmp_path / "items-3"
    folder.mkdir()
    (folder / "items.jsonl").write_text("[]", encoding="utf-8")
    outcome = replay(folder)
    assert outcome.verdict is Verdict.REFUSED
    assert "line 1" in outcome.note
    assert main(["--replay", str(folder)]) == 0


def test_counts_are_shown_for_each_target_and_for_all() -> None:
    """As a table, and as JSON."""
    tallies = {"items": Tally(), "texts": Tally(seconds=1.25)}
    tallies["items"].counts[Verdict.DEATH] += 2
    tallies["texts"].counts[Verdict.ACCEPTED] += 3
    lines = [line.split() for line in shown(tallies).splitlines()]
    assert lines[0] == ["target", "inputs", "accepted", "refused", "death", "hang", "error", "seconds"]
    assert lines[-1] == ["all", "5", "3", "0", "2", "0", "0", "1.2"]
    assert tallies["items"].n_bad == 2
    assert '"death": 2' in shown(tallies, is_json=True)
