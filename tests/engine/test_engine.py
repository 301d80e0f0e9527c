"""The engine's guarantees, on a scripted backend: order, short-circuit, many callers, failures."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from cascade import Decision, Engine, Item, Limits, ScriptedBackend, Status
from cascade.backends.base import Batch, Scores, Stop
from cascade.backends.scripted import Script
from cascade.errors import BackendError, ClosedError, ConfigError, InputError, ItemError, ServerError
from tests.helpers.asyncs import run
from tests.helpers.requests import files, plain_items, symbols
from tests.helpers.shipped import ADAPTERS, CASCADES


def _engine(**fields: object) -> tuple[Engine, ScriptedBackend]:
    fields.setdefault("script", dict.fromkeys(ADAPTERS, 0.99))
    backend = ScriptedBackend(adapters=ADAPTERS, **fields)  # type: ignore[arg-type]
    return Engine(backend, CASCADES), backend


def _by_name(adapter: str, prompt: str) -> float:
    """Items with an even number are relevant; every fourth is primary; nothing is supporting."""
    number = int(prompt.rsplit("name_", maxsplit=1)[-1].split("<", maxsplit=1)[0].split(maxsplit=1)[0].rstrip("|"))
    return {"relevant": 0.9 if number % 2 == 0 else 0.01, "primary": 0.9 if number % 4 == 0 else 0.02}.get(
        adapter, 0.03
    )


def test_decisions_come_in_input_order_with_their_steps() -> None:
    """Each item walks its own path, and an item that settles is asked nothing more."""
    engine, backend = _engine(script=_by_name)
    with engine:
        report = engine.classify("a task", plain_items(8))
    assert [decision.id for decision in report.decisions] == [f"item-{at}" for at in range(8)]
    assert [decision.label for decision in report.decisions] == [
        "primary", "excluded", "type_context", "excluded", "primary", "excluded", "type_context", "excluded",
    ]  # fmt: skip
    assert [len(decision.steps) for decision in report.decisions] == [2, 1, 3, 1, 2, 1, 3, 1]
    assert all(decision.status is Status.DECIDED for decision in report.decisions)
    assert report.stats.calls == 8 + 4 + 2 == sum(len(batch.queries) for batch in backend.batches)
    assert report.stats.calls_per_item == 14 / 8


async def _each_way(engine: Engine, items: list[Item], cascade: str) -> None:
    await asyncio.to_thread(engine.classify, "fix the parser", items, cascade)
    await asyncio.to_thread(engine.score, "fix the parser", items, cascade, "relevant")
    await engine.aclassify("fix the parser", items, cascade)
    await engine.ascore("fix the parser", items, cascade, "relevant")
    async for _ in engine.stream("fix the parser", items, cascade):
        pass


@run
async def test_a_cascade_may_make_evidence() -> None:
    """Whichever way items are given, those without evidence get it; those that bring some stay as they are."""
    items = [
        Item(id="1", name="parser", text="def parser(): fix()"),
        Item(id="2", name="parser", evidence=("my own words",)),
        Item(id="3", name="cache", text="def cache(): ..."),
    ]
    cascade = CASCADES["precision"].without_prior_stage()
    backend = ScriptedBackend(script=dict.fromkeys(ADAPTERS, 0.01), adapters=ADAPTERS)
    both = {"given": cascade, "made": replace(cascade, makes_evidence=True)}
    with Engine(backend, both) as engine:
        for name in both:
            await _each_way(engine, items, name)
    told = [[query.node.path[-2].text for query in batch.queries] for batch in backend.batches]
    assert told[:5] == [["item parser", "item parser | my own words", "item cache"]] * 5
    assert all(lines == told[5] for lines in told[5:])
    assert len(told) == 10
    assert told[5][0].startswith("item parser | #")
    assert told[5][1] == "item parser | my own words"
    assert not any("def" in line for line in told[5])


def test_a_batch_has_one_adapter() -> None:
    """Queries are grouped by the adapter that answers; few items are one batch a stage."""
    engine, backend = _engine(script=_by_name)
    with engine:
        engine.classify("a task", plain_items(12))
    assert all(len({query.adapter for query in batch.queries}) == 1 for batch in backend.batches)
    assert [batch.adapter for batch in backend.batches] == ["relevant", "primary", "supporting"]


def test_a_file_is_asked_in_each_of_its_tiers() -> None:
    """Tiers are asked separately and their steps come in the item's order."""
    engine, _ = _engine()
    task, items = files(3, 12)
    with engine:
        report = engine.classify(task, items, "scope")
    for item, decision in zip(items, report.decisions, strict=True):
        assert [step.tier for step in decision.steps] == list(item.tiers)
        assert decision.label == "relevant"


