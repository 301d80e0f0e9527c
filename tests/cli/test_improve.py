"""``cascade improve``: from the log to a better adapter that is live, gone on with wherever it was killed."""

from __future__ import annotations

import fcntl
import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cascade import Engine, Outcome
from cascade.cli import main
from cascade.cli.improvement import State, Wish
from cascade.cli.output import ExitCode
from cascade.errors import MachineError
from cascade.registry.live import read_state
from tests.helpers.improving import run
from tests.helpers.judge import BETTER, judged_tasks, write_config, write_worse

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parent.parent.parent
N_TASKS = 30


@pytest.fixture(scope="module")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that changes the model the opposite way."""
    return write_worse(tmp_path_factory.mktemp("worse") / "worse.gguf")


def _record(config: Path, n_tasks: int, truth: str = "better") -> None:
    """Ask about tasks with a log; what is true is what the better adapter puts first, what was given, or unknown."""
    better = config.with_name("better")
    better.mkdir()
    with Engine.open(write_config(better, BETTER), log=None) as judge, Engine.open(config) as engine:
        for task, items in judged_tasks(n_tasks):
            report = engine.classify(task, items, "c", budget=None)
            labels = [decision.label for decision in report.decisions]
            if truth == "better":
                p = [step.p_yes for (step,) in judge.score(task, items, "c")]
                labels = ["read" if own >= sorted(p)[5] else "skip" for own in p]
            if truth:
                engine.record_outcome(
                    Outcome(task=report.task_id, item=item.id, label=label, source="commit")
                    for item, label in zip(items, labels, strict=True)
                )
    shutil.rmtree(better)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, worse: Path) -> Path:
    """A folder with a config whose live adapter is the worse one, and a log of its answers with outcomes."""
    folder = tmp_path_factory.mktemp("logged")
    _record(write_config(folder, worse, "full"), N_TASKS)
    return folder


def _copy(logged: Path, folder: Path, live: Path | None = None) -> Path:
    shutil.copytree(logged, folder / "here")
    if live is not None:
        shutil.copy(live, folder / "here" / "live.gguf")
    return folder / "here" / "my.toml"


def _called(config: Path) -> list[str]:
    file = config.with_name("called.txt")
    names = file.read_text().split() if file.exists() else []
    file.unlink(missing_ok=True)
    return names


def _live(config: Path) -> dict[str, str]:
    state = read_state(config.with_name("registry"))
    return {name: entry.version for name, entry in state.adapters.items()}


def _main(capsys: pytest.CaptureFixture[str], config: Path, *arguments: str) -> tuple[int, str, str]:
    code = main(["improve", "c", *arguments, "--config", str(config)])
    out, error = capsys.readouterr()
    return code, out, error


def test_a_kill_at_each_step_loses_that_step_alone(tmp_path: Path, logged: Path) -> None:
    """The next run goes on at the step whose end nobody wrote down, and what is live is the old version or the new."""
    config = _copy(logged, tmp_path)
    deaths = [
        (("build", "after"), ["build"]),
        (("audit", "after"), ["build", "audit"]),
        (("train", "after"), ["audit", "train"]),
        (("keep", "after"), ["train", "keep"]),
        (("test", "after"), ["keep", "test"]),
        (("promote", "before"), ["test", "promote"]),
        (("promote", "after"), ["test", "promote"]),
    ]
    for death, called in deaths:
        assert not _live(config)
        command = [sys.executable, "-m", "tests.helpers.improving", str(config), str(BETTER), *death]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, _called(config)) == (-signal.SIGKILL, called), done.stderr
    assert _live(config) == {"judge": "judge/0001"}
    found = run(config, BETTER, Wish(promotes=True))
    assert (found.state, _called(config), _live(config)) == (State.PROMOTED, [], {"judge": "judge/0001"})
    assert list(found.steps) == ["data", "audit", "train", "keep", "test", "promote"]
    assert not (config.parent / "work" / "trained").exists()
    again = run(config, BETTER, Wish(promotes=True))
    assert (again.state, _called(config)) == (State.NOTHING, ["build"])
    assert "nothing is new in the log" in again.why
    assert "judge/0001 was promoted" in again.why


def test_what_it_would_promote_is_said_with_the_command(
    tmp_path: Path, logged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gain has its interval and the number of tasks; the command that is named makes the version live."""
    config = _copy(logged, tmp_path)
    assert run(config, BETTER, Wish()).state is State.BETTER
    assert not _live(config)
    options = ("--work", str(config.with_name("work")), "--test", "0.4", "--valid", "0.3")
    _called(config)
    code, out, error = _main(capsys, config, *options, "--json")
    assert code == ExitCode.DONE, error
    told: dict[str, Any] = json.loads(out)
    (pair,) = told["steps"]["test"]["tests"][0]["test"]
    assert (told["state"], pair["n_tasks"], pair["after"]) == ("better", 12, 1.0)
    assert 0 < pair["low"] <= pair["after"] - pair["before"] <= pair["high"]
    assert told["steps"]["audit"]["stage"] == "relevant"
    code, out, _ = _main(capsys, config, *options)
    assert code == ExitCode.DONE
    assert "12 tasks that were kept for the test" in out
    assert "trained on 12 tasks with 96 answers" in out
    command = shlex.split(out.splitlines()[-1])
    assert command == shlex.split(told["promote"])
    assert main(command[1:]) == ExitCode.DONE
    assert _live(config) == {"judge": "judge/0001"}


