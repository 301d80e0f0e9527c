"""Items whose text only some stages read: computed and tokenised for survivors alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from cascade import Cascade, Engine, Item, Profile, ScriptedBackend, Status
from cascade.backends.costs import Costs
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.admission import Rules
from cascade.engine.forecast import by_depth
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.request import Request, new_request
from cascade.engine.settings import EngineSettings
from cascade.errors import ConfigError, InputError, ItemError
from cascade.prompt import FORMATS, PromptBuilder
from cascade.report import Provenance
from cascade.stages import BASE, SERVED
from tests.helpers.shipped import CASCADES, reading

PRECISION = CASCADES["precision"]
READING = reading(PRECISION, {"primary": 50, "supporting": 20})
ADAPTERS = frozenset(PRECISION.adapters())
N, N_KEPT = 100, 12


class CountingTokenizer(ByteTokenizer):
    """Keeps every text that it tokenised."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``ByteTokenizer.encode``."""
        self.texts.append(text)
        return super().encode(text, special=special)


def items(n: int = N, length: int = 80) -> list[Item]:
    """Items of which every text says whose it is."""
    return [Item(id=str(at), name=f"name_{at}", text=f"body of {at} ".ljust(length, "~")) for at in range(n)]


def keeps_the_first(adapter: str, prompt: str) -> float:
    """p(yes) by which the first few items pass the first stage, and all pass the others."""
    number = int(prompt.partition("name_")[2].split("<")[0].split()[0])
    return 0.99 if adapter != "relevant" or number < N_KEPT else 0.01


def engine_of(cascade: Cascade, **fields: Any) -> tuple[Engine, ScriptedBackend]:
    """An engine with one cascade on a scripted backend."""
    fields.setdefault("script", keeps_the_first)
    backend = ScriptedBackend(adapters=ADAPTERS, **fields)
    return Engine(backend, {"precision": cascade}), backend


def grown(cascade: Cascade, asked: list[Item], tokenizer: ByteTokenizer, max_prompt: int = 1_000_000) -> Request:
    """A request whose prompts are built as admission builds them."""
    provenance = Provenance(model="", adapters=dict.fromkeys(ADAPTERS, ""), prompt_format="", label_tokens=(0, 1))
    request = new_request("a task", asked, OnlineProfile(cascade), provenance)
    deque(request.prompts.grow(PromptBuilder(FORMATS["embedded"], tokenizer), max_prompt), maxlen=0)
    return request


def test_only_survivors_are_asked_with_their_text() -> None:
    """The first stage's prompts have no text, the second's begin with it; statistics count what was read and cut."""
    engine, backend = engine_of(READING)
    with engine:
        stats = engine.classify("a task", items()).stats
    by_stage: dict[str, list[str]] = {}
    for batch in backend.batches:
        by_stage.setdefault(batch.adapter, []).extend(ByteTokenizer.decode(q.node.prompt) for q in batch.queries)
    assert len(by_stage["relevant"]) == N
    assert not any("body of" in prompt for prompt in by_stage["relevant"])
    text = "body of 3 ".ljust(80, "~")
    assert f"<|item|>item name_3\n{text[:50]}<|ask|>primary" in by_stage["primary"][3]
    assert len(by_stage["primary"]) == N_KEPT
    assert (stats.texts_read, stats.texts_cut, stats.items_cut) == (N_KEPT, N_KEPT, N_KEPT)


def test_texts_of_items_that_leave_are_not_tokenised() -> None:
    """Nothing of a text is tokenised before its item comes to a stage that reads it, and then once."""
    tokenizer = CountingTokenizer()
    request, builder = grown(READING, items(), tokenizer), PromptBuilder(FORMATS["embedded"], tokenizer)
    assert not any("body of" in text for text in tokenizer.texts)
    for at, state in enumerate(request.items):
        state.take(READING.first, "", 0.99 if at < N_KEPT else 0.01)
    assert len(list(request.prompts.grow(builder, 1_000_000))) == N_KEPT
    assert len([text for text in tokenizer.texts if "body of" in text]) == N_KEPT
    assert not list(request.prompts.grow(builder, 1_000_000))


def test_an_item_without_a_text_is_asked_all_the_same() -> None:
    """A stage that reads texts asks an item that has none without it, as if it read none."""
    asked = [replace(item, text="" if at else item.text) for at, item in enumerate(items(3))]
    prompts: dict[str, list[str]] = {}
    for name, cascade in (("reads", READING), ("plain", PRECISION)):
        engine, backend = engine_of(cascade)
        with engine:
            report = engine.classify("a task", asked)
        queries = [query for batch in backend.batches for query in batch.queries if query.adapter == "primary"]
        prompts[name] = [ByteTokenizer.decode(query.node.prompt) for query in queries]
        assert report.stats.texts_read == (name == "reads")
    assert prompts["reads"][1:] == prompts["plain"][1:]
    assert prompts["reads"][0] != prompts["plain"][0]


def test_a_first_stage_may_read() -> None:
    """Where the first stage reads, every item's text is built when the request is let in."""
    engine, backend = engine_of(reading(PRECISION, {"relevant": 10}))
    with engine:
        report = engine.classify("a task", items(5))
    assert all(b"body of " in bytes(query.node.prompt[:999]) for query in backend.batches[0].queries)
    assert report.stats.texts_read == 5


