"""Which labelled commits belong to a clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from adapters.recipe.clones import labelled_file


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of labelled commits of three repositories."""
    for place in ("train/pallets__jinja", "train/encode__httpx", "dev/pallets__flask"):
        file = tmp_path / "data" / f"{place}.jsonl.gz"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "data"


def cloned(folder: Path, origin: str = "") -> Path:
    """A bare repository that knows where it came from."""
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    if origin:
        subprocess.run(["git", f"--git-dir={folder}", "remote", "add", "origin", origin], check=True)
    return folder


@pytest.mark.parametrize("origin", ["https://git.example/pallets/jinja.git", "git@git.example:pallets/jinja"])
def test_a_clone_is_known_by_its_origin(tmp_path: Path, data: Path, origin: str) -> None:
    """The origin tells the repository, whatever the folder is called, even as another one."""
    assert labelled_file(cloned(tmp_path / "httpx", origin), data).name == "pallets__jinja.jsonl.gz"


@pytest.mark.parametrize("place", ["flask", "flask.git", "pallets__flask", "pallets/flask", "pallets+flask/repo"])
def test_a_clone_is_known_by_its_folder(tmp_path: Path, data: Path, place: str) -> None:
    """Without an origin the folder's name tells it, with or without the owner."""
    assert labelled_file(cloned(tmp_path / place), data) == data / "dev" / "pallets__flask.jsonl.gz"


def test_a_clone_that_nobody_labelled_is_refused(tmp_path: Path, data: Path) -> None:
    """The error says what was looked for, what there is, and what to do."""
    with pytest.raises(ValueError, match="may be called other__thing") as error:
        labelled_file(cloned(tmp_path / "x", "https://git.example/other/thing"), data)
    assert "encode__httpx" in str(error.value)
    assert "leave out --data" in str(error.value)


def test_a_name_that_two_owners_share_tells_nothing(tmp_path: Path, data: Path) -> None:
    """Two repositories of one name are told apart by their owner alone."""
    (data / "train" / "fork__flask.jsonl.gz").touch()
    with pytest.raises(ValueError, match="flask"):
        labelled_file(cloned(tmp_path / "flask"), data)
    assert labelled_file(cloned(tmp_path / "fork" / "flask"), data).name == "fork__flask.jsonl.gz"
