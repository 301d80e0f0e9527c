"""Waves of two models at once: who may begin beside whom, what each second counts, and how either ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import Budget, Engine, Item
from cascade.backends.base import Batch, BatchCost, Scores, Stop
from cascade.backends.costs import Costs, Work
from cascade.engine import batch as engine_batch
from cascade.engine.admission import Rules
from cascade.engine.at_once import AtOnce
from cascade.engine.lanes import Lanes
from cascade.engine.request import Request
from cascade.engine.scheduler import Scheduler
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError, ClosedError
from cascade.machine import n_cores
from tests.engine.test_lanes import (
    DROP,
    KEEP,
    MODELS,
    TREE,
    NamedBackend,
    backends,
    grow,
    items,
    lane,
    opened,
    stage,
)

several_cores = pytest.mark.skipif(n_cores() == 1, reason="on one core waves take turns")
QUICK = replace(TREE, name="quick", stages=(stage("quick", "quick", KEEP, DROP),))
SLOW = replace(TREE, name="slow", stages=(stage("judge", "judge", KEEP, DROP),))
CASCADES = {"c": TREE, "quick": QUICK, "slow": SLOW}
PATIENCE_S = 20.0


@dataclass
class Floor:
    """What two backends have in common.

    Attributes:
        at_work: Names of the models that are at work.
        most: The most that were at work at once.
        meets: Whether each batch waits until as many are at work as there are models.
        gate: Until it is open, batches wait; None for no gate.
    """

    at_work: set[str] = field(default_factory=set)
    most: int = 0
    meets: bool = False
    is_held: bool = False
    began: threading.Event = field(default_factory=threading.Event)
    both: threading.Event = field(default_factory=threading.Event)


class Paced(NamedBackend):
    """A scripted backend that takes time, and says when it is at work."""

    floor: Floor
    name: str
    fault: BaseException | None = None

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        floor = self.floor
        assert self.name not in floor.at_work, "a model runs one batch at a time"
        floor.at_work.add(self.name)
        floor.most = max(floor.most, len(floor.at_work))
        floor.began.set()
        if len(floor.at_work) == len(MODELS) // 2:
            floor.both.set()
        try:
            await self._until(lambda: floor.both.is_set() if floor.meets else True, stop)
            await self._until(lambda: not floor.is_held, stop)
            await asyncio.sleep(2e-3)
            if self.fault is not None:
                raise self.fault
            return await super().score(batch, stop)
        finally:
            floor.at_work.remove(self.name)

    @staticmethod
    async def _until(is_so: Callable[[], bool], stop: Stop) -> None:
        for _ in range(int(PATIENCE_S / 1e-3)):
            if is_so() or stop.is_asked:
                return
            await asyncio.sleep(1e-3)
        msg = "Nobody came."
        raise AssertionError(msg)


def paced(floor: Floor, **p: float) -> dict[str, NamedBackend]:
    """A small and a large model on one floor."""
    both: dict[str, NamedBackend] = {}
    for name, plain in backends(**p).items():
        one = Paced(plain.script, plain.adapters)
        one.base, one.tokenizer, one.floor, one.name = plain.base, plain.tokenizer, floor, name
        both[name] = one
    return both


def engine_of(floor: Floor, *, at_once: bool = True, **p: float) -> tuple[Engine, dict[str, NamedBackend]]:
    """An engine of both."""
    both = paced(floor, **p)
    rules = EngineSettings(rules=Rules(at_once=at_once))
    return Engine(both, CASCADES, settings=rules), both


@several_cores
def test_two_models_work_at_once() -> None:
    """Each waits for the other to be at work; in turn they would wait for ever."""
    floor = Floor(meets=True)
    engine, _ = engine_of(floor)
    with engine, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(engine.classify, "a task", items(), name, budget=None) for name in ("quick", "slow")]
        assert [len(call.result(PATIENCE_S).decisions) for call in calls] == [10, 10]
    assert floor.most == 2


def test_without_it_they_take_turns() -> None:
    """What comes meanwhile waits for the end of the batch, whatever model it is for."""
    floor = Floor()
    engine, _ = engine_of(floor, at_once=False)
    with engine, ThreadPoolExecutor(8) as pool:
        names = ("quick", "slow") * 4
        for call in [pool.submit(engine.classify, "a task", items(), name, budget=None) for name in names]:
            call.result(PATIENCE_S)
    assert floor.most == 1


@several_cores
def test_survivors_of_one_model_are_asked_while_it_goes_on() -> None:
    """Items that passed go on to the large model while the small one is still asked of others; none is asked twice."""
    floor = Floor()
    engine, both = engine_of(floor, quick=1.0, judge=0.5)
    many = [Item(id=str(at), name=f"name_{at % 10} {at} " + "word " * 300) for at in range(40)]
    both["small"].max_prompt = 6_000  # some of the items fit into a wave
    with engine:
        report = engine.classify("a task", many, "c", budget=None)
    assert floor.most == 2
    assert [decision.label for decision in report.decisions] == ["keep" if at % 10 < 5 else "drop" for at in range(40)]
    asked = [
        (query.node.prompt, query.adapter)
        for each in both.values()
        for batch in each.batches
        for query in batch.queries
    ]
    assert len(asked) == len({*asked})


@several_cores
@pytest.mark.parametrize("ends", ["close", "cancel"])
def test_an_end_reaches_both(ends: str) -> None:
    """Closing stops both batches, which calls hear; a call that is given up stops its own batch alone."""
    floor = Floor(is_held=True)
    engine, both = engine_of(floor)
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(engine.classify, "a task", items(), name, budget=None) for name in ("quick", "slow")]
        assert floor.both.wait(PATIENCE_S)
        if ends == "close":
            engine.close()
            for call in calls:
                with pytest.raises(ClosedError):
                    call.result(PATIENCE_S)
        else:

            async def leave() -> None:
                await asyncio.wait_for(engine.aclassify("another", items(), "quick", budget=None), 0.05)

            with pytest.raises(asyncio.TimeoutError):
                asyncio.run(leave())
            floor.is_held = False
            assert [len(call.result(PATIENCE_S).decisions) for call in calls] == [10, 10]
            engine.close()
    assert all(each.is_closed for each in both.values())
    assert not floor.at_work


@several_cores
def test_what_one_model_cannot_score_does_not_hurt_the_other() -> None:
    """A backend's error is that of the requests in its batch; what runs beside it is answered."""
    floor = Floor(is_held=True)
    engine, both = engine_of(floor)
    assert isinstance(both["large"], Paced)
    both["large"].fault = BackendError("Out of order.")
    with engine, ThreadPoolExecutor(2) as pool:
        quick, slow = (pool.submit(engine.classify, "a task", items(), name, budget=None) for name in ("quick", "slow"))
        assert floor.both.wait(PATIENCE_S)
        floor.is_held = False
        with pytest.raises(BackendError, match="Out of order"):
            slow.result(PATIENCE_S)
        assert len(quick.result(PATIENCE_S).decisions) == 10
        assert engine.n_cached == 0


