"""The script that builds llama-server: what is missing is said, and an archive stays in its folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.build_llama_server import BuildError, build, main, unpack


def _archive(path: Path, member: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(member)
        info.size = 2
        archive.addfile(info, io.BytesIO(b"ok"))
    return path


def test_an_archive_is_unpacked_into_its_folder(tmp_path: Path) -> None:
    """The folder has the archive's name."""
    found = unpack(_archive(tmp_path / "source-1.0.tar.gz", "source-1.0/file"), tmp_path / "out")
    assert (found / "file").read_text() == "ok"
    assert found == tmp_path / "out" / "source-1.0"


@pytest.mark.parametrize("member", ["../outside", "/outside", "source-1.0/../../outside"])
def test_an_archive_does_not_reach_outside(member: str, tmp_path: Path) -> None:
    """Whatever its members are called, nothing lands above the folder."""
    archive = _archive(tmp_path / "source-1.0.tar.gz", member)
    with suppress(BuildError):  # an absolute name may also be made relative
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "outside").exists()
    assert not Path("/outside").exists()


@pytest.mark.parametrize(
    "damage", [lambda _: b"no archive", lambda data: data[:-30], lambda data: data[:40] + b"\xff" * 40]
)
def test_a_damaged_archive_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """In one line that names it."""
    archive = _archive(tmp_path / "source-1.0.tar.gz", "source-1.0/file")
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(BuildError, match=r"source-1\.0\.tar\.gz cannot be unpacked"):
        unpack(archive, tmp_path)


def test_missing_tools_end_with_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without cmake or a compiler nothing is fetched, and one line says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert main([str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: cmake is not on the PATH")
    cmake = tmp_path / "cmake"
    cmake.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    cmake.chmod(0o755)
    assert main([str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("error: A C++ compiler is missing")
    assert not (tmp_path / "out").exists()
    with pytest.raises(BuildError, match=r"`cmake -S .* failed"):
        build(tmp_path, tmp_path / "built", 1)
