"""The benchmark of the index on a small checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.index import Cost, Peer, main
from benchmarks.index import measure as measured
from tests.helpers.checkout import Checkout


@pytest.mark.slow
def test_the_index_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure is there, libraries that are not installed are named, and those that are find the same."""
    checkout = Checkout(tmp_path / "repo").init()
    checkout.commit({f"part{at}.py": f"def close_{at}(result):\n    return result * {at}\n" for at in range(12)})
    figures = measured(checkout.root, "close the result twice")
    assert (figures["files"], figures["symbols"], figures["commits"]) == (12, 12, 1)
    costs = [value for value in figures.values() if isinstance(value, Cost)]
    assert len(costs) == 5
    assert all(cost.wall_s > 0 for cost in costs)
    libraries = figures["libraries"]
    assert next(peer.alike for peer in libraries if isinstance(peer, Peer)) == 10
    assert all(isinstance(peer, Peer) or " is left out: " in peer for peer in libraries)
    task = tmp_path / "task.txt"
    task.write_text("close 7", encoding="utf-8")
    main([str(checkout.root), "--task", str(task)])
    assert "| postings |" in capsys.readouterr().out
