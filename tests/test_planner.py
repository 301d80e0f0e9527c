"""Waves: who goes next, what fits, and that nobody is forgotten."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from cascade import read_config, shipped_config
from cascade.backends.scripted import ByteTokenizer
from cascade.planner import Room, next_wave
from cascade.prompt import FORMATS, Limits, PromptBuilder
from cascade.report import Provenance
from cascade.request import Request, new_request
from tests.requests import files, symbols

CASCADES = read_config(shipped_config()).cascades()
ADAPTERS = ("relevant", "primary", "supporting", "dependency", "co_change", "metadata")
PROVENANCE = Provenance(model="", adapters=dict.fromkeys(ADAPTERS, ""), prompt_format="", label_tokens=(0, 1))
WIDE = Room(nodes=1_000, tokens=1_000_000)


def _requests(sizes: list[tuple[str, int]]) -> list[Request]:
    found = []
    for seed, (name, n) in enumerate(sizes):
        task, items = symbols(seed, n) if name == "precision" else files(seed, n)
        request = new_request(task, items, CASCADES[name], PROVENANCE)
        request.grow(PromptBuilder(FORMATS["embedded"], ByteTokenizer(), Limits()), 1_000_000)
        found.append(request)
    return found


SIZES = st.lists(st.tuples(st.sampled_from(["precision", "scope"]), st.integers(1, 9)), min_size=1, max_size=5)


@given(SIZES, st.lists(st.floats(0.01, 0.99), min_size=7, max_size=7), st.integers(3, 40))
def test_every_question_on_an_items_way_is_asked_exactly_once(
    sizes: list[tuple[str, int]], answers: list[float], n_nodes: int
) -> None:
    """Waves have one adapter, include the oldest open request, fit the room, and end with every item done."""
    requests = _requests(sizes)
    asked: Counter[tuple[int, str, str]] = Counter()
    room = Room(nodes=n_nodes, tokens=1_000_000)
    while wave := next_wave([request.open_walks for request in requests], room):
        oldest = next(request for request in requests if request.open_walks)
        assert len({job.question.adapter for job in wave}) == 1
        assert any(job.walk in oldest.walks for job in wave)
        assert len(wave) == 1 or len({node for job in wave for node in job.walk.node.path}) <= n_nodes
        for number, job in enumerate(wave):
            assert job.walk.stage is not None
            asked[id(job.walk), job.walk.stage.name, job.tier] += 1
            job.walk.take(job.tier, answers[number % len(answers)])
    assert all(walk.is_done and walk.label for request in requests for walk in request.walks)
    assert set(asked.values()) == {1}
    assert sum(asked.values()) == sum(len(walk.steps) for request in requests for walk in request.walks)


def test_survivors_go_before_newcomers() -> None:
    """The deepest items of the oldest request are asked first, so that they free their cache."""
    (request,) = _requests([("precision", 9)])
    room = Room(nodes=6, tokens=1_000_000)
    first = next_wave([request.open_walks], room)
    for job in first:
        job.walk.take(job.tier, 0.99)
    second = next_wave([request.open_walks], room)
    assert {job.question.adapter for job in first} == {"relevant"}
    assert {job.question.adapter for job in second} == {"primary"}
    assert {job.walk for job in second} <= {job.walk for job in first}


def test_requests_share_a_wave_when_they_share_an_adapter() -> None:
    """Two callers of one cascade are scored together."""
    requests = _requests([("precision", 3), ("scope", 3), ("precision", 2)])
    wave = next_wave([request.open_walks for request in requests], WIDE)
    assert len(wave) == 5


def test_nothing_open_is_no_wave() -> None:
    """With no request there is nothing to do."""
    assert next_wave([], WIDE) == []