@several_cores
@pytest.mark.parametrize("fault", [ValueError("odd"), asyncio.CancelledError()])
def test_a_fault_nobody_foresaw_ends_the_engine_once_both_have_ended(fault: BaseException) -> None:
    """Every call hears it, and no backend is closed while it is at work."""
    floor = Floor(is_held=True)
    engine, both = engine_of(floor)
    assert isinstance(both["large"], Paced)
    both["large"].fault = fault
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(engine.classify, "a task", items(), name, budget=None) for name in ("quick", "slow")]
        assert floor.both.wait(PATIENCE_S)
        floor.is_held = False
        errors = [call.exception(PATIENCE_S) for call in calls]
    assert isinstance(errors[1], BackendError)
    assert errors[0] is None or isinstance(errors[0], BackendError)
    engine.close()
    assert all(each.is_closed for each in both.values())
    assert not floor.at_work


@several_cores
def test_a_change_waits_for_both() -> None:
    """Adapters are changed when no model is at work, and work goes on afterwards."""
    floor = Floor(is_held=True)
    engine, _ = engine_of(floor)

    async def look() -> set[str]:
        return set(floor.at_work)

    with engine, ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(engine.classify, "a task", items(), name, budget=None) for name in ("quick", "slow")]
        assert floor.both.wait(PATIENCE_S)
        change = engine._loop.change(look)  # noqa: SLF001 - what swapping adapters stands on
        floor.is_held = False
        assert change.result(PATIENCE_S) == set()
        assert [len(call.result(PATIENCE_S).decisions) for call in calls] == [10, 10]


