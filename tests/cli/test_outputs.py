"""Files that are written: whole or not at all, and not in place of what was made for something else."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.errors import InputError, MachineError
from cascade.files import STDIN, check_folder, check_output, check_replaceable, whole_file, write_whole
from tests.tuning.test_search import write_data

TARGET = ["--target", "recall=0.5"]


def test_an_interrupt_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """Half of the new one is gone with it; the next try replaces the old one, and its rights stay."""
    path = tmp_path / "x"
    path.write_bytes(b"old")
    path.chmod(0o640)

    def interrupted() -> None:
        with whole_file(path) as part:
            part.write_bytes(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    write_whole(path, b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_links_and_pipes_stay_what_they_are(tmp_path: Path) -> None:
    """What a link leads to is replaced; a pipe gets the bytes; a new file may be read by whom others may."""
    link, target, pipe = tmp_path / "link", tmp_path / "target", tmp_path / "pipe"
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    other = tmp_path / "other"
    other.touch()
    assert target.stat().st_mode == other.stat().st_mode
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_output(pipe)
    write_whole(pipe, b"through")
    assert os.read(reader, 99) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_no_file_takes_the_place_of_a_pipe(tmp_path: Path) -> None:
    """A file that is made anew refuses what is no regular file before its block begins, links to it included."""
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)

    def replaced(path: Path) -> None:
        with whole_file(path):
            pytest.fail("the work began")

    for path in (pipe, link):
        for refuses in (replaced, check_replaceable):
            with pytest.raises(InputError, match=r"is a pipe, a socket or a device.* Name a regular file"):
                refuses(path)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(tmp_path.iterdir()) == [link, pipe]


def test_no_file_is_called_as_stdout_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dash, which means stdout elsewhere, is refused as the name of a file or a folder to write."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^-: means stdout, .* Give the name of a file"):
        check_output(STDIN)
    with pytest.raises(InputError, match=r"^-: means stdout, .* Give the name of a file"):
        write_whole(STDIN, b"")
    with pytest.raises(InputError, match=r"^-: means stdout, .* Give the name of a folder"):
        check_folder(STDIN, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "option"),
    [("tune", "--out"), ("tune", "--scores"), ("depth", "--out"), ("depth", "--plot"), ("audit", "--html")],
)
def test_every_command_refuses_a_dash_that_it_cannot_write(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is run, and no file is called so."""
    write_data(tmp_path / "data.jsonl", 3)
    before = sorted(tmp_path.iterdir())
    monkeypatch.chdir(tmp_path)
    target = TARGET if command == "tune" else []
    assert main([command, "data.jsonl", "--cascade", "precision", *target, option, "-"]) == ExitCode.BAD_INPUT
    assert "-: means stdout" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_what_cannot_be_written_is_named_before(tmp_path: Path) -> None:
    """Folders, files in folders that are not there, and a disk that is full."""
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path)
    with pytest.raises(InputError, match="there is no folder"):
        check_output(tmp_path / "absent" / "x")
    if Path("/dev/full").exists():
        with pytest.raises(MachineError, match="/dev/full: cannot be written"):
            write_whole(Path("/dev/full"), b"x")


@pytest.mark.slow
def test_scores_of_other_tasks_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An audit of fewer tasks is refused, and says what differs; the same tasks use them; --force replaces them."""
    command, scores = write_data(tmp_path / "twelve.jsonl", 12), tmp_path / "s.npz"
    six = tmp_path / "six.jsonl"
    six.write_text(
        "\n".join((tmp_path / "twelve.jsonl").read_text(encoding="utf-8").splitlines()[6:]), encoding="utf-8"
    )
    assert main([*command, *TARGET, "--scores", str(scores)]) == ExitCode.DONE
    kept = scores.read_bytes()
    audit = ["audit", "--cascade", "precision", *command[5:7], "--scores", str(scores), "--data"]
    capsys.readouterr()
    assert main([*audit, str(six)]) == ExitCode.BAD_INPUT
    shown = " ".join(capsys.readouterr().err.split())
    assert "s.npz: holds scores already, made for something else (other: tasks)" in shown
    assert "--force" in shown
    assert main([*audit, str(tmp_path / "twelve.jsonl")]) == ExitCode.DONE
    assert main([*audit, str(tmp_path / "twelve.jsonl"), "--force"]) == ExitCode.DONE
    assert scores.read_bytes() == kept
    assert main([*audit, str(six), "--force"]) == ExitCode.DONE
    assert scores.read_bytes() != kept
    scores.write_text("a letter", encoding="utf-8")
    assert main([*audit, str(six)]) == ExitCode.BAD_INPUT
    assert "holds something other than scores" in capsys.readouterr().err
    assert scores.read_text(encoding="utf-8") == "a letter"
    assert main([*audit, str(six), "--force"]) == ExitCode.DONE


@pytest.mark.slow
def test_thresholds_of_other_tasks_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the same tasks they are, by another target too; a file of another kind never, unless forced."""
    command, out = write_data(tmp_path / "a.jsonl", 12), tmp_path / "x.toml"
    to_out = [*TARGET, "--out", str(out)]
    out.write_text("[letter]\nto = 'you'\n", encoding="utf-8")
    assert main([*command, *to_out]) == ExitCode.BAD_INPUT
    assert "is there already, and holds something other than thresholds" in " ".join(capsys.readouterr().err.split())
    assert out.read_text(encoding="utf-8").startswith("[letter]")
    assert main([*command, *to_out, "--force"]) == ExitCode.DONE
    first = out.read_text(encoding="utf-8")
    assert main([*command, "--target", "recall=0.4", "--out", str(out)]) == ExitCode.DONE
    assert out.read_text(encoding="utf-8") != first
    second = out.read_text(encoding="utf-8")
    other = write_data(tmp_path / "b.jsonl", 13)
    capsys.readouterr()
    assert main([*other, "--no-guarantee", *to_out]) == ExitCode.BAD_INPUT
    assert "x.toml: holds thresholds already, made for something else (other: tasks)" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == second
    assert main([*other, "--no-guarantee", *to_out, "--force"]) == ExitCode.DONE


