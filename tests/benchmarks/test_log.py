"""The benchmark of the log: what it prints is there, and what it says of reuse is so."""

from __future__ import annotations

import json

import pytest

from benchmarks.log import main

pytestmark = pytest.mark.slow


def test_figures_of_one_round(capsys: pytest.CaptureFixture[str]) -> None:
    """The second request is answered from the log, and the log's thread has taken time for each kind of it."""
    assert main(["--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rounds"] == 1
    assert found["reuse"]["hit_rate"] == 1.0
    assert all(found[name]["writer_ms"] > 0 for name in ("hash", "full"))
