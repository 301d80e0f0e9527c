"""How the command starts and ends: help and wrong command lines, signals, and standard streams of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import pytest

from cascade.backends.llama.log import signals_held
from cascade.cli import main
from cascade.cli.output import ExitCode, Settings, guarded
from cascade.machine import install_package

pytestmark = pytest.mark.slow

COMMAND = (sys.executable, "-m", "cascade")
NAMES = (
    *(
        "classify",
        "evaluate",
        "depth",
        "tune",
        "audit",
        "check",
        "doctor",
        "quantize",
        "train",
        "improve",
        "serve",
        "config",
    ),
    *("config check", "config schema", "config show"),
)
CLASSIFY = ("classify", "--task", "part_1 is slow", "--items", "items.jsonl")
PATIENCE_S = 60


CASCADE = """
[model]
path = "base.gguf"

[cascade.f]
instructions = "plain, \u90e8\u54c1, f\u00fcnf"
labels = ["no", "yes"]
stages = [{ name = "s", question = "q?", adapter = "base", yes = { label = "yes" }, no = { label = "no" } }]
"""
SHOW = ("config", "show", "f", "--config", "f.toml")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a cascade and a file of items, some of whose signs are not ASCII."""
    lines = "".join(f'{{"id": "{name}", "name": "{name}"}}\n' for name in ("plain", "\u90e8\u54c1", "f\u00fcnf"))
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "f.toml").write_text(CASCADE, encoding="utf-8")
    return tmp_path


def shell(arguments: Sequence[str], folder: Path, redirection: str = "", **variables: str) -> tuple[int, str, str]:
    """The command in a shell: its exit code, and what it wrote."""
    kept = {name: value for name, value in os.environ.items() if name not in {"LC_ALL", "PYTHONIOENCODING"}}
    environment = kept | {"PYTHONPATH": str(Path(__file__).parents[2])} | variables
    line = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments]
    done = subprocess.run(line, capture_output=True, check=False, cwd=folder, env=environment)
    coding = variables.get("PYTHONIOENCODING", "utf-8")
    return done.returncode, done.stdout.decode(coding), done.stderr.decode(coding)


@pytest.mark.parametrize("name", ["", *NAMES])
def test_h_is_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """-h, --help and `help` show the same, for the program and for each command."""
    shown = []
    for arguments in ([*name.split(), "--help"], [*name.split(), "-h"], ["help", *name.split()]):
        assert main(arguments) == ExitCode.DONE
        out, err = capsys.readouterr()
        assert not err
        shown.append(out)
    assert f"Usage: cascade {name}".rstrip() in shown[0]
    assert shown[1:] == shown[:1] * 2


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """It goes to stdout."""
    assert main(["--version"]) == ExitCode.DONE
    assert capsys.readouterr() == (f"cascade {version('binary-cascade')}\n", "")