@several_cores
def test_many_callers_of_both_are_all_answered() -> None:
    """With and without budgets, some of whom leave: everybody else is answered, and nothing stays in the caches."""
    floor = Floor()
    engine, _ = engine_of(floor, quick=0.7, judge=0.4)
    budgets = (None, Budget(ms=2_000), Budget(ms=20), Budget(depth=1))

    async def ask(at: int) -> int:
        call = engine.aclassify(f"task {at}", items(), ("c", "quick", "slow")[at % 3], budget=budgets[at % 4])
        if at % 7:
            return len((await call).decisions)
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        task.cancel()
        return 10

    async def everybody() -> list[int]:
        return await asyncio.wait_for(asyncio.gather(*map(ask, range(60))), 4 * PATIENCE_S)

    with engine:
        assert asyncio.run(everybody()) == [10] * 60
        assert engine.classify("a task", items(1), "quick", budget=None).labels()
        assert engine.n_cached == 0
    assert floor.most == 2


def request_of(lanes: Lanes, n: int, ends: float = inf, passed: int = 0) -> Request:
    """A request of which some items wait for the large model, and the others for the small one."""
    request = opened(lanes, n)
    for state in request.items[:passed]:
        state.take(TREE.stages[0], "", 0.9)
    request.ends = ends
    grow(lanes, request)
    return request


def two_lanes() -> Lanes:
    """Two models that use two threads each."""
    return Lanes([replace(lane(name, Costs()), n_threads=2) for name in ("small", "large")])


def test_where_time_is_short_nothing_begins_beside() -> None:
    """A request in a hurry has the cores for itself; where there is plenty, anybody's wave may run beside its own."""
    lanes, at_once = two_lanes(), AtOnce(2)
    scheduler = Scheduler(lanes)
    hurried, other = request_of(lanes, 8, ends=0.5), request_of(lanes, 8, passed=8)
    for request in (hurried, other):
        scheduler.add(request)
    batch = scheduler.schedule(0.0)
    assert batch is not None
    assert [*batch.by_request] == [hurried]
    at_once.begin(batch, 2, 0.0)
    assert scheduler.schedule_beside(0.0, at_once) is None
    hurried.ends = 1_000.0
    hurried.forecast = None
    beside = scheduler.schedule_beside(0.0, at_once)
    assert beside is not None
    assert (beside.model, [*beside.by_request]) == ("large", [other])
    at_once.begin(beside, 2, 0.0)
    assert scheduler.schedule_beside(0.0, at_once) is None


def test_no_item_is_asked_by_two_models_at_once() -> None:
    """Of a request on both models the items at hand are left out, and each batch has its own."""
    lanes, at_once = two_lanes(), AtOnce(2)
    scheduler = Scheduler(lanes)
    scheduler.add(request_of(lanes, 8, passed=4))
    first = scheduler.schedule(0.0)
    assert first is not None
    at_once.begin(first, 2, 0.0)
    second = scheduler.schedule_beside(0.0, at_once)
    assert second is not None
    assert {first.model, second.model} == {"small", "large"}
    assert not {query.item for query in first.queries} & {query.item for query in second.queries}


