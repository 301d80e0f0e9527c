"""The completions backend against a real server: llama-cpp-python's own, with the shipped model and adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cascade import Config, Engine, Item, ServerError, Task, shipped_config
from cascade.adapters import load_model_set
from cascade.backends.base import Probe
from cascade.backends.native import ContextSize
from cascade.prompt import Node, Segment
from tests.gguf_files import write_plain
from tests.requests import symbols
from tests.rig import Rig
from tests.servers.python_server import python_server
from tests.shipped import questions_alone

pytest.importorskip("sse_starlette", reason="the extra `dev` brings llama-cpp-python's server")

SHIPPED = questions_alone()
CASCADE = SHIPPED.cascades()["precision"]
ADAPTERS = ("relevant", "primary")
N_VOCABULARY = 8_192  # the shipped adapters leave other tokens likelier than both labels


@dataclass(frozen=True, slots=True)
class Running:
    """A server with two adapters, and the files that they are."""

    url: str
    files: dict[str, Path]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server knows no activated adapters: it has plain ones, made of those that are shipped."""
    folder = tmp_path_factory.mktemp("server")
    shipped = shipped_config().parent
    files = {name: write_plain(shipped / f"{name}.gguf", folder / f"{name}.gguf") for name in ADAPTERS}
    with python_server(folder, files) as url:
        yield Running(url, files)


def config(url: str, model: str = "embedded", top_logprobs: int = N_VOCABULARY) -> Config:
    """The shipped config with two adapters, and its model, on the server."""
    server = {
        "kind": "completions",
        "url": url,
        "model": model,
        "prompt": "text",
        "in_flight": 1,
        "top_logprobs": top_logprobs,
    }
    served = {name: {"server": "python", "name": name} for name in ADAPTERS}
    table = SHIPPED.model_dump(exclude_none=True, exclude_unset=True)
    return Config.model_validate(table | {"servers": {"python": server}, "adapters": table["adapters"] | served})


def expected(rig: Rig, task: Task, items: list[Item], adapter: str) -> list[float]:
    """p(yes) by the model in this process, of the tokens that the server finds in the same text."""
    root = rig.builder.task(CASCADE.instructions, CASCADE.questions(), task)
    found = []
    for item in items:
        parent = rig.builder.group(root, item.group) if item.group else root
        prompt = rig.builder.question(rig.builder.item(parent, item), adapter).prompt
        tokens = tuple(rig.native.tokenizer.encode(rig.native.tokenizer.decode(prompt), special=True))
        item_node = Node(Node(None, Segment.TASK, tokens[:1]), Segment.ITEM, tokens[1:-1])
        found.append(rig.cold(Probe(Node(item_node, Segment.QUESTION, tokens[-1:]), adapter)))
    return found


def test_scores_are_those_of_the_same_tokens_here(server: Running) -> None:
    """With each adapter p(yes) is within 0.01 of that of the model in this process."""
    task, items = symbols(5, 12)
    here = SHIPPED.model_copy(update={"adapters": dict(server.files)})
    rig = Rig(load_model_set(here), ContextSize(n_ctx=512, n_seq_max=8, n_batch=256, n_threads=1))
    with Engine.open(config(server.url)) as engine:
        steps = engine.probe(task, items, "precision", *ADAPTERS)
    for number, adapter in enumerate(ADAPTERS):
        found = [own[number].p_yes for own in steps]
        assert found == pytest.approx(expected(rig, task, items, adapter), abs=0.01)
        assert max(found) - min(found) > 0.05
    rig.native.close()


def test_labels_beyond_the_top_are_an_error(server: Running) -> None:
    """With few log-probabilities the labels are not among them; this is said and not taken for 0 or 1."""
    task, items = symbols(5, 2)
    with Engine.open(config(server.url, top_logprobs=5)) as engine, pytest.raises(ServerError, match="top_logprobs"):
        engine.probe(task, items, "precision", "relevant")


def test_another_model_or_adapter_is_refused(server: Running) -> None:
    """What the server does not have is named."""
    with pytest.raises(ServerError, match=r"embedded = relevant = primary.*servers\.python\.model is 'qwen'"):
        Engine.open(config(server.url, model="qwen"))
    table = config(server.url).model_dump(exclude_none=True, exclude_unset=True)
    table["adapters"]["primary"]["name"] = "stranger"
    with pytest.raises(ServerError, match=r"no adapter 'stranger', which adapters\.primary names; it has relevant"):
        Engine.open(Config.model_validate(table))


def test_a_whole_cascade_runs(server: Running) -> None:
    """Two stages on the server and the last here: every item is decided."""
    task, items = symbols(6, 10)
    with Engine.open(config(server.url)) as engine:
        report = engine.classify(task, items, "precision")
    assert {str(decision.status) for decision in report.decisions} == {"decided"}
    assert report.stats.calls >= 10
