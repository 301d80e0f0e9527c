"""Several base models in one engine: whose prompts are built, whose wave goes first, whose prices are learned."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import replace

import pytest

from cascade import Budget, Cascade, Engine, Item, ScriptedBackend, Status
from cascade.backends.base import BackendInfo, BatchCost, Scores
from cascade.backends.costs import Costs, Work
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.cost_model import CostModel
from cascade.engine.lanes import Lane, Lanes
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.request import Request, new_request
from cascade.engine.scheduler import Scheduler
from cascade.errors import ConfigError
from cascade.prompt import FORMATS, Limits, PromptBuilder
from cascade.report import Provenance
from cascade.stages import Question, Stage, Target

MODELS = {"quick": "small", "base": "small", "judge": "large", "large/base": "large"}


def stage(name: str, adapter: str, yes: Target, no: Target) -> Stage:
    """A stage with one question."""
    asked = Question(marker=name, wording=f"is it {name}?", adapter=adapter, threshold=0.5)
    return Stage(name=name, questions={"": asked}, yes=yes, no=no)


KEEP, DROP, JUDGE = Target("keep", is_label=True), Target("drop", is_label=True), Target("judge", is_label=False)
LAST = Target("last", is_label=False)
TREE = Cascade(
    name="c",
    instructions="Sort.",
    labels=("drop", "keep"),
    stages=(
        stage("quick", "quick", JUDGE, DROP),
        stage("judge", "judge", LAST, DROP),
        stage("last", "base", KEEP, DROP),
    ),
)


class CountingTokenizer(ByteTokenizer):
    """Keeps every text that it tokenised."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, text: str, *, special: bool) -> list[int]:
        """See ``ByteTokenizer.encode``."""
        self.texts.append(text)
        return super().encode(text, special=special)


class NamedBackend(ScriptedBackend):
    """A scripted backend whose base model has a name."""

    base, tokenizer = "base", ByteTokenizer()

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        info = super().info
        prefix_adapters = {self.base if name == "base" else name: of for name, of in info.prefix_adapters.items()}
        own = replace(info.provenance, model=f"hash of {self.base}")
        return replace(info, prefix_adapters=prefix_adapters, tokenizer=self.tokenizer, provenance=own)


def backends(**p: float) -> dict[str, NamedBackend]:
    """A small and a large model; items whose number is below ten times p pass an adapter."""

    def script(adapter: str, prompt: str) -> float:
        number = re.search(r"name_(\d+)", prompt)
        assert number is not None
        return 0.9 if int(number[1]) < 10 * p.get(adapter, 1.0) else 0.1

    small = NamedBackend(script, frozenset({"quick"}))
    large = NamedBackend(script, frozenset({"judge"}))
    large.base, large.tokenizer = "large/base", CountingTokenizer()
    return {"small": small, "large": large}


def items(n: int = 10) -> list[Item]:
    """Items that say which they are."""
    return [Item(id=str(at), name=f"name_{at}") for at in range(n)]


def test_each_model_is_asked_its_own_questions() -> None:
    """Batches go to the model of their adapter, whose prompts list its own questions alone; steps name the model."""
    both = backends(quick=0.3, judge=0.1)
    with Engine(both, {"c": TREE}) as engine:
        report = engine.classify("a task", items(), cascade="c")
    assert [decision.label for decision in report.decisions] == ["keep", *["drop"] * 9]
    assert [(step.stage, step.model) for step in report.decisions[0].steps] == [
        ("quick", "small"),
        ("judge", "large"),
        ("last", "small"),
    ]
    assert report.decisions[0].as_dict()["steps"][1]["model"] == "large"
    asked = {name: {batch.adapter for batch in each.batches} for name, each in both.items()}
    assert asked == {"small": {"quick", "base"}, "large": {"judge"}}
    roots = {name: ByteTokenizer.decode(each.batches[0].queries[0].node.path[0].tokens) for name, each in both.items()}
    assert "is it quick?" in roots["small"]
    assert "is it judge?" not in roots["small"]
    assert "is it quick?" not in roots["large"]


def test_a_model_builds_prompts_of_survivors_alone() -> None:
    """Items that never reach a stage of a model are not tokenised for it, and nothing is where none does."""
    both = backends(quick=0.3)
    tokenizer = both["large"].tokenizer
    assert isinstance(tokenizer, CountingTokenizer)
    with Engine(both, {"c": TREE}) as engine:
        engine.classify("a task", items(), cascade="c")
        built = {text for text in tokenizer.texts if "name_" in text}
        assert len(built) == 3
        tokenizer.texts.clear()
        engine.classify("another task", items()[5:], cascade="c")
        assert not [text for text in tokenizer.texts if "name_" in text or "another" in text]
        assert engine.n_cached == 0
    assert all(each.is_closed for each in both.values())


