"""The benchmark of two models: what it compares is asked of both, and what it prints has its counts and ratios."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.make_model import Geometry, write_base
from benchmarks.two_models import Models, items, main
from cascade.config.schema import shipped_config
from cascade.report import Status

pytestmark = pytest.mark.slow

TINY = Geometry(n_layers=1, n_embd=64, n_heads=2, n_kv_heads=1, head_size=32, n_ffn=64, n_vocab=9_216)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A second model."""
    path = tmp_path / "large.gguf"
    write_base(path, "F16", TINY)
    return path


@pytest.mark.parametrize(("first", "weighs"), [("small", True), ("small", False), ("large", False)])
def test_every_other_item_is_asked_of_both(large: Path, first: str, *, weighs: bool) -> None:
    """Without a deadline all are decided, half of them by the large model, in whatever order waves go."""
    models = Models(shipped_config().parent / "embedded.gguf", large, "embedded", large.parent)
    with models.both(first, weighs=weighs) as engine:
        decisions = engine.classify("read it", items(10), "c", budget=None).decisions
    assert [decision.status for decision in decisions] == [Status.DECIDED] * 10
    asked = [[step.model for step in decision.steps] for decision in decisions]
    assert asked == [["small", "large"] if at % 2 else ["small"] for at in range(10)]


def test_counts_and_ratios_are_printed(large: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what ran on what, the ratios of running at once, and for three deadlines who decided how many."""
    assert main(["--large", str(large), "--seconds", "0.05", "--rounds", "1", "--items", "12"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert "embedded.gguf" in head
    assert "large.gguf" in head
    assert re.fullmatch(r"at once: \d+ items on the small model, \d+ on the large one; [\d.]+ s in turn", lines[0])
    assert [line.split(":")[0].strip() for line in lines[1:5]] == [
        "one engine, waves at once",
        "one engine, waves in turn",
        "an engine each, half of the cores each",
        "an engine each, all cores each",
    ]
    assert lines[5].startswith("weighed: 12 items, every other one on both models, ")
    counts = [list(map(int, re.findall(r"(\d+) decided", line))) for line in lines[6:]]
    assert [len(each) for each in counts] == [3, 3, 3]
    assert all(0 <= count <= 12 for each in counts for count in each)
