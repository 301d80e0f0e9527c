"""Whose turn it is and how deep it may go: deadlines, shares, patience, and that time is never wasted or exceeded."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field, replace
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade import Status
from cascade.backends.base import BatchCost, Scores
from cascade.backends.costs import CallSizes
from cascade.backends.scripted import ByteTokenizer
from cascade.budget import NO_LIMIT, Budget
from cascade.engine.forecast import by_depth
from cascade.engine.lanes import Lane, Lanes
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.request import Request, new_request
from cascade.engine.scheduler import Scheduler
from cascade.engine.turns import LONG_PATIENCE_S, PATIENCE_S, Turns, last_moment
from cascade.profile import Profile
from cascade.prompt import FORMATS, Limits, Node, PromptBuilder
from cascade.report import Provenance
from cascade.stages import BASE, SERVED
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

ADAPTERS = ("relevant", "primary", "supporting")
PRECISION = CASCADES["precision"]
RATES = {"relevant": 0.35, "primary": 0.45, "supporting": 0.5}
CASCADE = replace(PRECISION, profile=Profile(pass_rates=RATES))
PROVENANCE = Provenance(model="", adapters=dict.fromkeys(ADAPTERS, ""), prompt_format="", label_tokens=(0, 1))
BUILDER = PromptBuilder(FORMATS["embedded"], ByteTokenizer(), Limits(task=60, seed=10, group=20, item=40))
ACTIVATED = dict.fromkeys((BASE, *ADAPTERS), BASE)
PLAIN = {name: name for name in (BASE, *ADAPTERS)}
SERVED_ALL = dict.fromkeys((BASE, *ADAPTERS), SERVED)


def _request(n: int, budget: Budget = NO_LIMIT, called: float = 0.0) -> Request:
    request = new_request("a task", plain_items(n), OnlineProfile(CASCADE), PROVENANCE, called=called, budget=budget)
    deque(request.prompts.grow(BUILDER, 1_000_000), maxlen=0)
    return request


def _planner(
    *requests: Request, prefix_adapters: dict[str, str] = ACTIVATED, capacity: Capacity | None = None
) -> Planner:
    capacity = capacity or Capacity(nodes=128, tokens=6_000)
    planner = Planner(
        BackendLimits(capacity=capacity, prefix_adapters=prefix_adapters),
        lambda question: len(BUILDER.marker_tokens(question.marker)),
    )
    for request in requests:
        planner.prefix_index.admit(request.items)
    return planner


def _in_full(n: int) -> float:
    """Milliseconds that a request of n items is expected to take."""
    request = _request(n)
    return by_depth(_planner(request), request)[-1]


def test_without_budgets_whoever_is_soonest_done_goes_first_unless_another_has_waited_long() -> None:
    """And everything may be asked."""
    one, other = _request(3), _request(4)
    one.served = LONG_PATIENCE_S
    turns = Turns(_planner(one, other))
    turn = turns.next([other, one], LONG_PATIENCE_S - 0.1)
    assert [(request, len(offer)) for request, offer in turn.offers.items()] == [(one, 3), (other, 4)]
    assert turn.left_ms == inf
    assert list(turns.next([one, other], LONG_PATIENCE_S).offers) == [other, one]


def test_the_earliest_deadline_goes_first_with_the_time_that_it_has() -> None:
    """Those without one come last while their patience holds."""
    late, early, never = _request(3, Budget(ms=90_000)), _request(3, Budget(ms=50_000)), _request(3)
    never.served = 50.0
    turn = Turns(_planner(late, early, never)).next([late, early, never], 1.0)
    assert turn.request is early
    assert 0.5 <= turn.left_ms / (1_000 * (last_moment(early) - 1.0)) < 1
    assert last_moment(early) < early.ends


def test_nobody_waits_for_ever() -> None:
    """After some seconds without a batch a request goes before those with later deadlines."""
    hurried, waiting = _request(3, Budget(deadline=60.0), called=20.0), _request(3)
    turns = Turns(_planner(hurried, waiting))
    assert turns.next([hurried, waiting], 20.0).request is waiting
    waiting.served = 60.0 - PATIENCE_S + 1.0
    assert turns.next([hurried, waiting], 20.0).request is hurried


def test_the_time_decides_how_deep_items_may_go() -> None:
    """With time for all, survivors are offered; with less, only items that have not been asked."""
    for ms, n_offered in ((1e6, 18), (None, 6)):
        request = _request(18, Budget(deadline=1e6))
        planner = _planner(request)
        for state in request.items[:12]:
            state.take(CASCADE.first, "", 0.99)
        levels = by_depth(planner, request)
        left_s = (ms or (levels[0] + levels[1]) / 2) / 1_000
        turn = Turns(planner).next([request], last_moment(request) - left_s)
        assert len(turn.offers[request]) == n_offered


def test_when_not_even_one_stage_fits_all_get_the_same_share() -> None:
    """Two requests with half of the time that they need offer half of their items; then who has less goes first."""
    need = by_depth(_planner(_request(40)), _request(40))[0]
    one, other = (_request(40, Budget(ms=need)) for _ in range(2))
    planner = _planner(one, other)
    turn = Turns(planner).next([one, other], 0.0)
    assert all(15 <= len(offer) <= 25 for offer in turn.offers.values())
    for state in one.items[:5]:
        state.take(CASCADE.first, "", 0.01)
    assert Turns(planner).next([one, other], 0.01).request is other


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.integers(1, 30), st.floats(1.0, 20_000.0), st.sampled_from([ACTIVATED, PLAIN]))
def test_a_batch_never_takes_longer_than_it_may(n: int, left_ms: float, prefix_adapters: dict[str, str]) -> None:
    """By prediction; and where nothing is planned, a single item would have taken too long."""
    request = _request(n)
    planner = _planner(request, prefix_adapters=prefix_adapters)
    batch = planner.next_batch({request: request.open_items}, left_ms)
    if batch is not None:
        assert batch.predicted_ms <= left_ms
        return
    one = planner.next_batch({request: request.open_items[:1]})
    assert one is not None
    assert one.predicted_ms > left_ms


@dataclass
class _World:
    """Requests that are worked on in a time that goes by as the cost model says."""

    requests: list[Request]
    answers: dict[tuple[str, str], float]
    capacity: Capacity = field(default_factory=lambda: Capacity(nodes=40, tokens=6_000))
    prefix_adapters: dict[str, str] = field(default_factory=lambda: ACTIVATED)
    now: float = 0.0

    def run(self) -> None:
        planner = _planner(*self.requests, capacity=self.capacity, prefix_adapters=self.prefix_adapters)
        turns, open_ = Turns(planner), list(self.requests)
        while open_:
            turn = turns.next(open_, self.now)
            batch = planner.next_batch(turn.offers, turn.left_ms)
            if batch is not None:
                self.now += batch.predicted_ms / 1_000
                for query in batch.queries:
                    query.item.take(query.stage, query.tier, self.answers[query.item.item.id, query.stage.name])
                planner.prefix_index.advance(dict.fromkeys(query.item for query in batch.queries))
                for request in batch.by_request:
                    request.served = self.now
            else:
                turn.request.cut()
            for request in list(open_):
                if last_moment(request) <= self.now:
                    request.cut()
                if not request.open_items:
                    planner.prefix_index.drop(request.items)
                    open_.remove(request)
        assert not len(planner.prefix_index)


def _answers(seed: int, n: int) -> dict[tuple[str, str], float]:
    rng = random.Random(seed)
    return {(f"item-{at}", name): 0.9 if rng.random() < RATES[name] else 0.01 for at in range(n) for name in ADAPTERS}


def _quality(request: Request) -> float:
    """Expected share of right labels: what was decided counts as right, what was cut as its leaf says."""
    return sum(1.0 if state.p_label is None else state.p_label for state in request.items) / len(request.items)


@pytest.mark.slow
def test_more_budget_never_makes_the_expected_quality_worse() -> None:
    """On the mean of simulated tasks, from no time at all to more than enough; no item is without label or status."""
    n, shares = 60, (0.0005, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.3, 2.0)
    full = _in_full(n)
    means = []
    for share in shares:
        found = []
        for seed in range(12):
            request = _request(n, Budget(ms=share * full + 3))
            world = _World([request], _answers(seed, n))
            world.run()
            assert all(state.label for state in request.items)
            assert all((state.p_label is None) == (state.status is Status.DECIDED) for state in request.items)
            assert world.now <= request.ends
            found.append(_quality(request))
        means.append(sum(found) / len(found))
    assert means == sorted(means), means
    assert means[0] == pytest.approx(0.65)
    assert means[-1] == 1.0
    assert len(set(means)) > 10


def test_a_budget_that_does_not_bind_changes_nothing() -> None:
    """The same batches as without one."""
    plans = []
    for budget in (NO_LIMIT, Budget(ms=1e9)):
        request = _request(50, budget)
        world = _World([request], _answers(1, 50))
        world.run()
        plans.append((world.now, [state.label for state in request.items]))
    assert plans[0] == plans[1]


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.one_of(st.none(), st.floats(5.0, 30_000.0))), min_size=1, max_size=6),
    st.integers(0, 9),
    st.sampled_from([ACTIVATED, PLAIN]),
)
def test_whatever_is_asked_everyone_gets_a_label_in_time(
    sizes: list[tuple[int, float | None]], seed: int, prefix_adapters: dict[str, str]
) -> None:
    """Many callers with and without budgets: those without are answered in full."""
    requests = [_request(n, Budget(ms=ms)) for n, ms in sizes]
    _World(requests, _answers(seed, 30), prefix_adapters=prefix_adapters).run()
    for request in requests:
        assert all(state.label for state in request.items)
        if request.ends == inf:
            assert all(state.status is Status.DECIDED for state in request.items)


def test_everyone_gets_shallower_before_one_gets_nothing() -> None:
    """Four requests with time for one and a half: each has most items asked once, none is left out."""
    full = _in_full(30)
    requests = [_request(30, Budget(ms=3 * full)) for _ in range(4)]
    _World(requests, _answers(2, 30)).run()
    asked = [sum(bool(state.steps) for state in request.items) for request in requests]
    assert min(asked) > 0.7 * max(asked)


class _CountingPrompts(PromptBuilder):
    """Counts the nodes of questions."""

    n_questions = 0

    def question(self, parent: Node, marker: str) -> Node:
        """See ``PromptBuilder.question``."""
        self.n_questions += 1
        return super().question(parent, marker)


def test_only_the_queries_of_a_batch_get_a_node_and_know_their_request_and_item() -> None:
    """Of nine items of two requests a server takes four at a time: four nodes are built, by the queries' own items."""
    one, other = _request(3), _request(6)
    limits = BackendLimits(
        capacity=Capacity(nodes=128, tokens=6_000), prefix_adapters=SERVED_ALL, sizes=CallSizes(n_served=4)
    )
    prompts = _CountingPrompts(BUILDER.form, BUILDER.tokenizer)
    scheduler = Scheduler(Lanes([Lane(planner=Planner(limits, lambda _: 2), prompts=prompts, max_prompt=1_000_000)]))
    for request in (one, other):
        scheduler.add(request)
    batch = scheduler.schedule(now=0.0)
    assert batch is not None
    assert prompts.n_questions == len(batch.queries) == 4
    assert {request: len(own) for request, own in batch.by_request.items()} == {one: 3, other: 1}
    assert [query.item for query in batch.queries] == [*one.items, other.items[0]]
    assert all(query.node.parent is query.item.path[-1] for query in batch.queries)