@pytest.mark.parametrize(
    ("arguments", "problem", "command"),
    [
        (["--bad"], "No such option: --bad.", "cascade"),
        (["clasify"], "No such command 'clasify'. Did you mean 'classify'?", "cascade"),
        (["help", "bad"], "No such command 'bad'.", "cascade"),
        (["config", "bad"], "No such command 'bad'.", "cascade config"),
        (["config", "show"], "Missing argument 'name'.", "cascade config show"),
        (["-v", "config", "show"], "Missing argument 'name'.", "cascade config show"),
        (["config", "check"], "Missing argument 'file'.", "cascade config check"),
        (["config", "check", "a", "b"], "Got unexpected extra argument(s) (b).", "cascade config check"),
        (["evaluate"], "Missing option '--cascade'.", "cascade evaluate"),
        (
            ["tune", "--unit", "day"],
            "Invalid value for '--unit': 'day' is not one of 'task', 'row' (given 'day').",
            "cascade tune",
        ),
        (
            ["classify", "--top", "0"],
            "Invalid value for '--top': Input should be greater than or equal to 1 (given '0').",
            "cascade classify",
        ),
        (
            ["classify", "--itens", "a"],
            "No such option: --itens (Possible options: --files, --fit, --items).",
            "cascade classify",
        ),
        (["config", "shwo"], "No such command 'shwo'. Did you mean 'show'?", "cascade config"),
        (["classify", "--task"], "Option '--task' requires an argument.", "cascade classify"),
        (
            ["classify", "--tusk", "a"],
            "No such option: --tusk (Possible options: --items, --task).",
            "cascade classify",
        ),
    ],
)
def test_a_wrong_command_line(
    arguments: list[str], problem: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line on stderr says what is wrong and names the help of the command that was meant."""
    assert main(arguments) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1] == f"error: {problem} See `{command} --help`."
    assert "-v" in arguments or err.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["config"]])
def test_without_a_command_there_is_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The help is shown all the same, and a script learns from the exit code that a command is missing."""
    assert main(arguments) == ExitCode.BAD_INPUT
    out, err = capsys.readouterr()
    name = " ".join(["cascade", *arguments])
    assert f"Usage: {name} [OPTIONS] COMMAND" in out
    assert err == f"error: Missing command. See `{name} --help`.\n"


def test_python_m_is_the_command() -> None:
    """`python -m cascade` goes by that name where it points to its help."""
    done = subprocess.run([*COMMAND, "bad"], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.BAD_INPUT
    assert done.stderr == "error: No such command 'bad'. See `python -m cascade --help`.\n"


def test_a_package_that_is_not_installed() -> None:
    """Where the program cannot be loaded, the command that installs what it needs is named."""
    code = "import sys; sys.modules['typer'] = None; from cascade.cli import main; sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.FAILURE
    assert done.stderr.startswith("error: The program cannot be loaded (")
    assert done.stderr.endswith(f"). Run `{install_package('binary-cascade')}`.\n")


@pytest.fixture
def hearing() -> Iterator[None]:
    """Processes that are started do not ignore SIGINT, even where the tests run in a shell's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("module", ["cascade.cli.streams", "typer", "rich", "pydantic", "numpy", "cascade.cli.program"])
def test_a_signal_while_modules_are_imported(module: str, number: signal.Signals, line: str) -> None:
    """One line and 128 plus the signal's number, whichever module has just been imported."""
    with subprocess.Popen(
        [*COMMAND, "config", "show", "precision"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
    ) as process:
        said = []
        for text in process.stderr or ():
            if not text.startswith("import time:"):
                said.append(text)
            elif text.rpartition("|")[2].strip() == module:
                process.send_signal(number)
    assert said == [f"error: {line}\n"]
    assert process.returncode == 128 + number


@pytest.mark.usefixtures("hearing")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a named pipe tells when the command reads")
@pytest.mark.parametrize(("number", "line"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_while_the_command_works(number: signal.Signals, line: str, tmp_path: Path) -> None:
    """The command is unwound: one line, and 128 plus the signal's number."""
    pipe = tmp_path / "pipe.toml"
    os.mkfifo(pipe)
    command = [*COMMAND, "config", "check", str(pipe)]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        pipe.open("w"),  # waits until the command opens it
    ):
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (out, err) == ("", f"error: {line}\n")
    assert process.returncode == 128 + number


UNWINDING = """
import signal, sys
from cascade.cli.output import Settings, guarded
from cascade.cli.signals import Signals

def command():
    with signals.unwinding():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            print("unwound", flush=True)
            signal.raise_signal(signal.SIGTERM)

signals = Signals()
signals.install()
sys.exit(guarded(command, Settings()))
"""


def test_a_second_signal_does_not_wait() -> None:
    """While the command unwinds, another signal ends it at once, with its own line and exit code."""
    done = subprocess.run([sys.executable, "-c", UNWINDING], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("unwound\n", "error: terminated\n")
    assert done.returncode == ExitCode.TERMINATED


def test_an_ignored_signal_stays_ignored() -> None:
    """A shell's job in the background, and what nohup starts, are not ended by signals that they were to ignore."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from cascade.cli import main; "
        "code = main(['config', 'schema']); assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN"
    )
    subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=True)


def test_handlers_are_put_back(capsys: pytest.CaptureFixture[str]) -> None:
    """Who calls the command within a process of his own keeps his handlers."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert main(["config", "schema"]) == ExitCode.DONE
    assert capsys.readouterr().out
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.usefixtures("hearing")
def test_signals_are_held_back_where_they_would_be_lost() -> None:
    """A signal that comes while llama.cpp may log is known at once, and raised at the end."""
    seen = []

    def load() -> None:
        with signals_held() as held:
            signal.raise_signal(signal.SIGINT)
            seen.extend(held)

    with pytest.raises(KeyboardInterrupt):
        load()
    assert seen == [signal.SIGINT]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


LOADING = """
import logging, signal
from cascade.engine.engine import Engine

class Pressing(logging.Handler):
    def emit(self, record):
        if record.levelno == logging.DEBUG:
            logging.getLogger("cascade.llama").removeHandler(self)
            signal.raise_signal(signal.SIGINT)

logging.getLogger("cascade.llama").addHandler(Pressing())
logging.getLogger("cascade.llama").setLevel(logging.DEBUG)
try:
    Engine.open()
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_while_a_model_is_loaded() -> None:
    """It is not lost where it comes while llama.cpp calls Python to log, and nothing is said of it."""
    done = subprocess.run([sys.executable, "-c", LOADING], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("interrupted\n", "")


@pytest.mark.parametrize("arguments", [CLASSIFY, (*CLASSIFY, "--json"), SHOW])
@pytest.mark.parametrize("redirection", [">&-", ">&- 2>&-", "<&- >&-"])
def test_a_closed_stdout(redirection: str, arguments: Sequence[str], folder: Path) -> None:
    """Nobody can read the results: exit code 1, and one line that says so where stderr is open."""
    said = "error: stdout is closed, so nobody can read the results. Let it be a file, a pipe or /dev/null.\n"
    found = shell(arguments, folder, redirection)
    assert found == (ExitCode.FAILURE, "", "" if "2>&-" in redirection else said)


@pytest.mark.parametrize("redirection", ["2>&-", "<&-", "<&- 2>&-", "2>/dev/full"])
def test_closed_streams_that_do_not_matter(redirection: str, folder: Path) -> None:
    """Without stdin or stderr, or with a full disk behind stderr, results and exit codes are the same."""
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    assert shell(SHOW, folder, redirection) == shell(SHOW, folder)
    bad, _, _ = shell(("config", "check", "missing.toml"), folder, redirection)
    assert bad == ExitCode.BAD_INPUT


def test_a_closed_stdin_is_named(folder: Path) -> None:
    """Where it was to be read, and not as if it were empty."""
    code, _, err = shell((*CLASSIFY[:3], "--items", "-"), folder, "<&-")
    assert code == ExitCode.BAD_INPUT
    assert err.startswith("error: stdin: cannot be read (it is closed)")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("arguments", [CLASSIFY, SHOW, ("config", "schema"), ("--help",)])
def test_a_full_disk_behind_stdout(arguments: Sequence[str], folder: Path) -> None:
    """Results that cannot be written are a failure, and the line names stdout and the cause."""
    said = "error: stdout cannot be written (No space left on device). The results are lost.\n"
    assert shell(arguments, folder, ">/dev/full") == (ExitCode.FAILURE, "", said)


@pytest.mark.parametrize("arguments", [["config", "schema"], ["config", "show", "precision"], ["--help"]])
def test_a_reader_that_leaves(arguments: list[str]) -> None:
    """When the reader of a pipe has gone, the command ends without a word."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert not done.stderr
    assert done.returncode == ExitCode.FAILURE


@pytest.mark.parametrize(
    ("variables", "shown"),
    [
        ({"PYTHONIOENCODING": "ascii"}, "plain, \\u90e8\\u54c1, f\\xfcnf"),
        ({"PYTHONIOENCODING": "latin-1"}, "plain, \\u90e8\\u54c1, f\u00fcnf"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "plain, \\u90e8\\u54c1, f\\xfcnf"),
        ({"LC_ALL": "C"}, "plain, \u90e8\u54c1, f\u00fcnf"),
    ],
)
def test_a_stdout_that_cannot_carry_all_signs(variables: dict[str, str], shown: str, folder: Path) -> None:
    """Everything is there, with the escape of each sign that the encoding lacks."""
    code, out, err = shell(SHOW, folder, **variables)
    assert (code, err) == (ExitCode.DONE, "")
    assert out.startswith(f"f: {shown}\n")


def test_items_whose_names_stdout_cannot_carry(folder: Path) -> None:
    """All rows are there, and the sum."""
    code, out, err = shell(CLASSIFY, folder, PYTHONIOENCODING="ascii")
    assert (code, err) == (ExitCode.DONE, "")
    for name in ("plain", "\\u90e8\\u54c1", "f\\xfcnf", "3 candidates: "):
        assert name in out


def test_an_error_in_an_encoding_that_lacks_its_signs(tmp_path: Path) -> None:
    """A file's name that is no UTF-8, or that stderr cannot carry, is shown by its escapes."""
    for name in (b"f\xfcnf.toml", "\u90e8.toml".encode()):
        command = [os.fsencode(part) for part in (*COMMAND, "config", "check")] + [name]
        environment = os.environ | {"PYTHONIOENCODING": "ascii"}
        done = subprocess.run(command, capture_output=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == ExitCode.BAD_INPUT
        assert done.stderr.startswith((b"error: f\\udcfcnf.toml: ", b"error: \\u90e8.toml: "))


@pytest.mark.parametrize("command", ["evaluate", "depth", "audit", "tune --target recall=0.9"])
def test_labelled_tasks_may_stand_behind_the_command(
    command: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are read as those of --data are; without either, one line says how to give them."""
    arguments = [*command.split(), "--cascade", "precision"]
    assert main(arguments) == ExitCode.BAD_INPUT
    assert "No labelled tasks are given" in capsys.readouterr().err
    for given in ([str(folder / "items.jsonl")], ["--data", str(folder / "items.jsonl")]):
        assert main([*arguments, *given]) == ExitCode.BAD_INPUT
        assert "items.jsonl, line 1: field 'task'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["doctor", "--seconds", "5"], "--seconds says how long --autotune measures."),
        (["audit", "--cascade", "precision", "a", "--within", "0"], "--within 0 was given; it must lie between"),
        (["audit", "--cascade", "precision", "a", "--worst", "-1"], "Invalid value for '--worst'"),
        (["depth", "--cascade", "precision", "items.jsonl", "--budget", "0"], "--budget: A budget of 0.0 ms"),
        (
            ["depth", "--cascade", "precision", "items.jsonl", "--f1-points-per-100ms", "-1"],
            "Invalid value for '--f1-points-per-100ms'",
        ),
    ],
)
def test_an_option_that_means_nothing_is_named(
    arguments: list[str], words: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value out of range, or an option without the one that it belongs to, is refused by its name."""
    monkeypatch.chdir(folder)
    assert main(arguments) == ExitCode.BAD_INPUT
    assert words in capsys.readouterr().err


def test_a_lack_of_memory_is_told_in_a_plain_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1 and what to do, without a Python class."""

    def command() -> object:
        raise MemoryError

    assert guarded(command, Settings(name="cascade", path="cascade")) is ExitCode.FAILURE
    assert capsys.readouterr().err.startswith("error: There is not enough memory for this. Free some, or raise")
