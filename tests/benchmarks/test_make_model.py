"""The model of random weights that benchmarks measure on: what is written can be used as the pages say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.make_model import Geometry, write_set
from benchmarks.speed.cli import main as speed
from cascade.cli import main
from cascade.cli.output import ExitCode

pytestmark = pytest.mark.slow

TINY = Geometry(n_layers=1, n_embd=64, n_heads=2, n_kv_heads=1, head_size=32, n_ffn=64, n_vocab=8_529)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of the same form as the real one, and small."""
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, geometry=TINY)
    return folder


@pytest.mark.parametrize("form", ["activated", "plain"])
def test_the_speed_of_a_made_model_can_be_measured(folder: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Its configs name nothing that is not there, and a workload runs on them."""
    config = str(folder / f"{form}.toml")
    assert main(["config", "check", config]) == ExitCode.DONE
    capsys.readouterr()
    assert speed(["--config", config, "--workload", "single", "--rounds", "1", "--json"]) == ExitCode.DONE
    assert json.loads(capsys.readouterr().out)["calls_per_item"] == 3
