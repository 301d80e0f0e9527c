"""``cascade serve`` with the shipped model on a real socket: it says what the engine says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from systemone import AsyncClient, Choice, Client, Noul, Score, SystemOneError

from cascade import Engine
from cascade.prompt import group_text, item_text
from cascade.report import Report
from cascade.service.metrics import Metrics
from tests.helpers.asyncs import run
from tests.helpers.requests import files, symbols, with_source
from tests.helpers.service import PATIENCE_S, body_of, serving
from tests.helpers.shipped import CASCADES, SHIPPED

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    """What the engine tells of itself."""
    return Metrics()


@pytest.fixture(scope="module")
def engine(metrics: Metrics) -> Iterator[Engine]:
    """The shipped model."""
    with Engine.open(observers=(metrics,)) as engine:
        yield engine


@pytest.fixture(scope="module")
def url(engine: Engine, metrics: Metrics) -> Iterator[str]:
    """Where the service is."""
    with serving(engine, metrics) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """A client of the service."""
    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        yield client


def _same(found: list[dict[str, Any]], report: Report) -> None:
    """The same decisions, whatever their order."""
    expected = {decision.id: decision.as_dict() for decision in report.decisions}
    assert len(found) == len(expected)
    for decision in found:
        other = expected[decision["id"]]
        assert (decision["label"], decision["status"]) == (other["label"], other["status"])
        assert [step["p_yes"] for step in decision["steps"]] == pytest.approx(
            [step["p_yes"] for step in other["steps"]], abs=TOLERANCE
        )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["precision", "scope"])
def test_a_cascade_answers_as_the_engine_does(client: httpx.Client, engine: Engine, name: str) -> None:
    """The answer is the report: decisions in the order of the items, stats and provenance."""
    task, items = symbols(3, 12) if name == "precision" else files(3, 12)
    found = client.post(f"/v1/cascades/{name}", json=body_of(task, items))
    assert found.status_code == 200
    report = engine.classify(task, items, name)
    body = found.json()
    assert [decision["id"] for decision in body["decisions"]] == [item.id for item in items]
    _same(body["decisions"], report)
    assert body["stats"].keys() == report.stats.as_dict().keys()
    assert body["provenance"] == report.as_dict()["provenance"]
    assert body["task_id"] == task.id


def test_decisions_stream_as_they_settle(client: httpx.Client, engine: Engine) -> None:
    """A line for every decision, those that settle early first, and a last one with stats and provenance."""
    task, items = symbols(4, 16)
    with client.stream(
        "POST", "/v1/cascades/precision", json=body_of(task, items), headers={"Accept": "application/x-ndjson"}
    ) as answer:
        assert answer.headers["content-type"].startswith("application/x-ndjson")
        lines = [json.loads(line) for line in answer.iter_lines()]
    *decisions, last = lines
    report = engine.classify(task, items)
    _same(decisions, report)
    assert last.keys() == {"task_id", "stats", "provenance"}
    assert last["task_id"] == task.id
    assert last["stats"]["items"] == 16


def test_budget_and_depth_are_kept(client: httpx.Client) -> None:
    """A depth of one question leaves nobody further, and labels say that they were cut short."""
    task, items = symbols(5, 10)
    body = body_of(task, with_source(items), depth=1, budget_ms=20_000)
    found = client.post("/v1/cascades/precision", json=body).json()
    n_asked = [sum(step["adapter"] != "" for step in decision["steps"]) for decision in found["decisions"]]
    assert max(n_asked) == 1
    assert {decision["status"] for decision in found["decisions"]} == {"decided", "depth_cap"}
    assert all("p_label" in decision for decision in found["decisions"] if decision["status"] == "depth_cap")


def test_health_and_cascades_say_what_answers(client: httpx.Client, engine: Engine) -> None:
    """Hashes of the model and of every adapter, and every cascade with its questions."""
    health = client.get("/health").json()
    made_by = engine.info.provenance
    assert (health["status"], health["model"], health["adapters"]) == ("ok", made_by.model, made_by.adapters)
    assert health["cascades"] == list(CASCADES)
    precision, scope, *others = client.get("/v1/cascades").json()["cascades"]
    assert {one["name"]: one["items"] for one in others} == {
        "routing": "stages", "refilter": "files", "module": "folders", "edge": "pairs",
    }  # fmt: skip
    assert precision["labels"] == ["excluded", "primary", "supporting", "type_context"]
    assert precision["stages"][0]["no"] == {"label": "excluded"}
    assert [question["tier"] for question in scope["stages"][0]["questions"]] == ["dependency", "co_change", "metadata"]


def _sample(text: str, name: str, **labels: str) -> float:
    """The value of one sample in Prometheus' text format; 0 if it is not there."""
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


