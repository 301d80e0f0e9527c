"""The baselines of the benchmark of speed, as far as they can be looked at without running them."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from gguf import GGUFValueType

from benchmarks.speed.baselines import BASELINES, BaselineChoice, BaselineError, BaselineSetup
from benchmarks.speed.server_baseline import read_answer, request_bodies, server_command
from benchmarks.speed.server_process import free_port
from benchmarks.speed.torch_baseline import PROJECTIONS, lora_options, padded, qwen3_geometry
from benchmarks.speed.workload import by_item, by_stage, labelled_queries, workload
from cascade.backends.llama.open import context_size
from cascade.models.gguf import GGUFFile, MetaValue, read_gguf
from cascade.models.model_set import load_model_set
from cascade.prompt import PromptBuilder
from tests.helpers.shipped import CASCADES, SHIPPED


def test_all_stands_for_every_baseline() -> None:
    """Each baseline once, whatever else was named; and each round unless said otherwise."""
    choice = BaselineChoice.of(["llama", "all", "llama"])
    assert choice.names == tuple(BASELINES)
    assert choice.takes_part(99)
    assert BaselineChoice.of(["llama", "llama"], n_rounds=2).names == ("llama",)
    assert [BaselineChoice.of([], n_rounds=2).takes_part(at) for at in range(3)] == [True, True, False]


@pytest.fixture
def setup(builder: PromptBuilder) -> BaselineSetup:
    """What baselines are asked: a scope and a precision request of the shipped set."""
    found = workload("mixed-8", builder, CASCADES)
    found = replace(found, calls=found.calls[:2])
    return BaselineSetup(
        config=SHIPPED,
        models=load_model_set(SHIPPED),
        workload=found,
        queries=labelled_queries(found, builder, CASCADES),
        labels=builder.label_tokens(),
        size=replace(context_size(SHIPPED.model), n_threads=3),
    )


@pytest.mark.slow
def test_orders_hold_every_query_once(setup: BaselineSetup) -> None:
    """By stage no adapter comes twice; by item a question follows those that lead to it."""
    everything = list(range(len(setup.queries)))
    stages, items = by_stage(setup.queries), by_item(setup.queries)
    assert sorted(at for part in stages for at in part) == everything
    assert sorted(at for part in items for at in part) == everything
    assert [{setup.queries[at].adapter for at in part} for part in stages] == [{name} for name in setup.adapters]
    assert len(items) == setup.workload.n_items
    assert all(part == sorted(part, key=lambda at: setup.queries[at].depth) for part in items)


def test_a_request_names_its_adapter_and_both_labels(setup: BaselineSetup) -> None:
    """Every adapter of the server has a scale, and only that of the query is on."""
    bodies = [json.loads(body) for body in request_bodies(setup)]
    assert len(bodies) == len(setup.queries)
    for query, body in zip(setup.queries, bodies, strict=True):
        assert body["prompt"] == list(query.node.prompt)
        assert (body["n_predict"], body["cache_prompt"], body["n_probs"], body["top_k"]) == (1, True, 2, 2)
        assert [entry["id"] for entry in body["lora"]] == list(range(len(setup.adapters)))
        (on,) = (entry["id"] for entry in body["lora"] if entry["scale"])
        assert setup.adapters[on] == query.adapter
        assert {token for token, _ in body["logit_bias"]} == set(setup.labels)
        assert len({bias for _, bias in body["logit_bias"]}) == 1


def test_the_server_gets_every_adapter_and_room_for_every_slot(setup: BaselineSetup) -> None:
    """Adapters in the order of the requests' numbers; cells for the longest prompt in each slot."""
    command = server_command(setup, Path("llama-server"), 4, Path("folder"))
    given = [value for key, value in pairwise(command) if key == "--lora"]
    assert given == [str(setup.models.adapters[name].path) for name in setup.adapters]
    options = {key: value for key, value in pairwise(command) if key.startswith("-")}
    assert options["-np"] == "4"
    assert options["-t"] == options["-tb"] == "3"
    assert int(options["-c"]) >= 4 * (setup.longest + 1)
    assert options["--cache-ram"] == "0"
    assert {"-kvu", "--lora-init-without-apply"} <= set(command)


def _answer(*tokens: tuple[int, float]) -> bytes:
    top = [{"id": token, "token": "?", "prob": prob} for token, prob in tokens]
    return json.dumps({"completion_probabilities": [{"id": tokens[0][0], "top_probs": top}]}).encode()


def test_p_yes_is_among_yes_and_no() -> None:
    """Whatever their order, and whatever else the server gave a share."""
    assert read_answer(_answer((8, 0.75), (7, 0.25)), (7, 8)) == pytest.approx(0.25)
    assert read_answer(_answer((7, 0.6), (9, 0.2), (8, 0.2)), (7, 8)) == pytest.approx(0.75)


@pytest.mark.parametrize(
    "body",
    [
        _answer((7, 1.0)),
        b'{"completion_probabilities": []}',
        b'{"error": {"message": "no"}}',
        b"[]",
        b"<html>",
        b"\xff",
    ],
)
def test_an_answer_without_both_labels_is_refused(body: bytes) -> None:
    """It would be a wrong p(yes), not a missing one."""
    with pytest.raises(BaselineError, match="no probability for the labels"):
        read_answer(body, (7, 8))


def test_a_free_port_can_be_listened_on() -> None:
    """It is a loopback port that nothing holds."""
    with closing(socket.socket()) as own:
        own.bind(("127.0.0.1", free_port()))


def test_prompts_are_padded_on_the_left() -> None:
    """So that all end at the last position, and the mask tells padding from prompt."""
    tokens, mask = padded([(5, 6, 7), (8,)])
    assert tokens.tolist() == [[5, 6, 7], [0, 0, 8]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_torch_gets_the_geometry_of_the_gguf_file(setup: BaselineSetup) -> None:
    """Sizes of the model, and rank and projections of each adapter."""
    models = setup.models
    geometry = qwen3_geometry(read_gguf(models.model_path))
    assert geometry["num_hidden_layers"] == models.model.n_layers
    assert geometry["vocab_size"] == models.model.n_vocab
    width, n_query = models.model.shapes["blk.0.attn_q.weight"]
    assert geometry["hidden_size"] == width
    assert geometry["num_attention_heads"] * geometry["head_dim"] == n_query
    for adapter in models.adapters.values():
        options = lora_options(adapter, read_gguf(adapter.path))
        assert options["r"] == adapter.info.rank
        assert set(options["target_modules"]) <= set(PROJECTIONS.values())
        assert options["target_modules"]


def test_torch_is_not_asked_with_other_models() -> None:
    """Their geometry would be another's."""
    name = MetaValue(type=GGUFValueType.STRING, value="llama")
    file = GGUFFile(path=Path("other.gguf"), size=0, metadata={"general.architecture": name}, tensors={})
    with pytest.raises(BaselineError, match="this one is llama"):
        qwen3_geometry(file)