def test_every_stage_of_a_score_reads_what_it_reads() -> None:
    """``score`` puts all stages to all items, each with as much of the text as the stage says."""
    engine, backend = engine_of(READING)
    with engine:
        engine.score("a task", items(4), "precision")
        engine.score("a task", items(4), "precision", "supporting")
    lengths: dict[str, set[int]] = {name: set() for name in ADAPTERS}
    for batch in backend.batches:
        for query in batch.queries:
            lengths[query.adapter].add(ByteTokenizer.decode(query.node.prompt).count("~"))
    of_body = len("body of 0 ")
    assert (lengths["primary"], lengths["supporting"]) == ({50 - of_body}, {20 - of_body})
    assert lengths["relevant"] == {0}


@pytest.mark.parametrize("most", [{}, {"supporting": 20}, {"primary": 20, "supporting": 20}])
def test_questions_that_read_more_are_not_asked_ahead(most: Mapping[str, int]) -> None:
    """What survivors alone read is not computed ahead of the answer; what was read already may be asked about."""
    one = replace(reading(PRECISION, most), profile=Profile())
    stages = tuple(
        replace(stage, questions={"": replace(stage.question(""), adapter="relevant")}) for stage in one.stages
    )
    request = grown(replace(one, stages=stages), items(1), ByteTokenizer())
    request.items[0].take(stages[0], "", 0.99)
    builder = PromptBuilder(FORMATS["embedded"], ByteTokenizer())
    deque(request.prompts.grow(builder, 1_000_000), maxlen=0)
    limits = BackendLimits(capacity=Capacity(nodes=99, tokens=9_999), prefix_adapters={"relevant": BASE})
    planner = Planner(limits, lambda _: 3, asks_ahead=True)  # as with a real tokenizer
    planner.prefix_index.admit(request.items)
    batch = planner.next_batch({request: request.open_items})
    assert batch is not None
    is_ahead = most.get("supporting", 0) <= most.get("primary", 0)
    assert [query.stage.name for query in batch.queries] == ["primary", "supporting"][: 1 + is_ahead]


@pytest.mark.parametrize(("prefix_adapter", "reads"), [(BASE, True), ("own", True), (SERVED, False)])
def test_forecasts_count_the_tokens_of_texts(prefix_adapter: str, reads: bool) -> None:  # noqa: FBT001 - a parameter
    """The time to the second depth grows by the texts that survivors will read, and not where a server reads them."""
    names = (BASE, *ADAPTERS)
    adapters = {name: name if prefix_adapter == "own" else prefix_adapter for name in names}

    def times(cascade: Cascade) -> list[float]:
        limits = BackendLimits(capacity=Capacity(nodes=999, tokens=99_999), prefix_adapters=adapters, costs=Costs())
        return by_depth(Planner(limits, lambda _: 3), grown(cascade, items(20, 400), ByteTokenizer()))

    with_texts, without = times(reading(PRECISION, {"primary": 100})), times(PRECISION)
    assert with_texts[0] == without[0]
    assert (with_texts[1] > without[1]) is reads
    assert (times(reading(PRECISION, {"primary": 200}))[1] > with_texts[1]) is reads


def test_a_prompt_that_cannot_fit_is_refused_at_once() -> None:
    """An item whose text would not fit is named before anything is asked; a text that turns out short is let in."""
    deep = reading(PRECISION, {"supporting": 4_000})
    room = max(state.path[-1].end for state in grown(deep, items(1, 10), ByteTokenizer()).items) + 300
    engine, backend = engine_of(deep, max_prompt=room)
    with engine:
        assert engine.classify("a task", items(1, 100)).decisions[0].status is Status.DECIDED
        n_before = backend.n_batches
        with pytest.raises(ItemError, match=r"Item '0' needs a prompt of \d+ tokens; .* or a stage's max_text"):
            engine.classify("a task", items(1, 900))
        assert backend.n_batches == n_before


def test_more_lengths_than_there_is_room_for_are_refused() -> None:
    """Each length of a text makes prompts deeper by a node; where that cannot be kept, the config is refused."""
    two = reading(PRECISION, {"primary": 50, "supporting": 20})
    with pytest.raises(ConfigError, match=r"read 2 lengths of an item's text, 20, 50 tokens; .* has room for 1"):
        engine_of(two, max_nodes=4)
    engine_of(reading(PRECISION, {"primary": 50, "supporting": 50}), max_nodes=4)[0].close()


def test_a_budget_that_ends_meanwhile_leaves_every_item_with_a_label() -> None:
    """Texts that there is no time for are not waited for."""
    engine, _ = engine_of(READING, slowdown=1.0)
    with engine:
        report = engine.classify("a task", items(200, 5_000), budget=15)
    assert len(report.decisions) == 200
    assert all(decision.label for decision in report.decisions)


def test_requests_with_and_without_texts_share_an_engine() -> None:
    """Cascades that read texts and others run side by side; nothing is kept afterwards."""
    backend = ScriptedBackend(script=keeps_the_first, adapters=ADAPTERS, max_nodes=12)
    settings = EngineSettings(rules=Rules(asks_ahead=False))
    with Engine(backend, {"reads": READING, "plain": PRECISION}, settings=settings) as engine:
        labels = [engine.classify("a task", items(30), name).labels() for name in ("reads", "plain", "reads")]
        assert engine.n_cached == 0
    assert labels[0] == labels[1] == labels[2]


@pytest.mark.parametrize("value", [-1, 1.5, True, "200"])
def test_a_question_reads_a_whole_number_of_tokens(value: Any) -> None:
    """Anything but a whole number from 0 on is refused."""
    with pytest.raises(InputError, match="max_text_tokens of question 'relevant'"):
        replace(PRECISION.first.question(""), max_text_tokens=value)
