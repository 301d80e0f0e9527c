"""Batches: who goes next, what fits, what is kept, that nothing is computed twice and nobody is forgotten."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.backends.costs import Costs
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.batch import Batch
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.prefix_index import CachedNode
from cascade.engine.request import Request, new_request
from cascade.prompt import FORMATS, Limits, PromptBuilder
from cascade.report import Provenance
from cascade.stages import BASE
from tests.helpers.requests import files, symbols
from tests.helpers.shipped import CASCADES, reading

PRECISION, SCOPE = ("relevant", "primary", "supporting"), ("dependency", "co_change", "metadata")
PROVENANCE = Provenance(model="", adapters=dict.fromkeys(PRECISION + SCOPE, ""), prompt_format="", label_tokens=(0, 1))
BUILDER = PromptBuilder(FORMATS["embedded"], ByteTokenizer(), Limits(task=60, seed=10, group=20, item=40))
PLAIN = {name: name for name in (BASE, *PRECISION, *SCOPE)}
ACTIVATED = dict.fromkeys(PLAIN, BASE)
SHIPPED = PLAIN | dict.fromkeys(PRECISION, BASE)
WIDE = Capacity(nodes=10_000, tokens=10_000_000)
READING = reading(CASCADES["precision"], {"primary": 30, "supporting": 9})
Answer = Callable[[int], float]


def _requests(sizes: Sequence[tuple[str, int]]) -> list[Request]:
    found = []
    for seed, (name, n) in enumerate(sizes):
        task, items = files(seed, n) if name == "scope" else symbols(seed, n)
        items = [replace(item, text="x" * (seed * len(items) + at)) for at, item in enumerate(items)]
        request = new_request(task, items, OnlineProfile(READING if name == "reading" else CASCADES[name]), PROVENANCE)
        deque(request.prompts.grow(BUILDER, 1_000_000), maxlen=0)
        found.append(request)
    return found


@dataclass
class _Run:
    """Requests driven as the loop drives them, beside a backend that only keeps book."""

    requests: list[Request]
    prefix_adapters: Mapping[str, str]
    capacity: Capacity
    costs: Costs = field(default_factory=Costs)
    held: set[CachedNode] = field(default_factory=set)
    batches: list[Batch] = field(default_factory=list)
    released: set[CachedNode] = field(default_factory=set)  # while the batch at hand was planned
    asked: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    computed: Counter[CachedNode] = field(default_factory=Counter)
    new_tokens: list[int] = field(default_factory=list)
    n_evicted: int = 0

    def __post_init__(self) -> None:
        self.planner = Planner(
            BackendLimits(capacity=self.capacity, prefix_adapters=self.prefix_adapters, costs=self.costs),
            self._question_tokens,
            release=self._release,
        )
        for request in self.requests:
            self.planner.prefix_index.admit(request.items)

    def step(self, answer: Answer) -> bool:
        """One batch; False when nothing is open."""
        self.released.clear()
        for request in self.requests:
            deque(request.prompts.grow(BUILDER, 1_000_000), maxlen=0)
        batch = self.planner.next_batch({request: request.open_items for request in self.requests})
        if batch is None:
            return False
        self.batches.append(batch)
        self.n_evicted += len(self.released)
        self._compute(batch)
        assert all(query.item in request.items for request, own in batch.by_request.items() for query in own)
        self.requests.sort(key=lambda request: request in batch.by_request)
        for number, query in enumerate(batch.queries):
            query.item.take(query.stage, query.tier, answer(number))
        self.planner.prefix_index.advance(dict.fromkeys(query.item for query in batch.queries))
        return True

    def _release(self, nodes: Sequence[CachedNode]) -> None:
        """Free what the planner lets go of."""
        self.released |= set(nodes)
        self.held -= set(nodes)

    def _compute(self, batch: Batch) -> None:
        """Hold what the batch needs, and look whether it fits."""
        prefix_adapter = self.prefix_adapters[batch.adapter]
        assert {query.adapter for query in batch.queries} == {batch.adapter}
        for query in batch.queries:
            assert query.item.stage is not None
            self.asked[id(query.item), query.item.stage.name, query.tier] += 1
        new = dict.fromkeys((node, prefix_adapter) for query in batch.queries for node in query.above.path)
        missing = [key for key in new if key not in self.held]
        self.computed.update(missing)
        self.new_tokens.append(sum(len(node.tokens) for node, _ in missing))
        self.held |= new.keys()
        assert self.held == self.planner.prefix_index.nodes.keys()
        tokens = sum(len(node.tokens) for node, _ in self.held)
        assert tokens == self.planner.prefix_index.tokens
        assert tokens + sum(self._question_tokens(query.question) for query in batch.queries) <= self.capacity.tokens
        assert len(self.held) <= self.capacity.nodes

    @staticmethod
    def _question_tokens(question: object) -> int:
        return BUILDER.question_tokens(question)  # type: ignore[arg-type]

    def finish(self, answer: Answer) -> None:
        """Until every item is done."""
        while self.step(answer):
            pass
        assert all(state.is_done and state.label for request in self.requests for state in request.items)


SIZES = st.lists(
    st.tuples(st.sampled_from(["precision", "scope", "reading"]), st.integers(1, 9)), min_size=1, max_size=5
)
PREFIX_ADAPTERS = st.sampled_from([PLAIN, ACTIVATED, SHIPPED])
ANSWERS = st.lists(st.floats(0.01, 0.99), min_size=7, max_size=7)
ROOMS = st.builds(Capacity, nodes=st.integers(5, 40), tokens=st.integers(1_000, 6_000))


@pytest.mark.slow
@settings(max_examples=60, derandomize=True, deadline=None)
@given(SIZES, ANSWERS, ROOMS, PREFIX_ADAPTERS)
def test_whatever_the_room_every_question_is_asked_once_and_nothing_leaks(
    sizes: list[tuple[str, int]], answers: list[float], capacity: Capacity, prefix_adapters: Mapping[str, str]
) -> None:
    """Batches have one adapter and fit; each item is asked each question of its way once; nothing is left over."""
    run = _Run(_requests(sizes), prefix_adapters, capacity)
    run.finish(lambda number: answers[number % len(answers)])
    assert set(run.asked.values()) == {1}
    assert sum(run.asked.values()) == sum(len(state.steps) for request in run.requests for state in request.items)
    assert (run.held, run.planner.prefix_index.nodes, run.planner.prefix_index.tokens) == (set(), {}, 0)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(SIZES, ANSWERS, PREFIX_ADAPTERS)
def test_with_room_every_node_is_computed_once_per_prefix_adapter_and_everyone_is_served_in_turn(
    sizes: list[tuple[str, int]], answers: list[float], prefix_adapters: Mapping[str, str]
) -> None:
    """No token twice, nothing evicted, and no request waits for more batches than two of every request."""
    run = _Run(_requests(sizes), prefix_adapters, WIDE)
    waits: Counter[int] = Counter()
    while run.step(lambda number: answers[number % len(answers)]):
        for request in run.requests:
            if request.open_items:
                waits[id(request)] = 0 if request in run.batches[-1].by_request else waits[id(request)] + 1
        assert max(waits.values(), default=0) < 2 * len(sizes)
    assert set(run.computed.values()) == {1}
    assert not run.n_evicted


@settings(max_examples=30, derandomize=True, deadline=None)
@given(SIZES, ANSWERS, st.integers(0, 20))
def test_a_request_that_is_given_up_leaves_nothing(
    sizes: list[tuple[str, int]], answers: list[float], n_batches: int
) -> None:
    """Dropped in the middle, its nodes go, and the others' stay."""
    run = _Run(_requests(sizes), SHIPPED, Capacity(nodes=20, tokens=3_000))
    for _ in range(n_batches):
        run.step(lambda number: answers[number % len(answers)])
    gone = run.requests.pop()
    run.held -= set(run.planner.prefix_index.drop(gone.items))
    assert not [node for node, _ in run.held if node.path[0] in gone.prompts.roots.values()]
    run.finish(lambda number: answers[number % len(answers)])
    assert (run.held, run.planner.prefix_index.tokens) == (set(), 0)


