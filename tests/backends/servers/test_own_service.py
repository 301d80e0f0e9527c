"""A cascade over ``cascade serve``, asked as a System One server, says what it says in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cascade import Engine
from cascade.service.metrics import Metrics
from tests.helpers.requests import files, symbols
from tests.helpers.service import serving
from tests.helpers.shipped import ADAPTERS, shipped_text

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3


def _config(folder: Path, url: str) -> Path:
    """The shipped config with every adapter on a server."""
    text = shipped_text()
    for name in ADAPTERS:
        text = re.sub(
            rf'^{name} = ".*{name}\.gguf"', f'{name} = {{ server = "own", name = "{name}" }}', text, flags=re.MULTILINE
        )
    path = folder / "own.toml"
    path.write_text(f'{text}\n[servers.own]\nkind = "systemone"\nurl = "{url}"\n', encoding="utf-8")
    return path


def test_scores_through_our_own_service_are_those_of_this_process(tmp_path: Path) -> None:
    """Every question of both cascades, with seed files, files and tiers."""
    metrics = Metrics()
    with (
        Engine.open(observers=(metrics,)) as engine,
        serving(engine, metrics) as url,
        Engine.open(_config(tmp_path, url)) as remote,
    ):
        for name, (task, items) in {"precision": symbols(1, 8), "scope": files(1, 8)}.items():
            here, there = engine.score(task, items, name), remote.score(task, items, name)
            assert [step.p_yes for steps in there for step in steps] == pytest.approx(
                [step.p_yes for steps in here for step in steps], abs=TOLERANCE
            )
