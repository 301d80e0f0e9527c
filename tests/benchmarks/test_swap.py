"""The benchmark of swaps and shadows: it runs, and every ratio is a number above 0."""

from __future__ import annotations

import json

import pytest

from benchmarks.swap import main

pytestmark = pytest.mark.slow


def test_every_ratio_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A small run has all ratios, as JSON and in words."""
    main(["--items", "6", "--rounds", "2", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["items"], found["rounds"]) == (6, 2)
    assert all(ratio > 0 for name in ("swap", "shadow") for ratio in found[name].values())
    assert {"request_with_swap", "request_after_swap", "swap"} <= found["swap"].keys()