def test_stage_by_stage_while_there_is_room() -> None:
    """One batch a stage: the adapter changes as rarely as it can."""
    run = _Run(_requests([("precision", 9)]), ACTIVATED, WIDE)
    run.finish(lambda number: 0.99 if number % 3 else 0.01)
    assert [batch.adapter for batch in run.batches] == ["relevant", "primary", "supporting"][: len(run.batches)]


def test_survivors_keep_their_cache_and_go_ahead_when_the_room_is_full() -> None:
    """With little room the survivors of a chunk free theirs before newcomers come in; no item is computed twice."""
    run = _Run(_requests([("precision", 60)]), ACTIVATED, Capacity(nodes=24, tokens=6_000))
    run.finish(lambda _: 0.99)
    adapters = [batch.adapter for batch in run.batches]
    assert adapters[:3] == ["relevant", "primary", "relevant"]
    items = {state.path[-1] for state in run.requests[0].items}
    assert all(n == 1 for (node, _), n in run.computed.items() if node in items or node.parent is None)
    assert not run.n_evicted


def test_plain_adapters_forget_an_item_once_it_has_answered() -> None:
    """An item's KV under one plain adapter is of no use to the next; the task's stays for the items to come."""
    run = _Run(_requests([("precision", 12)]), PLAIN, Capacity(nodes=8, tokens=4_000))
    run.step(lambda _: 0.99)
    assert {prefix_adapter for _, prefix_adapter in run.held} <= {"relevant"}
    assert not run.held & {(state.path[-1], "relevant") for state in run.requests[0].items if state.depth}
    run.finish(lambda _: 0.99)
    tasks = {key: n for key, n in run.computed.items() if key[0].parent is None}
    assert set(tasks.values()) == {1}