def test_postprocess_walks_items_on_and_yields_the_requests_that_are_over() -> None:
    """A no ends an item; of two requests in one batch the one without open items comes back, and is let go."""
    one, other = _request(1), _request(1)
    planner = _planner(capacity=Capacity(nodes=128, tokens=60_000))
    scheduler = Scheduler(Lanes([Lane(planner=planner, prompts=BUILDER, max_prompt=1_000_000)]))
    for request in (one, other):
        scheduler.add(request)
    batch = scheduler.schedule(now=5.0)
    assert batch is not None
    assert [request.served for request in batch.by_request] == [5.0, 5.0]
    cost = BatchCost(decode_calls=1, adapter_swaps=1, tokens_decoded=10, tokens_reused=0, elapsed_ms=2.0)
    over = list(scheduler.postprocess(batch, Scores([-5.0, 5.0], cost)))
    ended = next(request for request in (one, other) if not request.open_items)
    assert over == [(ended, None)]
    assert (ended.items[0].label, ended.stats.calls, ended.stats.tokens_decoded) == ("excluded", 1, 5)
    scheduler.drop(ended)
    assert len(scheduler.requests) == 1


def test_what_reused_answers_did_not_need_computed_is_not_thought_to_be_cached() -> None:
    """Of four items two answers were there before: the planner counts the nodes of the other two alone as cached."""
    request = _request(4)
    planner = _planner(capacity=Capacity(nodes=128, tokens=60_000))
    scheduler = Scheduler(Lanes([Lane(planner=planner, prompts=BUILDER, max_prompt=1_000_000)]))
    scheduler.add(request)
    batch = scheduler.schedule(now=0.0)
    assert batch is not None
    places = {query.item.item.id: place for place, query in enumerate(batch.queries)}
    reused = {places["item-0"], places["item-2"]}
    cost = BatchCost(decode_calls=1, adapter_swaps=1, tokens_decoded=10, tokens_reused=0, elapsed_ms=2.0)
    assert not list(scheduler.postprocess(batch, Scores([5.0] * 4, cost, reused=reused)))
    cached = {node for node, _ in planner.prefix_index.nodes}
    own = {state.item.id: state.path[-1] for state in request.items}
    assert {id_ for id_, node in own.items() if node in cached} == {"item-1", "item-3"}
    assert planner.prefix_index.tokens == sum(len(node.tokens) for node in cached)
    assert request.stats.calls_reused == 2
