"""The benchmark of texts: its requests differ by just the tokens that it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.make_model import Geometry, write_set
from benchmarks.texts import main

pytestmark = pytest.mark.slow


def test_the_tokens_are_exact(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The first stage computes nothing more; the second the texts of survivors, each with what stands before it."""
    write_set(tmp_path, "F16", Geometry(n_layers=1, n_embd=64, n_heads=2, n_kv_heads=1, head_size=32, n_ffn=64))
    options = ("--rounds", "1", "--items", "20", "--survivors", "3", "--tokens", "30")
    assert main([str(tmp_path / "activated.toml"), *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"tokens: 0 more in the first stage; {3 * 31} for 3 texts of 30; {3 * 30} in lines\n")
    assert [line.partition(":")[0] for line in out.splitlines()] == ["tokens", "cpu_s", "wall_s"]