def test_a_file_is_not_read_and_written_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not by force either, and not by another name; nor is one file written twice."""
    data, new = tmp_path / "a.jsonl", str(tmp_path / "new")
    command = [*write_data(data, 12), *TARGET, "--force"]
    before = data.read_bytes()
    (tmp_path / "link").symlink_to(data)
    assert main([*command, "--out", str(tmp_path / "link")]) == ExitCode.BAD_INPUT
    assert "is read by the same command" in capsys.readouterr().err
    assert main([*command, "--out", new, "--scores", new]) == ExitCode.BAD_INPUT
    assert "is written with something else by the same command" in capsys.readouterr().err
    assert main(["depth", "--cascade", "precision", *command[3:7], "--force", "--out", str(data)]) == ExitCode.BAD_INPUT
    assert data.read_bytes() == before


@pytest.mark.slow
def test_profiles_and_pictures_of_other_tasks_are_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A profile says what it was learned from; one that does not, and pictures, are replaced by force alone."""
    config = write_data(tmp_path / "a.jsonl", 2)[5:7]
    write_data(tmp_path / "b.jsonl", 3)
    out, pictures = tmp_path / "x.toml", tmp_path / "plots"
    command = ["depth", "--cascade", "precision", *config, "--out", str(out), "--data"]
    assert main([*command, str(tmp_path / "a.jsonl")]) == ExitCode.DONE
    assert main([*command, str(tmp_path / "a.jsonl")]) == ExitCode.DONE
    first = out.read_text(encoding="utf-8")
    capsys.readouterr()
    assert main([*command, str(tmp_path / "b.jsonl")]) == ExitCode.BAD_INPUT
    assert "holds a profile already, made for something else (other: tasks)" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == first
    out.write_text("[pass_rates]\n", encoding="utf-8")
    assert main([*command, str(tmp_path / "a.jsonl")]) == ExitCode.BAD_INPUT
    assert "and does not say of what" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "b.jsonl"), "--force"]) == ExitCode.DONE
    pictures.mkdir()
    (pictures / "precision-depth.png").write_bytes(b"mine")
    assert main([*command, str(tmp_path / "b.jsonl"), "--plot", str(pictures)]) == ExitCode.BAD_INPUT
    assert (pictures / "precision-depth.png").read_bytes() == b"mine"


@pytest.mark.slow
def test_reports_of_others_are_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report of the same tasks is made anew; one of others, anybody's own, and their pictures, by force alone."""
    command = ["audit", "--cascade", "precision", *write_data(tmp_path / "a.jsonl", 4)[5:7], "--data"]
    write_data(tmp_path / "b.jsonl", 5)
    one, other = [*command, str(tmp_path / "a.jsonl")], [*command, str(tmp_path / "b.jsonl")]
    report = tmp_path / "report" / "index.html"
    to_report = ["--html", str(report.parent)]
    assert main([*one, *to_report]) == ExitCode.DONE
    assert main([*one, *to_report]) == ExitCode.DONE
    first = report.read_bytes()
    capsys.readouterr()
    assert main([*other, *to_report]) == ExitCode.BAD_INPUT
    said = " ".join(capsys.readouterr().err.split())
    assert "holds an HTML report already, made for something else (other: tasks)" in said
    assert report.read_bytes() == first
    assert main([*other, *to_report, "--force"]) == ExitCode.DONE
    report.write_text("<h1>mine</h1>", encoding="utf-8")
    assert main([*one, *to_report]) == ExitCode.BAD_INPUT
    assert "holds something other than an HTML report" in capsys.readouterr().err
    assert report.read_text(encoding="utf-8") == "<h1>mine</h1>"
    fresh = tmp_path / "new" / "report"
    assert main([*command, str(tmp_path / "absent.jsonl"), "--html", str(fresh)]) == ExitCode.BAD_INPUT
    assert not fresh.parent.exists()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "confusion.png").write_bytes(b"mine")
    assert main([*one, "--html", str(mine)]) == ExitCode.BAD_INPUT
    assert [path.name for path in mine.iterdir()] == ["confusion.png"]