def test_a_batch_too_short_for_its_swaps_waits() -> None:
    """Swaps that cost nothing are made at once; dear ones wait until survivors have freed room for a longer batch."""
    n_batches = {}
    for per_swap_ms in (0.0, 1e6):
        costs = Costs(per_swap_ms=per_swap_ms, per_call_ms=0.0)
        run = _Run(_requests([("precision", 60)]), ACTIVATED, Capacity(nodes=24, tokens=6_000), costs)
        run.finish(lambda number: 0.99 if number % 2 else 0.01)
        n_batches[per_swap_ms] = len(run.batches)
    assert n_batches[1e6] < n_batches[0.0]


def test_batches_are_of_equal_length_near_the_best() -> None:
    """A stage that is longer than the best batch is cut into equal batches, and none is left short."""
    run = _Run(_requests([("precision", 90)]), ACTIVATED, WIDE)
    best = run.planner.best_length("relevant")
    costs = run.costs
    assert costs.per_cell_ms * best**2 / 2 == pytest.approx(2 * (costs.per_call_ms + costs.per_swap_ms))
    run.finish(lambda _: 0.01)
    lengths = run.new_tokens
    assert len(lengths) > 2
    assert max(lengths) < 1.5 * best
    assert max(lengths) - min(lengths) < 0.2 * max(lengths)


def test_survivors_that_lie_in_the_way_go_ahead() -> None:
    """Many are asked at once, before the next batch has to look past them; a few wait to be asked together."""
    for share, second in ((0.05, "relevant"), (1.0, "primary")):
        run = _Run(_requests([("precision", 90)]), ACTIVATED, WIDE)
        run.finish(lambda number, share=share: 0.99 if number < 20 * share else 0.01)  # type: ignore[misc]
        assert [batch.adapter for batch in run.batches][:2] == ["relevant", second], share


def test_requests_share_a_batch_when_they_share_an_adapter() -> None:
    """Two callers of one cascade are scored together."""
    run = _Run(_requests([("precision", 3), ("scope", 3), ("precision", 2)]), SHIPPED, WIDE)
    assert run.step(lambda _: 0.5)
    assert len(run.batches[0].queries) == 5


def test_what_the_backend_lost_is_computed_again() -> None:
    """After a failure nothing counts as kept."""
    run = _Run(_requests([("precision", 4)]), ACTIVATED, WIDE)
    run.step(lambda _: 0.99)
    run.planner.prefix_index.clear()
    assert not run.held
    run.finish(lambda _: 0.99)
    assert {run.computed[state.path[-1], BASE] for state in run.requests[0].items} == {2}


def test_whoever_has_the_turn_gets_room_whatever_is_kept_for_others() -> None:
    """Items that nobody asks for now go first, and where that is not enough the tasks above them."""
    first, second = _requests([("precision", 2), ("precision", 2)])
    longest = max(state.path[-1].end for request in (first, second) for state in request.items)
    capacity = Capacity(nodes=100, tokens=longest + max(len(BUILDER.marker_tokens(name)) for name in PRECISION))
    run = _Run([first, second], ACTIVATED, capacity)
    assert run.planner.next_batch({first: first.open_items})
    assert not run.released
    batch = run.planner.next_batch({second: second.open_items})
    assert batch is not None
    assert [query.item for query in batch.queries] == second.items[:1]
    assert first.items[0].path[0] in {node for node, _ in run.released}


@pytest.mark.parametrize("n_requests", [0, 1])
def test_nothing_open_is_no_batch(n_requests: int) -> None:
    """With no request, or none with open items, there is nothing to do."""
    planner = Planner(BackendLimits(capacity=WIDE, prefix_adapters=PLAIN), lambda _: 4)
    assert planner.next_batch({request: [] for request in _requests([("precision", 1)][:n_requests])}) is None
