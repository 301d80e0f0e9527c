"""The benchmark of batches: every row is answered once, and a resumed job asks nothing."""

from __future__ import annotations

import json

import pytest

from benchmarks.batches import main

pytestmark = pytest.mark.slow


def test_figures_of_a_small_job(capsys: pytest.CaptureFixture[str]) -> None:
    """Times of all parts are there, memory is read, and the calls are those that the script's answers lead to."""
    assert main(["--tasks", "20", "--items", "20", "--alone", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["asked_again"]) == (400, 0)
    assert 1 < found["calls_per_item"] < 1.5
    assert all(found[name]["cpu_us"] > 0 for name in ("alone", "together", "job", "alone_again", "resumed"))
    assert max(found["rss"].values()) > 0
