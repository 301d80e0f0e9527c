"""A cascade that may be uncertain over HTTP: decisions, the list of cascades, metrics and System One."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from cascade import Cascade, Engine, Item, ScriptedBackend, Task
from cascade.engine.settings import EngineSettings
from cascade.service.metrics import Metrics
from cascade.service.schemas import CascadeBody, ReportBody
from cascade.stages import ANY_TIER, Limits, Target
from tests.helpers.service import PATIENCE_S, body_of, serving
from tests.helpers.shipped import ADAPTERS, CASCADES

ITEMS = [Item(id=str(at), kind="function", name=f"f{at}") for at in range(3)]


def doubting() -> Cascade:
    """The precision cascade, whose first stage hands on what lies between its thresholds."""
    tree = CASCADES["precision"]
    limits = {ANY_TIER: Limits(0.3, 0.7)}
    first = replace(tree.first.with_limits(limits), uncertain=Target("review", is_label=True))
    return replace(tree, labels=(*tree.labels, "review"), stages=(first, *tree.stages[1:]))


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """A client of a service whose first question is answered half and half."""
    metrics, backend = Metrics(), ScriptedBackend(dict.fromkeys(ADAPTERS, 0.5), ADAPTERS)
    settings = EngineSettings(observers=(metrics,))
    with (
        Engine(backend, {"precision": doubting()}, settings=settings) as engine,
        serving(engine, metrics) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        yield client


def test_what_is_handed_on_has_a_status_of_its_own(client: httpx.Client) -> None:
    """In decisions, whose answer is null between both thresholds, and in the metrics; a deadline has another."""
    body = client.post("/v1/cascades/precision", json=body_of(Task(text="t"), ITEMS)).json()
    ReportBody.model_validate(body)
    assert [(row["label"], row["status"]) for row in body["decisions"]] == [("review", "uncertain")] * 3
    (step,) = body["decisions"][0]["steps"]
    assert (step["answer"], step["no_below"], step["threshold"]) == (None, 0.3, 0.7)
    late = client.post("/v1/cascades/precision", json=body_of(Task(text="t"), ITEMS) | {"budget_ms": 1e-6}).json()
    assert {row["status"] for row in late["decisions"]} == {"deadline"}
    assert "review" not in {row["label"] for row in late["decisions"]}
    told = client.get("/metrics").text
    assert 'cascade_decisions_total{cascade="precision",label="review",status="uncertain"} 3.0' in told
    assert 'status="deadline"} 3.0' in told


def test_the_list_of_cascades_tells_of_the_third_way(client: httpx.Client) -> None:
    """With both thresholds, where the uncertain go, and which labels are no answers."""
    (row,) = client.get("/v1/cascades").json()["cascades"]
    CascadeBody.model_validate(row)
    assert row["handed_on"] == ["review"]
    assert row["stages"][0]["uncertain"] == {"label": "review"}
    assert (row["stages"][0]["questions"][0]["no_below"], row["stages"][0]["questions"][0]["threshold"]) == (0.3, 0.7)


def test_a_choice_is_among_answers(client: httpx.Client) -> None:
    """A choice may be among a cascade's labels or some of them, what is handed on among them, and no others."""
    state = body_of(Task(text="t"), ITEMS[:1])
    question = {"type": "choice", "instructions": "Which?", "criteria": dict.fromkeys(CASCADES["precision"].labels)}
    call = {"state": {"task": state["task"], "item": state["items"][0]}, "questions": {"c": question}}
    found = client.post("/v1/systemone", json=call).json()["answers"]["c"]
    assert set(found["probabilities"]) == {*CASCADES["precision"].labels}
    assert sum(found["probabilities"].values()) == pytest.approx(1)
    question["criteria"] = dict.fromkeys(("primary", "excluded"))
    found = client.post("/v1/systemone", json=call).json()["answers"]["c"]
    assert set(found["probabilities"]) == {"primary", "excluded"}
    question["criteria"] = dict.fromkeys(("primary", "red"))
    refused = client.post("/v1/systemone", json=call)
    assert refused.status_code == 422
    assert "chooses among excluded, primary, supporting, type_context" in refused.text