def test_no_items_is_an_empty_report() -> None:
    """An empty request is answered, not refused."""
    engine, _ = _engine()
    with engine:
        report = engine.classify("a task", [])
    assert (report.decisions, report.stats.calls, report.stats.calls_per_item) == ((), 0, 0.0)


def test_everything_is_released() -> None:
    """After a request the backend has been told to let go of its root and its settled items."""
    engine, backend = _engine(script=_by_name)
    with engine:
        engine.classify("a task", plain_items(5))
    roots = {query.node.path[0] for batch in backend.batches for query in batch.queries}
    assert roots <= set(backend.released)


@pytest.mark.parametrize(
    ("items", "cascade", "task", "words"),
    [
        (
            [Item(id="x", kind="file", name="x"), Item(id="x", kind="file", name="y")],
            "precision",
            "t",
            ["'x'", "twice"],
        ),
        ([Item(id="x", kind="file", name="x")], "scope", "t", ["'x'", "dependency", "tiers"]),
        ([Item(id="x", kind="file", name="x", tiers=("rumour",))], "scope", "t", ["rumour", "metadata"]),
        ([], "precisoin", "t", ["precisoin", "scope"]),
        ([], "precision", "  ", ["empty"]),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    items: list[Item], cascade: str, task: str, words: list[str]
) -> None:
    """The message says what was given and what is allowed, and no batch was scored."""
    engine, backend = _engine()
    with engine, pytest.raises(InputError) as caught:
        engine.classify(task, items, cascade)
    assert all(word in str(caught.value) for word in words)
    assert backend.batches == []


def test_a_prompt_that_cannot_fit_names_item_tokens_and_limit() -> None:
    """The whole request is refused with the item, what it needs and what there is."""
    backend = ScriptedBackend(script={}, adapters=ADAPTERS, max_prompt=400)
    engine = Engine(backend, CASCADES, Limits(item=6_000))
    long = Item(id="long-one", kind="function", name="f", doc="x" * 5_000)
    with engine, pytest.raises(ItemError, match=r"'long-one' needs a prompt of \d+ tokens; the context holds 400"):
        engine.classify("a task", [*plain_items(2), long])
    assert backend.batches == []


def test_an_unknown_adapter_is_refused_at_the_door() -> None:
    """A cascade that the backend cannot answer never opens."""
    with pytest.raises(ConfigError, match="asks adapter 'primary'"):
        Engine(ScriptedBackend(script={}, adapters=frozenset({"relevant"})), CASCADES)


def test_a_failed_batch_fails_its_request_and_no_other() -> None:
    """The error reaches the caller, and the engine goes on."""
    engine, _ = _engine(fail_at=0)
    with engine:
        with pytest.raises(BackendError, match="Batch 0 fails"):
            engine.classify("a task", plain_items(3))
        assert len(engine.classify("a task", plain_items(3)).decisions) == 3


def test_what_a_failed_batch_has_left_is_released() -> None:
    """A backend that keeps it in spite of the failure is told to forget it, before anything else is asked."""
    engine, backend = _engine(fail_at=0)
    with engine:
        with pytest.raises(BackendError, match="Batch 0 fails"):
            engine.classify("a task", plain_items(3))
        assert {node for query in backend.batches[0].queries for node in query.node.path[:-1]} <= set(backend.released)


def test_a_prompt_without_room_is_an_error_and_no_label() -> None:
    """Where a backend has fewer sequences than a prompt has nodes, no item ends with a label that nobody asked for."""
    engine, _ = _engine(max_nodes=2)
    with engine, pytest.raises(BackendError, match=r"no room for a prompt where 2 sequences and .*model.n_seq_max"):
        engine.classify("a task", plain_items(3))


class _Unable(ScriptedBackend):
    """A backend whose server cannot answer for one adapter."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        scores = await super().score(batch, stop)
        if batch.adapter != "metadata":
            return scores
        n = len(batch.queries)
        return replace(scores, logits=[math.nan] * n, unanswered=dict.fromkeys(range(n), "It is down. Ask again."))


@pytest.mark.parametrize("is_scoring", [False, True])
def test_scoring_never_lacks_a_tier(*, is_scoring: bool) -> None:
    """Where one tier says yes and another cannot be asked, a cascade goes on and ``score`` fails."""
    item = Item(id="1", kind="file", name="a", tiers=("dependency", "metadata"))
    with Engine(_Unable(dict.fromkeys(ADAPTERS, 0.99), ADAPTERS), CASCADES) as engine:
        if is_scoring:
            with pytest.raises(ServerError, match="It is down"):
                engine.score("a task", [item], "scope")
        else:
            (decision,) = engine.classify("a task", [item], "scope").decisions
            assert (decision.label, [step.tier for step in decision.steps]) == ("relevant", ["dependency"])


class _Dying(ScriptedBackend):
    """A backend whose worker dies of something that is no BackendError."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:  # noqa: ARG002 - the protocol's
        await asyncio.sleep(0)
        raise MemoryError(len(batch.queries))


def test_a_worker_that_dies_completes_every_waiting_call() -> None:
    """Nobody waits for ever, and later calls hear at once that the engine is gone."""
    engine = Engine(_Dying(script={}, adapters=ADAPTERS), CASCADES)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(engine.classify, "a task", plain_items(3)) for _ in range(4)]
        errors = [call.exception(timeout=30) for call in calls]
    assert all(isinstance(error, BackendError) for error in errors)
    with pytest.raises(BackendError):
        engine.classify("a task", plain_items(1))
    engine.close()