def test_what_any_model_cuts_is_told() -> None:
    """Where the second model alone reads the beginning of task and items, the report says so, each item once."""
    both = backends(quick=0.3)
    limits = {"small": Limits(), "large": Limits(task=5, item=20)}
    told = [replace(item, doc="Told in many words.") for item in items()]
    with Engine(both, {"c": TREE}, limits) as engine:
        cut = engine.classify("a task", told, cascade="c").stats
        whole = engine.classify("a task", told[3:], cascade="c").stats
    assert (cut.items_cut, cut.task_tokens_read, cut.task_tokens_cut) == (3, 5, 1)
    assert (whole.items_cut, whole.task_tokens_read, whole.task_tokens_cut) == (0, 6, 0)


def test_an_item_is_counted_once_however_many_models_cut_it() -> None:
    """Items and texts that two models read in part count once."""
    reading = [
        replace(one, questions={"": replace(one.question(""), max_text_tokens=10)}) if number else one
        for number, one in enumerate(TREE.stages)
    ]
    asked = [replace(item, doc="Told in many words.", text="body " * 20) for item in items(4)]
    with Engine(backends(), {"c": replace(TREE, stages=tuple(reading))}, Limits(item=20)) as engine:
        stats = engine.classify("a task", asked, cascade="c").stats
    assert (stats.items_cut, stats.texts_read, stats.texts_cut) == (4, 4, 4)


def test_everything_cached_is_released() -> None:
    """Once a request is over, each backend has been told to release the root of its own trie."""
    both = backends(quick=0.3)
    with Engine(both, {"c": TREE}) as engine:
        engine.classify("a task", items(), cascade="c")
        assert engine.n_cached == 0
    for each in both.values():
        assert {batch.queries[0].node.path[0] for batch in each.batches} <= set(each.released)


def test_provenance_has_the_models_that_were_asked() -> None:
    """Of two models both stand in the provenance with their adapters; of a cascade that asks one, that one alone."""
    alone = replace(TREE, name="alone", stages=(stage("quick", "quick", KEEP, DROP),))
    with Engine(backends(), {"c": TREE, "alone": alone}) as engine:
        both, one = (engine.classify("t", items(1), cascade=name).provenance for name in ("c", "alone"))
        assert both == engine.info.provenance_of(TREE) == engine.info.provenance
    assert (both.model, both.adapters) == (
        "small=hash of base, large=hash of large/base",
        {"quick": "scripted", "judge": "scripted"},
    )
    assert {name: (each.model, list(each.adapters)) for name, each in both.models.items()} == {
        "small": ("hash of base", ["quick"]),
        "large": ("hash of large/base", ["judge"]),
    }
    assert (one.name, one.model, list(one.adapters), one.models) == ("small", "hash of base", ["quick"], {})
    assert both.as_dict()["models"]["large"]["adapters"] == {"judge": "scripted"}


def test_an_engine_with_one_named_model_is_as_one_without_names() -> None:
    """Neither steps nor provenance of a single model have a name."""
    alone = replace(TREE, stages=(stage("quick", "quick", KEEP, DROP),))
    with Engine({"small": backends()["small"]}, {"c": alone}) as engine:
        report = engine.classify("t", items(1), cascade="c")
    assert (report.provenance.name, report.provenance.models) == ("", {})
    assert "model" not in report.decisions[0].as_dict()["steps"][0]


def test_refusals() -> None:
    """An adapter that two models have, or none, is refused with its name."""
    both = backends()
    with pytest.raises(ConfigError, match="Adapter 'base' belongs to the models 'one' and 'two'"):
        Engine({"one": both["small"], "two": both["small"]}, {"c": TREE})
    other = replace(TREE, stages=(stage("quick", "nobody", KEEP, DROP),))
    with pytest.raises(ConfigError, match="asks adapter 'nobody', which no backend has; there are base, judge"):
        Engine(both, {"c": other})


def test_deadlines_hold_on_both() -> None:
    """A budget that only the small model can keep answers what the large one was to be asked as far as it got."""
    both = backends()
    both["large"].slowdown = 1e6
    with Engine(both, {"c": TREE}) as engine:
        report = engine.classify("a task", items(), cascade="c", budget=Budget(ms=200))
    assert {decision.status for decision in report.decisions} <= {Status.DEPTH_CAP, Status.DECIDED, Status.DEADLINE}
    assert all(decision.label for decision in report.decisions)


def lane(name: str, costs: Costs, capacity: Capacity | None = None) -> Lane:
    """A model with prices of its own; the base computes all that stands before questions."""
    own = {adapter: f"base of {name}" for adapter, model in MODELS.items() if model == name}
    limits = BackendLimits(capacity=capacity or Capacity(nodes=128, tokens=50_000), prefix_adapters=own, costs=costs)
    prompts = PromptBuilder(FORMATS["embedded"], ByteTokenizer())
    planner = Planner(limits, prompts.question_tokens, model=CostModel(costs), name=name)
    return Lane(planner=planner, prompts=prompts, max_prompt=10_000)


def opened(lanes: Lanes, n: int) -> Request:
    """A request whose prompts are built as far as they are wanted."""
    provenance = Provenance(model="", adapters={}, prompt_format="", label_tokens=(0, 1))
    request = new_request("a task", items(n), OnlineProfile(TREE, MODELS), provenance)
    grow(lanes, request)
    return request


