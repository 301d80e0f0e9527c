"""The completions backend against a real server: llama-cpp-python's own, with the shipped model and adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.server_scores import PLAIN, TARGET, plain_server, python_config, scores, scores_of_text
from cascade import Config, Engine
from cascade.errors import ServerError
from tests.helpers.requests import symbols

pytestmark = pytest.mark.slow

pytest.importorskip("sse_starlette", reason="the extra `dev` brings llama-cpp-python's server")


@dataclass(frozen=True, slots=True)
class Running:
    """A server with two adapters, and the files that they are."""

    url: str
    files: dict[str, Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server knows no activated adapters: it has plain ones, made of those that are shipped."""
    with plain_server(tmp_path_factory.mktemp("server")) as (url, files):
        yield Running(url, files)


def test_scores_are_those_of_the_same_tokens_here(server: Running) -> None:
    """With each adapter p(yes) is within 0.01 of that of the model in this process."""
    sample = [symbols(5, 12)]
    found = scores(python_config(server.url), "precision", sample, PLAIN)
    assert found == pytest.approx(scores_of_text(server.files, sample), abs=TARGET)
    for number in range(len(PLAIN)):
        assert max(found[number :: len(PLAIN)]) - min(found[number :: len(PLAIN)]) > 0.05


def test_labels_beyond_the_top_are_an_error(server: Running) -> None:
    """With few log-probabilities the labels are not among them; this is said and not taken for 0 or 1."""
    task, items = symbols(5, 2)
    with (
        Engine.open(python_config(server.url, top_logprobs=5)) as engine,
        pytest.raises(ServerError, match="top_logprobs"),
    ):
        engine.score(task, items, "precision", "relevant")


def test_another_model_or_adapter_is_refused(server: Running) -> None:
    """What the server does not have is named."""
    with pytest.raises(ServerError, match=r"embedded = relevant = primary.*servers\.far\.model is 'qwen'"):
        Engine.open(python_config(server.url, model="qwen"))
    table = python_config(server.url).model_dump(exclude_none=True, exclude_unset=True)
    table["adapters"]["primary"]["name"] = "stranger"
    with pytest.raises(ServerError, match=r"no adapter 'stranger', which adapters\.primary names; it has relevant"):
        Engine.open(Config.model_validate(table))


def test_a_whole_cascade_runs(server: Running) -> None:
    """Two stages on the server and the last here: every item is decided."""
    task, items = symbols(6, 10)
    with Engine.open(python_config(server.url)) as engine:
        report = engine.classify(task, items, "precision")
    assert {str(decision.status) for decision in report.decisions} == {"decided"}
    assert report.stats.calls >= 10
