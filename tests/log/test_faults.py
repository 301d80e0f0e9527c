"""What may go wrong with the file of a log: it costs entries and never an answer, and bad files are refused."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from cascade import DecisionLog, Engine, Outcome
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import InputError, MachineError
from cascade.log.database import open_log_file
from cascade.log.schema import MIGRATIONS, VERSION
from cascade.log.writer import LogWriter
from tests.helpers.requests import plain_items
from tests.helpers.rights import without_rights
from tests.log.logs import n_rows, requests_of, rows_of, scripted

ROOT = Path(__file__).parents[2]


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log's logger has said that it cannot be written."""
    return [record.message for record in caplog.records if "cannot be written" in record.message]


@pytest.mark.slow
def test_a_locked_file_costs_entries_and_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While another connection holds the file, requests are answered and one line says so; then writing goes on."""
    caplog.set_level(logging.WARNING)
    with DecisionLog(tmp_path / "log.sqlite3") as log, scripted(log) as engine:
        engine.classify("before", plain_items(2))
        log.flush()
        with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            for at in range(2):
                assert engine.classify(f"meanwhile {at}", plain_items(2)).labels() == {"supporting": 2}
                log.flush()
            other.execute("ROLLBACK")
        assert log.n_lost == 2
        engine.classify("afterwards", plain_items(2))
        log.flush()
        assert n_rows(log.path, "requests") == 2
        assert [n for _, n in rows_of(log.path, "losses")] == [2]
    assert len(_said(caplog)) == 1


def test_a_full_disk_costs_entries_and_no_answer(tmp_path: Path) -> None:
    """Where the file may grow no further, requests are answered, one line says so, and the file stays whole."""
    code = (
        "import resource, sys; from cascade import DecisionLog; from tests.log.logs import scripted\n"
        "from tests.helpers.requests import plain_items\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "log = DecisionLog(sys.argv[1], texts='full')\n"
        "with log, scripted(log) as engine:\n"
        "    engine.classify('first', plain_items(2)); log.flush()\n"
        "    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))\n"
        "    for at in range(20):\n"
        "        report = engine.classify(f'task {at} ' + 'long ' * 10_000, plain_items(2))\n"
        "        assert report.labels() == {'supporting': 2}\n"
        "        log.flush()\n"
        "    lost = log.n_lost\n"
        "    assert 0 < lost < 20, lost\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))\n"
        "    engine.classify('last', plain_items(2)); log.flush()\n"
        "    assert log.n_lost == lost\n"
        "print(lost)\n"
    )
    path = tmp_path / "log.sqlite3"
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lost = int(done.stdout)
    assert done.stderr.count("cannot be written") == 1
    texts = [request.task_body.value["text"] for request in requests_of(path)]
    assert (len(texts), texts[0], texts[-1]) == (22 - lost, "first", "last")
    assert sum(n for _, n in rows_of(path, "losses")) == lost


def test_a_full_queue_drops_and_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """More jobs than may wait are lost at once, which nobody waits for; what is lost is in the file."""
    caplog.set_level(logging.WARNING)
    gate, busy = threading.Event(), threading.Event()

    def hold(_: sqlite3.Connection) -> None:
        busy.set()
        gate.wait(30)

    writer = LogWriter(tmp_path / "log.sqlite3", 2)
    assert writer.put(hold)
    assert busy.wait(30)
    assert [writer.put(lambda _: None) for _ in range(5)] == [True, True, False, False, False]
    assert writer.n_lost == 3
    gate.set()
    writer.close()
    assert [n for _, n in rows_of(writer.path, "losses")] == [3]
    assert len(_said(caplog)) == 1


def test_one_bad_entry_costs_no_other(tmp_path: Path) -> None:
    """What fails by itself, such as a redactor that raises, is lost alone."""

    def redact(text: str) -> str:
        if "bad" in text:
            msg = "no"
            raise ValueError(msg)
        return text

    with DecisionLog(tmp_path / "log.sqlite3", texts="full", redact=redact) as log:
        with scripted(log) as engine:
            for text in ("one", "bad two", "three", "bad four", "five"):
                engine.classify(text, plain_items(1))
        texts = [request.task_body.value["text"] for request in requests_of(log.path)]
        assert (texts, log.n_lost) == (["one", "three", "five"], 2)


def test_a_file_that_is_deleted_costs_nothing_more(tmp_path: Path) -> None:
    """A log whose folder has gone meanwhile costs no answer."""
    folder = tmp_path / "gone"
    folder.mkdir()
    with DecisionLog(folder / "log.sqlite3") as log, scripted(log) as engine:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        assert engine.classify("fix it", plain_items(2)).labels() == {"supporting": 2}
        log.flush()
        assert log.n_lost == 1


def _other(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")


def _later(path: Path) -> None:
    with closing(open_log_file(path)) as database:
        database.execute(f"PRAGMA user_version = {VERSION + 1}")


def _cut(path: Path) -> None:
    with DecisionLog(path, texts="full") as log, scripted(log) as engine:
        engine.classify("long " * 20_000, plain_items(20))
    path.write_bytes(path.read_bytes()[:3_000])


def _text(path: Path) -> None:
    path.write_text("no database at all, but a text that somebody wrote\n" * 100)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_other, "is no log of this package. Name another file, or move this one away."),
        (_text, "is no log of this package. Name another file, or move this one away."),
        (_later, f"is a log of version {VERSION + 1}; this release reads up to {VERSION}. Install a later release."),
        (_cut, "is damaged"),
        (Path.mkdir, "is a folder. Name a file in it"),
    ],
)
def test_bad_files_are_refused_and_left_alone(
    tmp_path: Path, make: object, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By an engine's log and by the commands, in a sentence that names the file; nothing of the file is changed."""
    path = tmp_path / "x.sqlite3"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(InputError) as caught:
        DecisionLog(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert main(["log", "prune", "--older-than", "0h", "--log", str(path)]) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err.count("\n") == 1
    assert (path.read_bytes() if path.is_file() else None) == before


def test_places_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    """A folder that is missing, and a name that cannot be one, before anything is asked."""
    for path in (tmp_path / "none" / "log.sqlite3", tmp_path / "a\0b", Path("/proc/log.sqlite3")):
        with pytest.raises(MachineError, match=r"cannot be used .* Name a file in a folder that can be written"):
            DecisionLog(path)


def test_a_folder_without_rights_is_refused(tmp_path: Path) -> None:
    """A folder that takes no file is named, before anything is asked."""
    code = "import sys; from cascade import DecisionLog; DecisionLog(sys.argv[1])"
    tmp_path.chmod(0o500)
    command = without_rights(sys.executable, "-c", code, str(tmp_path / "log.sqlite3"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    tmp_path.chmod(0o700)
    assert "MachineError: The log" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_engine_whose_log_is_refused_leaves_nothing_open(tmp_path: Path) -> None:
    """The file of a config's log is opened before any model, and closed if the engine does not come to be."""
    _text(tmp_path / "log.sqlite3")
    config = tmp_path / "my.toml"
    config.write_text('extends = "shipped"\n[log]\npath = "log.sqlite3"\n')
    with pytest.raises(InputError, match="is no log of this package"):
        Engine.open(config)
    config.write_text('extends = "shipped"\n[model]\npath = "none.gguf"\n[log]\npath = "other.sqlite3"\n')
    n_threads = threading.active_count()
    with pytest.raises(Exception, match=r"none\.gguf"):
        Engine.open(config)
    assert threading.active_count() == n_threads


def test_a_new_file_is_its_owners_alone(tmp_path: Path) -> None:
    """Nobody else may read what was asked; a file that is there keeps its rights."""
    DecisionLog(tmp_path / "log.sqlite3").close()
    assert (tmp_path / "log.sqlite3").stat().st_mode & 0o777 == 0o600
    (tmp_path / "log.sqlite3").chmod(0o640)
    DecisionLog(tmp_path / "log.sqlite3").close()
    assert (tmp_path / "log.sqlite3").stat().st_mode & 0o777 == 0o640


def test_empty_and_first_versions_are_brought_up(tmp_path: Path) -> None:
    """A file of no bytes becomes a log, and one that holds the first version opens with its rows."""
    empty = tmp_path / "empty.sqlite3"
    empty.touch()
    DecisionLog(empty).close()
    assert n_rows(empty, "requests") == 0
    first = tmp_path / "first.sqlite3"
    with closing(sqlite3.connect(first, isolation_level=None)) as database:
        database.executescript(MIGRATIONS[0])
        database.execute("PRAGMA application_id = 0x63617363")
        database.execute("PRAGMA user_version = 1")
        database.execute("INSERT INTO outcomes VALUES ('1', 1.0, 't', 'i', 'used', '', 1.0, '')")
    with DecisionLog(first) as log:
        log.record(Outcome(task="t", item="i", what="used", value=0))
    assert {row[6] for row in rows_of(first, "outcomes")} == {1.0, 0.0}
    with closing(open_log_file(first)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)


@pytest.mark.slow
def test_two_processes_write_one_log(tmp_path: Path) -> None:
    """Both write at once, and nothing of either is lost."""
    code = (
        "import sys; from cascade import DecisionLog; from tests.log.logs import scripted\n"
        "from tests.helpers.requests import plain_items\n"
        "log = DecisionLog(sys.argv[1])\n"
        "with log, scripted(log) as engine:\n"
        "    for at in range(60): engine.classify(f'{sys.argv[2]} {at}', plain_items(3)); log.flush()\n"
        "sys.exit(log.n_lost)\n"
    )
    path = tmp_path / "log.sqlite3"
    both = [subprocess.Popen([sys.executable, "-c", code, path, name], cwd=ROOT) for name in ("one", "two")]
    assert [process.wait(120) for process in both] == [0, 0]
    assert n_rows(path, "requests") == 120
    assert n_rows(path, "decisions") == 360


def test_settings_are_checked(tmp_path: Path) -> None:
    """What is no setting is refused before a file is made."""
    for bad in ({"texts": "some"}, {"max_waiting": 0}, {"reuse": 1}):
        with pytest.raises(InputError):
            DecisionLog(tmp_path / "log.sqlite3", **bad)
    with pytest.raises(InputError):
        DecisionLog(7)  # type: ignore[arg-type]
    assert not (tmp_path / "log.sqlite3").exists()