def batch_of(predicted_ms: float, model: str = "small") -> engine_batch.Batch:
    """A batch of one query."""
    lanes = Lanes([lane("small", Costs())])
    scheduler = Scheduler(lanes)
    request = opened(lanes, 1)
    scheduler.add(request)
    batch = scheduler.schedule(0.0)
    assert batch is not None
    return replace(batch, predicted_ms=predicted_ms, model=model)


def test_a_second_with_another_beside_counts_in_part() -> None:
    """Half where two want all cores, in full where there are enough cores, and for what servers compute."""
    for cores, other, share in ((2, 2, 0.5), (4, 2, 1.0), (2, 1, 2 / 3), (2, 0, 1.0)):
        at_once = AtOnce(cores)
        first = at_once.begin(batch_of(100.0), 2, 10.0)
        second = at_once.begin(batch_of(100.0, model="large"), other, 10.0)
        assert at_once.ends(first, 10.0) == pytest.approx(10.0 + 0.1 / share)
        assert at_once.end(second, 10.06) == pytest.approx(share if other else 1.0)
        assert first.left_ms == pytest.approx(100 - 60 * share)
        assert at_once.busy_ms(10.06) == pytest.approx(first.left_ms)
        assert at_once.end(first, 10.08) == pytest.approx((60 * share + 20) / 80)
        assert (len(at_once), at_once.busy_ms(11.0), at_once.models, at_once.items) == (0, 0.0, set(), set())


def test_a_batch_beside_others_has_its_share_of_the_time() -> None:
    """Half of it where two want all cores; all of it alone, or where servers compute."""
    at_once = AtOnce(2)
    assert at_once.room_ms(100.0, 2, 0.0) == 100.0
    at_once.begin(batch_of(40.0), 2, 0.0)
    assert at_once.room_ms(100.0, 2, 0.0) == 50.0
    assert at_once.room_ms(inf, 2, 0.0) == inf
    assert at_once.room_ms(50.0, 0, 0.0) == 50.0


@given(
    st.lists(st.tuples(st.integers(0, 4), st.floats(0.1, 500), st.floats(0, 0.3)), min_size=1, max_size=8),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_shares_never_add_up_to_more_than_the_time(batches: list[tuple[int, float, float]], cores: int) -> None:
    """What batches would have taken alone is at most the time that they ran, however they overlap."""
    at_once, now = AtOnce(cores), 5.0
    one = batch_of(1.0)
    running = []
    for threads, ms, wait in batches:
        running.append((at_once.begin(replace(one, predicted_ms=ms), threads, now), now))
        now += wait
    for each, began in reversed(running):
        share = at_once.end(each, now)
        assert 0 < share <= 1
        assert each.wall_ms == pytest.approx(1_000 * (now - began))
        if each.n_threads >= cores:
            assert share >= 1 / sum(max(1, other.n_threads / cores) for other, _ in running) - 1e-9
        now += 0.01


def test_prices_are_those_of_a_batch_that_is_alone() -> None:
    """What a decode took beside another is learned as what it would have taken alone."""
    work = Work.of(tokens=100, cells=0, most=512)
    found = []
    for ms, alone in ((100.0, 1.0), (200.0, 0.5)):
        lanes = two_lanes()
        scheduler = Scheduler(lanes)
        scheduler.add(opened(lanes, 4))
        batch = scheduler.schedule(0.0)
        assert batch is not None
        decodes = tuple((work, ms) for _ in range(40))
        cost = BatchCost(
            decode_calls=40, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=1.0, decodes=decodes
        )
        list(scheduler.postprocess(batch, Scores([5.0] * 4, cost), alone))
        found.append(next(iter(lanes)).planner.model.predict(work))
    assert found[0] == pytest.approx(found[1])