@pytest.mark.slow
def test_metrics_count_what_was_done(client: httpx.Client) -> None:
    """One more request adds its decisions, questions, tokens, batches and swaps, and none is left open."""
    before = client.get("/metrics").text
    task, items = symbols(6, 9)
    report = client.post("/v1/cascades/precision", json=body_of(task, items)).json()
    after = client.get("/metrics").text

    def more(name: str, **labels: str) -> float:
        return _sample(after, name, **labels) - _sample(before, name, **labels)

    stats = report["stats"]
    assert more("cascade_decisions_total", cascade="precision", status="decided") == 9
    for label in {decision["label"] for decision in report["decisions"]}:
        count = sum(decision["label"] == label for decision in report["decisions"])
        assert more("cascade_decisions_total", label=label) == count
    assert more("cascade_calls_per_item_sum", cascade="precision") == pytest.approx(stats["calls_per_item"])
    assert more("cascade_tokens_decoded_total") == stats["tokens_decoded"]
    assert more("cascade_tokens_reused_total") == stats["tokens_reused"]
    assert more("cascade_adapter_swaps_total") == stats["adapter_swaps"]
    assert more("cascade_wave_queries_sum") == stats["calls"]
    assert more("cascade_wave_seconds_count") > 0
    assert more("cascade_engine_requests_total", end="done") == 1
    assert more("cascade_http_seconds_count", path="/v1/cascades/{name}", status="200") == 1
    assert _sample(after, "cascade_queue_requests") == 0


def test_the_public_client_asks_stages(url: str, engine: Engine) -> None:
    """systemone-client, as it is, gets a stage's own p(yes) for a full state, by its wording or its name."""
    task, items = symbols(7, 1)
    state = {"task": task.text, "seeds": list(task.seeds), "item": asdict(items[0])}
    with Client(url) as client:
        found = client.system_one(
            state, {"a": Noul("does this symbol matter at all?"), "b": Noul("supporting")}, model="precision"
        )
    ((relevant, _, supporting),) = engine.score(task, items, "precision")
    assert found.model == "precision"
    assert found.nouls["a"].noul == pytest.approx(relevant.p_yes, abs=TOLERANCE)
    assert found.nouls["b"].noul == pytest.approx(supporting.p_yes, abs=TOLERANCE)
    assert found.usage.input_tokens > 0
    assert found.usage.output_tokens == 0
    assert found.raw["x_latency_ms"] > 0
    assert found.raw["x_calls"] == 2


def test_the_public_client_asks_for_a_choice(url: str, engine: Engine) -> None:
    """A choice among a cascade's labels has the tree's own label, with the probabilities of its ways."""
    task, items = symbols(8, 1)
    labels = engine.cascade("precision").labels
    (decision,) = engine.classify(task, items, "precision").decisions
    state = {"task": task.text, "seeds": list(task.seeds), "item": asdict(items[0])}
    with Client(url) as client:
        found = client.system_one(state, {"label": Choice("Which?", dict.fromkeys(labels))}).choices["label"]
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert found.choice == decision.label
    assert found.probabilities[found.choice] == max(found.probabilities.values())
    assert found.confidence == pytest.approx((max(found.probabilities.values()) - 1 / 4) / (1 - 1 / 4))


@pytest.mark.slow
@run
async def test_the_public_client_asks_adapters_at_once(url: str) -> None:
    """Adapters and the base model answer any question about any state, and no answer depends on what else is asked."""
    state = {"ticket": {"subject": "Refund?", "body": "I was charged twice."}}
    billing, urgent = Noul("Is this about billing?", "A charge or a refund."), Noul("Is it urgent?")
    async with AsyncClient(url) as client:
        for adapter in ("relevant", "co_change", "base"):
            both = await client.system_one(state, {"billing": billing, "urgent": urgent}, model=adapter)
            alone = await client.system_one(state, {"urgent": urgent}, model=adapter)
            assert all(0 < answer.noul < 1 for answer in both.nouls.values())
            assert both.nouls["urgent"].noul == pytest.approx(alone.nouls["urgent"].noul, abs=TOLERANCE)
            assert both.model == adapter


