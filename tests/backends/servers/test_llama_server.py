"""The llama-server backend against a real one, which ``make test-servers`` builds.

Its path is in CASCADE_LLAMA_SERVER, or it lies where the build leaves it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.build_llama_server import FOLDER, TARGET
from benchmarks.server_scores import llama_server, served_config
from cascade import Config, Engine
from cascade.errors import ServerError
from tests.helpers.requests import files, symbols
from tests.helpers.shipped import questions_alone

PROGRAM = os.environ.get("CASCADE_LLAMA_SERVER") or str(FOLDER / "cmake" / "bin" / TARGET)
pytestmark = pytest.mark.skipif(not Path(PROGRAM).is_file(), reason="there is no llama-server; see `make test-servers`")

SHIPPED = questions_alone()
ADAPTERS = tuple(SHIPPED.files)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server with the shipped model and all of its adapters."""
    with llama_server(PROGRAM) as url:
        yield url


def config(url: str, **keys: object) -> Config:
    """The shipped config with all adapters on the server."""
    server = {
        "kind": "llama-server",
        "url": url,
        "model": "embedded",
        "in_flight": 4,
        "starts_per_second": 1_000,
        **keys,
    }
    return served_config(server, ADAPTERS)


@pytest.mark.parametrize("cascade", ["precision", "scope"])
def test_scores_are_those_of_this_process(cascade: str, url: str) -> None:
    """With every adapter, asked in turn, p(yes) is within 0.01 of the embedded backend's."""
    task, items = symbols(7, 40) if cascade == "precision" else files(7, 40)
    with Engine.open(SHIPPED) as engine:
        here = engine.score(task, items, cascade)
    with Engine.open(config(url)) as engine:
        there = engine.score(task, items, cascade)
    expected = [step.p_yes for own in here for step in own]
    assert [step.p_yes for own in there for step in own] == pytest.approx(expected, abs=0.01)
    assert max(expected) - min(expected) > 0.1


def test_adapters_do_not_share_a_cache(url: str) -> None:
    """The same items under changing adapters, over and over, have the same scores each time."""
    task, items = symbols(8, 6)
    with Engine.open(config(url)) as engine:
        first = engine.score(task, items, "precision")
        for stages in (("supporting", "relevant"), ("primary", "supporting", "relevant")):
            again = engine.score(task, items, "precision", *stages)
            for own, other in zip(first, again, strict=True):
                known = {step.stage: step.p_yes for step in own}
                assert all(step.p_yes == pytest.approx(known[step.stage], abs=0.005) for step in other)


def test_decisions_are_those_of_this_process(url: str) -> None:
    """A whole cascade decides alike, but for items within a hundredth of a threshold."""
    task, items = symbols(9, 40)
    with Engine.open(SHIPPED) as engine:
        here = engine.classify(task, items)
    with Engine.open(config(url)) as engine:
        there = engine.classify(task, items)
    for own, other in zip(here.decisions, there.decisions, strict=True):
        is_close = any(abs(step.p_yes - step.threshold) < 0.01 for step in own.steps)
        assert is_close or own.label == other.label
    assert there.stats.tokens_reused > there.stats.tokens_decoded


def test_what_it_lacks_is_named(url: str) -> None:
    """Another base model, or an adapter that it was not started with, is refused at open."""
    with pytest.raises(ServerError, match=r"embedded\.gguf.*servers\.far\.model is 'qwen'"):
        Engine.open(config(url, model="qwen"))
    table = config(url).model_dump(exclude_none=True, exclude_unset=True)
    table["adapters"]["primary"]["name"] = "stranger"
    with pytest.raises(ServerError, match="no adapter 'stranger'"):
        Engine.open(Config.model_validate(table))