class _Waiting(ScriptedBackend):
    """A backend that scores only once it is let."""

    def __init__(self, script: Script | dict[str, float]) -> None:
        super().__init__(script=script, adapters=ADAPTERS)
        self.gate, self.reached = threading.Event(), threading.Event()

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        self.reached.set()
        await asyncio.to_thread(self.gate.wait, 30)
        return await super().score(batch, stop)


def test_closing_completes_a_waiting_call() -> None:
    """A call that waits while the engine closes gets a ClosedError."""
    backend = _Waiting(dict.fromkeys(ADAPTERS, 0.9))
    engine = Engine(backend, CASCADES)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(engine.classify, "a task", plain_items(3))
        assert backend.reached.wait(30)
        closing = pool.submit(engine.close)
        with pytest.raises(ClosedError):
            call.result(timeout=30)
        backend.gate.set()
        closing.result(timeout=30)
    engine.close()
    assert backend.is_closed


@run
async def test_stream_yields_every_decision_as_it_settles() -> None:
    """Decisions arrive once each; the earliest are those that needed the fewest questions."""
    engine, _ = _engine(script=_by_name)
    async with engine:
        found = [decision async for decision in engine.stream("a task", plain_items(12))]
    assert sorted(decision.id for decision in found) == sorted(f"item-{at}" for at in range(12))
    assert [len(decision.steps) for decision in found] == sorted(len(decision.steps) for decision in found)


@run
async def test_stream_raises_what_went_wrong() -> None:
    """An error ends the iteration as an exception, not as a short list."""
    engine, _ = _engine(fail_at=1)
    async with engine:
        with pytest.raises(BackendError):
            _ = [decision async for decision in engine.stream("a task", plain_items(4))]