@pytest.mark.parametrize(
    ("questions", "model", "words"),
    [
        ({"q": Noul("Is it red?")}, "precision", ["questions.q.instructions", "must it be changed?"]),
        ({"q": Noul("relevant", "yes if red")}, "precision", ["questions.q.criteria"]),
        ({"q": Noul("relevant")}, "scope", ["questions.q", "tiers", "co_change"]),
        ({"q": Choice("Which?", {"a": None, "b": None})}, "precision", ["questions.q.criteria", "type_context"]),
        ({"q": Choice("relevant", {"a": None, "b": None})}, "precision", ["questions.q.type", "yes/no question"]),
        ({"q": Score("How?", ["a", "b"])}, "precision", ["questions.q.instructions", "must it be changed?"]),
        ({"q": Noul("Is it red?")}, "precision/primary", ["questions.q.instructions", "must it be changed?"]),
        ({"q": Noul("  ")}, "relevant", ["questions.q.instructions", "blank"]),
    ],
)
def test_the_public_client_hears_what_is_wrong(url: str, questions: Any, model: str, words: list[str]) -> None:
    """A question that cannot be answered is refused with the field at fault."""
    with Client(url) as client, pytest.raises(SystemOneError) as caught:
        client.system_one("a state", questions, model=model)
    assert caught.value.status == 422
    assert all(word in caught.value.detail for word in words), caught.value.detail


def test_tiered_stages_answer_by_tier_and_as_a_whole(url: str, engine: Engine) -> None:
    """A tier's own wording asks that tier; the stage's name asks all tiers of the item, and its rule joins them."""
    task, items = files(9, 6)
    item = next(item for item in items if len(item.tiers) > 1)
    state = {"task": task.text, "seeds": list(task.seeds), "item": asdict(item)}
    stage = engine.cascade("scope").first
    wording = stage.questions[item.tiers[0]].wording
    with Client(url, model="scope") as client:
        found = client.system_one(state, {"all": Noul("relevant"), "one": Noul(wording)}).nouls
    (steps,) = engine.score(task, [item], "scope")
    by_tier = {step.tier: step.p_yes for step in steps}
    assert found["all"].noul == pytest.approx(stage.joined_p(by_tier)[0], abs=TOLERANCE)
    assert found["one"].noul == pytest.approx(by_tier[item.tiers[0]], abs=TOLERANCE)


def test_a_question_of_a_cascade_asked_of_its_adapter_is_the_same_question(url: str, engine: Engine) -> None:
    """The adapter is asked in the cascade's own prompt, for an item as for its words."""
    task, items = symbols(10, 1)
    (item,) = items
    assert item.group is not None
    wording = engine.cascade("precision").stages[1].questions[""].wording
    states = [
        {"task": task.text, "seeds": list(task.seeds), "item": asdict(item)},
        {
            "task": task.text,
            "seeds": list(task.seeds),
            "file": group_text(item.group),
            "candidate": item_text(item),
        },
    ]
    ((_, primary, _),) = engine.score(task, items, "precision")
    with Client(url, model="primary") as client:
        for state in states:
            found = client.system_one(state, {"q": Noul(wording)})
            assert found.nouls["q"].noul == pytest.approx(primary.p_yes, abs=TOLERANCE)


@pytest.mark.slow
def test_models_are_what_may_be_asked(client: httpx.Client) -> None:
    """Cascades, their adapters, the base model, single questions, an alias; each of them answers."""
    told = client.get("/v1/models").json()
    names = [model["id"] for model in told["data"]]
    assert names == [card["name"] for card in told["models"]]
    asked = {f"{name}/{stage.name}": stage for name, cascade in CASCADES.items() for stage in cascade.stages}
    assert names == list(dict.fromkeys([*CASCADES, *SHIPPED.adapters, "base", *asked, "jev-latest"]))
    for name in names:
        instructions = CASCADES[name].questions()[-1].wording if name in CASCADES else "relevant"
        if name in asked:
            instructions = next(iter(asked[name].questions.values())).wording
        call = {"state": "s", "questions": {"q": {"type": "noul", "instructions": instructions}}, "model": name}
        assert client.post("/v1/systemone", json=call).status_code == 200
