"""``cascade dataset mine``: commits of a repository become labelled tasks that a dataset is built from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.dataset.clone import Clone, git_folder
from tests.helpers.checkout import Checkout

OLD = "def read(path):\n    return open(path)\n\n\ndef close(file):\n    file.close()\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A repository whose third commit changes one of two functions."""
    found = Checkout(tmp_path / "shop").init()
    found.commit({"files.py": OLD}).commit({"notes.txt": "x"})
    found.write({"files.py": OLD.replace("open(path)", "path.open()")})
    found.git("add", "-A")
    found.git("commit", "-q", "-m", "Open files through their path\x01s", "-m", "Paths know how.")
    return found


def test_commits_become_tasks(checkout: Checkout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message is the task, the function that changed is primary, others are excluded; a dataset takes them."""
    file = tmp_path / "mined.jsonl"
    assert main(["dataset", "mine", str(checkout.root), str(file), "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out) == {
        "repository": str(checkout.root), "file": str(file), "commits": 3, "tasks": 1
    }  # fmt: skip
    (row,) = map(json.loads, file.read_text().splitlines())
    assert (row["repo"], row["seed"]) == ("shop", "files.py")
    assert row["date"].startswith("2024-01-01T00:00:00")
    assert row["task"].startswith("Open files through their path")
    assert {one["qualname"]: one["label"] for one in row["symbols"]} == {"read": "primary", "close": "excluded"}
    out = tmp_path / "set"
    named = ["--cascade", "precision", "--data", str(file), "--out", str(out), "--json"]
    assert main(["dataset", "build", *named]) == ExitCode.DONE
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["parts"]["train"]["labels"] == {"primary": 1, "excluded": 1}
    assert manifest["sources"][0]["first"] == "2024-01-01T00:00:00Z"


def test_what_cannot_be_mined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without git, one that is not there, and a repository without commits are refused; nothing is written."""
    file, empty = tmp_path / "mined.jsonl", Checkout(tmp_path / "empty").init()
    (tmp_path / "plain").mkdir()
    for root, message in (
        (tmp_path / "plain", "is no git repository"),
        (tmp_path / "nowhere", "there is no such folder"),
        (empty.root, "git cannot read the history"),
    ):
        assert main(["dataset", "mine", str(root), str(file)]) == ExitCode.BAD_INPUT
        assert message in capsys.readouterr().err
        assert not file.exists()
    empty.commit({"a.py": "x = 1\n"})
    assert main(["dataset", "mine", str(empty.root), str(file)]) == ExitCode.DONE
    assert "no commit says in words what it changes" in capsys.readouterr().err


def test_a_bare_repository(checkout: Checkout, tmp_path: Path) -> None:
    """It is read as it is, and a checkout by the folder that git names, from any folder below."""
    bare = tmp_path / "bare.git"
    checkout.git("clone", "-q", "--bare", str(checkout.root), str(bare))
    below = checkout.root / "deep"
    below.mkdir()
    assert git_folder(bare) == bare
    assert git_folder(below).samefile(checkout.root / ".git")
    with Clone(bare) as clone:
        assert [one.changes[0].new for one in clone.commits.values()] == ["files.py", "notes.txt", "files.py"]