@run
async def test_a_cancelled_call_lets_its_nodes_go_and_others_finish() -> None:
    """Cancelling one await frees what it held and leaves a neighbour untouched."""
    backend = _Waiting(dict.fromkeys(ADAPTERS, 0.9))
    async with Engine(backend, CASCADES) as engine:
        gone = asyncio.create_task(engine.aclassify("one", plain_items(3)))
        stays = asyncio.create_task(engine.aclassify("two", plain_items(3)))
        await asyncio.to_thread(backend.reached.wait, 30)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        backend.gate.set()
        assert len((await stays).decisions) == 3
    assert {node.path[0] for node in backend.released} == {
        query.node.path[0] for batch in backend.batches for query in batch.queries
    }


@run
async def test_many_callers_share_batches() -> None:
    """Requests that wait together are scored together, and each gets its own answers."""
    backend = _Waiting(_by_name)
    async with Engine(backend, CASCADES) as engine:
        calls = [asyncio.create_task(engine.aclassify(f"task {at}", plain_items(4))) for at in range(6)]
        await asyncio.to_thread(backend.reached.wait, 30)
        backend.gate.set()
        reports = await asyncio.gather(*calls)
    expected = ["primary", "excluded", "type_context", "excluded"]
    assert all([decision.label for decision in report.decisions] == expected for report in reports)
    assert len(backend.batches) < 3 * 6
    assert sum(report.stats.calls for report in reports) == sum(len(batch.queries) for batch in backend.batches)


def test_score_asks_one_stage_of_every_item() -> None:
    """A stage can be put to items that the cascade would have stopped earlier."""
    engine, _ = _engine(script=_by_name)
    with engine:
        steps = engine.score("a task", plain_items(6), "precision", "supporting")
        with pytest.raises(InputError, match="relevant, primary, supporting"):
            engine.score("a task", plain_items(1), "precision", "other")
    assert [[step.stage for step in found] for found in steps] == [["supporting"]] * 6


def test_score_asks_all_stages_in_one_request() -> None:
    """In order, whatever they answer, of the same prompt of the item; some or all stages."""
    engine, backend = _engine(script=_by_name)
    with engine:
        steps = engine.score("a task", plain_items(6), "precision")
        some = engine.score("a task", plain_items(1), "precision", "primary", "relevant")
    assert [[step.stage for step in found] for found in steps] == [["relevant", "primary", "supporting"]] * 6
    assert [step.answer for step in steps[1]] == [False, False, False]
    assert [step.stage for step in some[0]] == ["primary", "relevant"]
    asked = [query.node for batch in backend.batches for query in batch.queries]
    assert len(asked) == 6 * 3 + 2
    assert len({node.path[-2] for node in asked}) == 6 + 1


def test_every_decision_says_what_produced_it() -> None:
    """Provenance names the model, the cascade's own adapters, the format and the label tokens."""
    engine, _ = _engine()
    task, items = symbols(1, 5)
    with engine:
        decision = engine.classify(task, items).decisions[0]
    assert set(decision.provenance.adapters) == {"relevant", "primary", "supporting"}
    assert decision.provenance.label_tokens == (256, 257)
    assert decision.provenance.prompt_format == "embedded"


@pytest.mark.slow
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_whatever_a_callers_function_raises_ends_its_request_alone(error: type[BaseException]) -> None:
    """Not even what would end a program ends the engine's thread: the caller gets it, and others are answered."""

    def leave(_: Decision) -> None:
        raise error

    items = [Item(id="1", kind="function", name="parse")]
    with Engine.open() as engine:
        with pytest.raises(error):
            engine.classify("fix the parser", items, on_decision=leave)
        assert engine.classify("fix the parser", items).decisions


def test_a_cascade_goes_by_the_name_that_it_is_given_under() -> None:
    """One cascade with other thresholds under a name of its own: each call gets those that it asks for."""
    plain = CASCADES["precision"]
    first, *others = plain.stages
    questions = {tier: replace(question, threshold=0.999) for tier, question in first.questions.items()}
    strict = replace(plain, stages=(replace(first, questions=questions), *others))
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.99), ADAPTERS)
    with Engine(backend, {"precision": plain, "strict": strict}) as engine:
        found = {name: engine.classify("a task", plain_items(1), name).decisions[0].label for name in engine.cascades}
    assert found == {"precision": "primary", "strict": "excluded"}
