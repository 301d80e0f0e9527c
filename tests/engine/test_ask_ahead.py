"""Questions asked before the tree needs them: only where that saves time, and with the same decisions."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

import pytest

from cascade import Cascade, Engine, Profile
from cascade.backends.costs import Costs
from cascade.backends.llama.open import open_backend
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.admission import Rules
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.query import Query
from cascade.engine.request import new_request
from cascade.engine.settings import EngineSettings
from cascade.prompt import FORMATS, PromptBuilder
from cascade.report import Provenance
from cascade.stages import BASE, Target
from tests.helpers.requests import plain_items, symbols
from tests.helpers.shipped import CASCADES, SHIPPED

BUILDER = PromptBuilder(FORMATS["embedded"], ByteTokenizer())
PRECISION = CASCADES["precision"]
WIDE = Capacity(nodes=1_000, tokens=1_000_000)


def _under(adapter: str) -> Cascade:
    """The shipped cascade with one adapter, or none, for all of its stages."""
    return replace(
        PRECISION,
        profile=Profile(),
        stages=tuple(
            replace(stage, questions={"": replace(stage.question(""), adapter=adapter)}) for stage in PRECISION.stages
        ),
    )


def _queries(
    cascade: Cascade,
    n: int,
    costs: Costs,
    capacity: Capacity = WIDE,
    *,
    asks_ahead: bool = True,
    tiers: tuple[str, ...] = (),
) -> tuple[Query, ...]:
    adapters = dict.fromkeys(cascade.adapters(), "")
    provenance = Provenance(model="", adapters=adapters, prompt_format="", label_tokens=(0, 1))
    items = [replace(item, tiers=tiers) for item in plain_items(n)]
    request = new_request("a task", items, OnlineProfile(cascade), provenance)
    deque(request.prompts.grow(BUILDER, 1_000_000), maxlen=0)
    names = (BASE, *cascade.adapters())
    planner = Planner(
        BackendLimits(capacity=capacity, prefix_adapters=dict.fromkeys(names, BASE), costs=costs),
        lambda _: 3,  # as with a real tokenizer
        asks_ahead=asks_ahead,
    )
    planner.prefix_index.admit(request.items)
    batch = planner.next_batch({request: request.open_items})
    assert batch is not None
    return batch.queries


@pytest.mark.parametrize("adapter", [BASE, "relevant"])
def test_one_item_is_asked_all_that_one_adapter_may_be_asked(adapter: str) -> None:
    """A call costs more than two questions that may turn out to be unneeded."""
    queries = _queries(_under(adapter), 1, Costs())
    assert [query.stage.name for query in queries] == ["relevant", "primary", "supporting"]
    assert [query.is_ahead for query in queries] == [False, True, True]


def test_an_item_of_several_tiers_is_asked_ahead_once() -> None:
    """Each question of a later stage stands once in a batch, however many tiers of the item are asked in it."""
    first = CASCADES["scope"].first
    tiers = {tier: replace(question, adapter=BASE) for tier, question in first.questions.items()}
    below, out = Target("relevant", is_label=False), Target("excluded", is_label=True)
    stages = (replace(first, name="tiers", questions=tiers, yes=below, no=out), *_under(BASE).stages)
    cascade = replace(PRECISION, profile=Profile(), stages=stages)
    queries = _queries(cascade, 1, Costs(), tiers=tuple(tiers))
    asked = [(query.stage.name, query.tier) for query in queries]
    assert len(asked) == len(set(asked)) == len(tiers) + 3


@pytest.mark.parametrize(
    ("n", "costs", "capacity", "asks_ahead"),
    [
        (60, Costs(), WIDE, True),
        (1, Costs(per_call_ms=0.1), WIDE, True),
        (1, Costs(), Capacity(nodes=4, tokens=1_000_000), True),
        (1, Costs(), WIDE, False),
    ],
    ids=["many items", "cheap calls", "no room", "switched off"],
)
def test_nothing_is_asked_ahead_where_that_saves_nothing(
    n: int, costs: Costs, capacity: Capacity, *, asks_ahead: bool
) -> None:
    """Tokens count more than calls, there is no room for the forks, or the config says no."""
    assert not any(query.is_ahead for query in _queries(_under(BASE), n, costs, capacity, asks_ahead=asks_ahead))


def test_other_adapters_cannot_be_asked_ahead() -> None:
    """A decode has one adapter."""
    assert not any(query.is_ahead for query in _queries(PRECISION, 1, Costs()))


@pytest.mark.slow
def test_the_same_decisions_in_fewer_calls_of_the_model() -> None:
    """On the real model, item by item; what was asked ahead is counted, and off is off."""
    config = SHIPPED
    cascades = {"precision": _under(BASE)}
    task, items = symbols(5, 12)
    decisions, decode_calls, ahead = [], [], []
    for asks_ahead in (False, True):
        settings = EngineSettings(rules=Rules(asks_ahead=asks_ahead))
        with Engine(open_backend(config, cascades, None), cascades, settings=settings) as engine:
            reports = [engine.classify(task, [item]) for item in items]
        decisions.append([report.decisions[0] for report in reports])
        decode_calls.append(sum(report.stats.decode_calls for report in reports))
        ahead.append(sum(report.stats.calls_ahead for report in reports))
        assert all(report.stats.calls >= len(report.decisions[0].steps) for report in reports)
    for one, other in zip(*decisions, strict=True):
        assert one.label == other.label
        assert [step.p_yes for step in one.steps] == pytest.approx([step.p_yes for step in other.steps], abs=1e-3)
    assert ahead[0] == 0
    assert ahead[1] > 0
    assert decode_calls[1] <= decode_calls[0]