def test_what_is_not_better_ends_the_round(tmp_path: Path, logged: Path, worse: Path) -> None:
    """Nothing goes live, the next run finds nothing new, and another training of the same data may be asked for."""
    config = _copy(logged, tmp_path, BETTER)
    found = run(config, worse, Wish(promotes=True), "judge")
    assert (found.state, _live(config)) == (State.NOTHING, {})
    assert "judge/0001 is not better: its AUC per task at stage relevant of cascade c is -" in found.why
    assert _called(config) == ["build", "train", "keep", "test"]
    again = run(config, worse, Wish(promotes=True), "judge")
    assert "judge/0001 is not better" in again.why
    assert _called(config) == ["build"]
    assert run(config, worse, Wish(is_anew=True), "judge").state is State.NOTHING
    assert _called(config) == ["build", "train", "keep", "test"]


def test_a_trained_version_may_stand_in_the_shadow_first(tmp_path: Path, logged: Path) -> None:
    """It is put there before it is tested; the next run tests it."""
    config = _copy(logged, tmp_path)
    assert run(config, BETTER, Wish(shadows=True)).state is State.SHADOW
    assert read_state(config.with_name("registry")).shadow["judge"].version == "judge/0001"
    _called(config)
    found = run(config, BETTER, Wish(promotes=True))
    assert (found.state, _called(config)) == (State.PROMOTED, ["test", "promote"])
    assert not read_state(config.with_name("registry")).shadow


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--test", "0.2"), "too few examples to test it: the test part has 6 tasks with both answers to relevant"),
        (("--test", "0.6", "--valid", "0.1"), "Too few: not even an order with an AUC of 0.75 is told from chance"),
        (("--adapter", "nobody"), "cascade 'c' asks none of that name here; it asks judge"),
        (("--target", "luck=1"), "--target 'luck=1' cannot be guaranteed"),
        (("--at-least", "nan"), "a finite number is needed"),
        (("--device", "abacus"), "allowed are cpu, cuda, mps"),
        (("--log", "nowhere.sqlite3"), "nowhere.sqlite3"),
    ],
)
def test_what_cannot_be_improved_is_refused_in_a_line(
    tmp_path: Path, logged: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], words: str
) -> None:
    """Too few examples to train or to test, an adapter that is not asked, a log that is not there."""
    config = _copy(logged, tmp_path)
    code, out, error = _main(capsys, config, *options)
    (line,) = [line for line in error.splitlines() if line.startswith("error: ")]
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert words in line
    assert not _live(config)


@pytest.mark.parametrize(
    ("texts", "truth", "told"),
    [
        ("hash", "better", (ExitCode.BAD_INPUT, "only hashes")),
        ("full", "", (ExitCode.BAD_INPUT, "outcome")),
        ("full", "given", (ExitCode.FAILURE, "nothing to promote: on 4 tasks the audit finds no yes/no question")),
    ],
)
def test_a_log_that_teaches_nothing_is_told_in_a_line(
    tmp_path: Path, worse: Path, capsys: pytest.CaptureFixture[str], texts: str, truth: str, told: tuple[int, str]
) -> None:
    """A log of hashes alone, one without outcomes, and one whose answers are all right; the code tells a script."""
    code, words = told
    config = write_config(tmp_path, worse, texts)
    _record(config, 5, truth)
    found, out, error = _main(capsys, config)
    assert found == code, error
    assert words in out + error
    assert not _live(config)


def test_a_real_training_goes_through(tmp_path: Path, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the extra ``train`` the command trains on from the live adapter, keeps a version, and tests it."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    config = _copy(logged, tmp_path)
    code, out, error = _main(capsys, config, "--test", "0.4", "--valid", "0.3", "--steps", "4", "--json")
    assert out, error
    told = json.loads(out)
    assert (code == ExitCode.DONE) == (told["state"] == "better")
    assert told["steps"]["train"]["tasks"] == 9
    assert told["steps"]["test"]["version"] == "judge/0001"


def test_two_runs_do_not_share_a_folder(tmp_path: Path, logged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second one at a time is refused, and so is the folder of another cascade, and a damaged journal."""
    config = _copy(logged, tmp_path)
    work = config.with_name("work")
    work.mkdir()
    with (work / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="another process improves"):
            run(config, BETTER, Wish())
    for text, words in (("{", "is damaged"), ('{"version": 1, "of": "x", "steps": {}, "last": {}}', "is about 'x'")):
        (work / "improve.json").write_text(text)
        code, _, error = _main(capsys, config, "--work", str(work))
        assert (code, words in error) == (ExitCode.BAD_INPUT, True)