def grow(lanes: Lanes, request: Request) -> None:
    """Build what the items want where they stand."""
    deque(lanes.grow(request), maxlen=0)
    lanes.admit(request.open_items)


@pytest.mark.parametrize(("dear", "first"), [("large", "quick"), ("small", "judge")])
def test_what_settles_most_in_a_millisecond_goes_first(dear: str, first: str) -> None:
    """Where a request waits for both models, the cheaper wave of items that are about to be settled goes first."""
    cheap = Costs()
    costly = replace(cheap, per_token_ms=1_000 * cheap.per_token_ms, per_call_ms=1_000 * cheap.per_call_ms)
    lanes = Lanes([lane(name, costly if name == dear else cheap) for name in ("small", "large")])
    request = opened(lanes, 8)
    for state in request.items[:4]:
        state.take(TREE.stages[0], "", 0.9)
    grow(lanes, request)
    batch = lanes.next_batch({request: request.open_items})
    assert batch is not None
    assert batch.adapter == first
    assert batch.model == MODELS[first]
    later = lanes.next_batch({request: [query.item for query in batch.queries]})
    assert later is not None  # nothing was booked as asked before its answer


@pytest.mark.parametrize("order", [("small", "large"), ("large", "small")])
def test_without_weighing_the_first_model_goes_first(order: tuple[str, str]) -> None:
    """In plain order the first model's wave goes first, whatever it costs; the other's while it has none."""
    cheap = Costs()
    costly = replace(cheap, per_token_ms=1_000 * cheap.per_token_ms, per_call_ms=1_000 * cheap.per_call_ms)
    lanes = Lanes([lane(name, costly if name == order[0] else cheap) for name in order], weighs=False)
    request = opened(lanes, 8)
    for state in request.items[:4]:
        state.take(TREE.stages[0], "", 0.9)
    grow(lanes, request)
    batch = lanes.next_batch({request: request.open_items})
    assert batch is not None
    assert batch.model == order[0]


def test_the_leader_is_not_passed_over() -> None:
    """A request that waits for the dear model alone is served, whatever cheap waves others offer."""
    cheap = Costs()
    costly = replace(cheap, per_token_ms=1_000 * cheap.per_token_ms)
    lanes = Lanes([lane("small", cheap), lane("large", costly)])
    leader, other = opened(lanes, 2), opened(lanes, 8)
    for state in leader.items:
        state.take(TREE.stages[0], "", 0.9)
    grow(lanes, leader)
    batch = lanes.next_batch({leader: leader.open_items, other: other.open_items})
    assert batch is not None
    assert batch.adapter == "judge"


def test_an_item_keeps_its_nodes_where_its_model_asks_again() -> None:
    """While the large model is asked, the small one's nodes stay for the stage that comes back to it."""
    lanes = Lanes([lane("small", Costs()), lane("large", Costs())])
    small = next(iter(lanes)).planner
    request = opened(lanes, 2)
    scheduler = Scheduler(lanes)
    scheduler.add(request)
    cost = BatchCost(decode_calls=1, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=1.0)
    for logits, kept in (([5.0, -5.0], 2), ([5.0], 2), ([5.0], 0)):
        grow(lanes, request)
        batch = scheduler.schedule(0.0)
        assert batch is not None
        over = list(scheduler.postprocess(batch, Scores(logits, cost)))
        assert len(small.prefix_index) == kept
    assert over == [(request, None)]
    assert lanes.n_cached == 0


def test_each_model_learns_its_own_prices() -> None:
    """What a decode of one model took changes no price of the other."""
    lanes = Lanes([lane("small", Costs()), lane("large", Costs())])
    scheduler = Scheduler(lanes)
    request = opened(lanes, 4)
    scheduler.add(request)
    batch = scheduler.schedule(0.0)
    assert batch is not None
    decodes = tuple((Work.of(tokens=100, cells=0, most=512), 5_000.0) for _ in range(10))
    cost = BatchCost(
        decode_calls=10, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=1.0, decodes=decodes
    )
    list(scheduler.postprocess(batch, Scores([5.0] * 4, cost)))
    small, large = (each.planner.model for each in lanes)
    assert (small.n_seen, large.n_seen) == (10, 0)
    work = Work.of(tokens=100, cells=0, most=512)
    assert small.predict(work) > 10 * large.predict(work)


def test_a_full_cache_of_one_model_does_not_stop_the_other() -> None:
    """Where survivors fill the small model's cache, the large one is asked, and every item comes to its end."""
    tight = Capacity(nodes=4, tokens=2_000)
    lanes = Lanes([lane("small", Costs(), tight), lane("large", Costs(), tight)])
    scheduler = Scheduler(lanes)
    request = opened(lanes, 9)
    scheduler.add(request)
    cost = BatchCost(decode_calls=1, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=1.0)
    for _ in range(60):
        grow(lanes, request)
        batch = scheduler.schedule(0.0)
        assert batch is not None
        if list(scheduler.postprocess(batch, Scores([5.0] * len(batch.queries), cost))):
            break
    assert all(state.label == "keep" for state in request.items)
    assert lanes.n_cached == 0
