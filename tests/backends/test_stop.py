"""Batches that are stopped: what was scored is right, and nothing half done is left in the cache."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cascade import Config, read_config, shipped_config
from cascade.backends.base import Batch, Query, Scores, Stop
from cascade.backends.llama.native import ContextSize
from cascade.models.model_set import load_model_set
from cascade.probability import p_yes
from cascade.prompt import Node
from tests.helpers.requests import files, symbols
from tests.helpers.rig import AfterCalls, Rig, queries_of

pytestmark = pytest.mark.slow

TOLERANCE = 1e-3
SIZE = ContextSize(n_ctx=1536, n_seq_max=40, n_batch=128, n_threads=1)


@pytest.fixture(scope="module")
def config() -> Config:
    """The shipped config."""
    return read_config(shipped_config())


@pytest.fixture(scope="module")
def rigs(config: Config) -> Iterator[tuple[Rig, Rig]]:
    """A small context, and one of its own for cold runs."""
    models = load_model_set(config)
    pair = Rig(models, SIZE), Rig(models, SIZE)
    yield pair
    for rig in pair:
        rig.native.close()


def _consistent(rig: Rig) -> bool:
    """Whether llama.cpp holds as many sequences as there are nodes on the books."""
    usage = rig.runner.usage()
    return usage.sequences == usage.nodes


def _batches(config: Config, rig: Rig, seed: int) -> list[list[Query]]:
    rng = random.Random(seed)
    name = rng.choice(("precision", "scope"))
    task, items = symbols(seed, 14) if name == "precision" else files(seed, 14)
    return list(queries_of(rig, config.cascades()[name], task, items).values())


def _compare(cold: Rig, queries: list[Query], scores: Scores, rng: random.Random) -> int:
    """Hold one of the scored queries against a cold run; returns how many were scored."""
    known = [at for at, logit in enumerate(scores.logits) if not math.isnan(logit)]
    if known:
        at = rng.choice(known)
        assert p_yes([scores.logits[at]])[0] == pytest.approx(cold.cold(queries[at]), abs=TOLERANCE)
    return len(known)


_TOO_LATE = 0.9  # the draw above which a batch is aborted once it is scored


def test_after_random_aborts_every_score_equals_a_cold_one(config: Config, rigs: tuple[Rig, Rig]) -> None:
    """A hundred batches ended at any moment: none leaves cells that were never computed."""
    rig, cold = rigs
    rng = random.Random(3)
    outcomes = {"none": 0, "some": 0, "all": 0}
    with ThreadPoolExecutor(1) as other:
        for seed in range(25):
            batches = _batches(config, rig, seed)
            for queries in batches:
                stop, reached, scored = Stop(), threading.Event(), threading.Event()

                def abort(
                    stop: Stop = stop,
                    reached: threading.Event = reached,
                    scored: threading.Event = scored,
                    after: float = rng.random(),
                ) -> None:
                    reached.wait()
                    if after > _TOO_LATE:
                        scored.wait()
                    threading.Event().wait(0.03 * after**2)
                    stop.abort()

                done = other.submit(abort)
                reached.set()
                scores = rig.runner.score(Batch(tuple(queries)), stop)
                scored.set()
                done.result()
                n = _compare(cold, queries, scores, rng)
                outcomes["none" if not n else "all" if n == len(queries) else "some"] += 1
                assert _consistent(rig)
                whole = rig.runner.score(Batch(tuple(queries)))
                assert _compare(cold, queries, whole, rng) == len(queries)
            rig.runner.release([queries[0].node.path[0] for queries in batches])
    assert len(rig.runner.store) == 0
    assert min(outcomes["none"] + outcomes["some"], outcomes["all"]) > 0, outcomes


@pytest.mark.parametrize("adapter", ["relevant", "dependency"])
def test_a_batch_that_is_asked_to_end_keeps_what_it_has_finished(
    adapter: str, config: Config, rigs: tuple[Rig, Rig]
) -> None:
    """After each number of calls: scores or NaN, lost nodes are off the books and the rest serves on."""
    rig, cold = rigs
    name, (task, items) = ("precision", symbols(5, 14)) if adapter == "relevant" else ("scope", files(5, 14))
    queries = queries_of(rig, config.cascades()[name], task, items)[adapter]
    seen = []
    for n_calls in range(12):
        rig.empty()
        scores = rig.runner.score(Batch(tuple(queries)), AfterCalls(n_calls))
        assert scores.cost.decode_calls <= n_calls
        assert {prefix_adapter for _, prefix_adapter in scores.lost} <= {rig.runner.prefix_adapter(adapter)}
        assert all(rig.runner.store.find(*key) is None for key in scores.lost)
        assert _consistent(rig)
        seen.append(_compare(cold, queries, scores, random.Random(n_calls)))
        again = rig.runner.score(Batch(tuple(queries)))
        assert again.cost.tokens_decoded + scores.cost.tokens_decoded >= _least(queries)
        assert p_yes(again.logits) == pytest.approx(
            p_yes(rig.runner.score(Batch(tuple(queries))).logits), abs=TOLERANCE
        )
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert seen[-1] == len(queries)


def _least(queries: list[Query]) -> int:
    nodes: dict[Node, None] = dict.fromkeys(node for query in queries for node in query.node.path)
    return sum(len(node.tokens) for node in nodes)


@pytest.mark.parametrize("adapter", ["base", "relevant", "dependency"])
def test_several_questions_of_an_item_go_into_one_batch(adapter: str, config: Config, rigs: tuple[Rig, Rig]) -> None:
    """They fork behind the item, whatever computes it; each scores as if alone, and nothing of them is left."""
    rig, cold = rigs
    rig.empty()
    task, items = symbols(9, 8)
    by_adapter = queries_of(rig, config.cascades()["precision"], task, items)
    queries = [Query(query.node, adapter) for at in range(8) for query in (own[at] for own in by_adapter.values())]
    scores = rig.runner.score(Batch(tuple(queries)))
    assert p_yes(scores.logits) == pytest.approx([cold.cold(query) for query in queries], abs=TOLERANCE)
    kept = {node for query in queries for node in query.node.path[:-1]}
    assert len(rig.runner.store) == len(kept)
    assert all(rig.runner.store.find(node, rig.runner.prefix_adapter(adapter)) for node in kept)
    assert _consistent(rig)
    assert scores.cost.tokens_decoded == _least(queries)


def test_a_stopped_chunk_has_no_answer_of_the_chunk_before(config: Config, rigs: tuple[Rig, Rig]) -> None:
    """Where chunks part the questions of an item, a question that was not asked does not get another's answer."""
    cold = rigs[1]
    tight = Rig(load_model_set(config), ContextSize(n_ctx=768, n_seq_max=4, n_batch=96, n_threads=1))
    task, items = symbols(9, 4)
    relevant, primary, _ = queries_of(tight, config.cascades()["precision"], task, items).values()
    queries = [Query(query.node, "relevant") for pair in zip(relevant, primary, strict=True) for query in pair]
    expected = [cold.cold(query) for query in queries]
    n_calls, n_scored = 0, 0
    while n_scored < len(queries):
        tight.empty()
        scores = tight.runner.score(Batch(tuple(queries)), AfterCalls(n_calls))
        known = [at for at, logit in enumerate(scores.logits) if not math.isnan(logit)]
        found = p_yes([scores.logits[at] for at in known])
        assert found == pytest.approx([expected[at] for at in known], abs=TOLERANCE), n_calls
        n_calls, n_scored = n_calls + 1, len(known)
    tight.native.close()
