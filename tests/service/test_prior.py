"""A cascade with a prior stage and tuned thresholds over HTTP, and one that servers answer in part."""

from __future__ import annotations

import json
from collections.abc import Iterator
from statistics import fmean
from typing import Any

import httpx
import pytest

from benchmarks.wire_server import Script, ScriptedServer
from cascade import Config, Engine, read_config
from cascade.config.lock import questions_at_hand
from cascade.config.profile import MadeForConfig, PriorConfig
from cascade.config.thresholds import ThresholdsFile
from cascade.probability import KNOTS
from cascade.profile import Prior
from cascade.service.metrics import Metrics
from cascade.service.schemas import CascadeBody, DecisionBody, StatsBody
from tests.engine.test_prior_stage import with_table
from tests.helpers.requests import symbols, with_source
from tests.helpers.service import PATIENCE_S, body_of, serving
from tests.helpers.shipped import CASCADES as QUESTIONS
from tests.tuning.test_search import locked

pytestmark = pytest.mark.slow

CURVE = {"kind": "platt", "values": (KNOTS / 2).tolist()}
TASK, KNOWN = symbols(3, 60)
ITEMS = with_source(KNOWN)


def bounds(config: Config) -> tuple[float, float]:
    """Bounds of a prior stage between which a third of the items lies, and as many on either side."""
    prior = prior_of(config)
    known = sorted(map(prior.p_matters, ITEMS))
    third = len(known) // 3
    lower, upper = (round(fmean(known[at - 1 : at + 1]), 6) for at in (third, 2 * third))
    return lower, upper


def prior_of(config: Config) -> Prior:
    """The prior of ``precision``."""
    prior = config.cascades()["precision"].profile.prior
    assert prior
    return prior


def tuned(config: Config) -> Config:
    """A config whose ``precision`` has thresholds, a curve and a prior of a file that was tuned with what it names."""
    cascade = config.cascades()["precision"]
    with Engine.open(config) as engine:
        made_by = engine.info.provenance
    file = locked(QUESTIONS["precision"], 0.25).model_dump()
    prior, (lower, upper) = prior_of(config), bounds(config)
    file["thresholds"] |= {"prior": {"lower": lower, "upper": upper}}
    file["calibration"] = {"relevant": {"": CURVE}}
    file["prior"] = PriorConfig(bias=prior.bias, weights=dict(prior.weights))
    file["made_for"] = MadeForConfig(
        model=made_by.model,
        data="d",
        questions=questions_at_hand(config, cascade, made_by),
        adapters={name: made_by.adapters[name] for name in cascade.adapters()},
    )
    entry = config.cascade["precision"].model_copy(update={"thresholds": ThresholdsFile.model_validate(file)})
    return config.model_copy(update={"cascade": {"precision": entry}})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The shipped questions with a prior stage."""
    return read_config(with_table(tmp_path_factory.mktemp("prior"), "relevant"))


@pytest.fixture(scope="module")
def client(config: Config) -> Iterator[httpx.Client]:
    """A client of a service with the shipped model, a prior stage and tuned thresholds."""
    metrics = Metrics()
    with (
        Engine.open(tuned(config), (metrics,)) as engine,
        serving(engine, metrics) as url,
        httpx.Client(base_url=url, timeout=PATIENCE_S) as client,
    ):
        yield client


def _known(row: dict[str, Any]) -> None:
    """A decision has no key that the document does not describe."""
    DecisionBody.model_validate(row)
    assert row.keys() <= DecisionBody.model_fields.keys()
    step = DecisionBody.model_fields["steps"].annotation.__args__[0]  # type: ignore[union-attr]
    assert all(each.keys() <= step.model_fields.keys() for each in row["steps"])


def test_what_a_prior_stage_settled_is_told_as_it_is(client: httpx.Client, config: Config) -> None:
    """Its steps have no adapter, those of a tuned question have the calibrated p; the document describes all."""
    thresholds = bounds(config)
    whole = client.post("/v1/cascades/precision", json=body_of(TASK, ITEMS)).json()
    accept = {"Accept": "application/x-ndjson"}
    lines = client.post("/v1/cascades/precision", json=body_of(TASK, ITEMS), headers=accept).text.splitlines()
    *streamed, last = map(json.loads, lines)
    for row in (*whole["decisions"], *streamed):
        _known(row)
    assert whole["stats"].keys() == last["stats"].keys() == StatsBody.model_fields.keys()
    assert sorted(row["id"] for row in streamed) == sorted(item.id for item in ITEMS)
    first = [row["steps"][0] for row in whole["decisions"]]
    settled = [step for step in first if step["stage"] == "prior"]
    asked = [step for step in first if step["stage"] == "relevant"]
    assert len(settled) > 3
    assert len(asked) > 3
    assert all(step["adapter"] == "" and step["threshold"] in thresholds for step in settled)
    assert [step["p_calibrated"] for step in asked] == pytest.approx([step["p_yes"] / 2 for step in asked], abs=0.01)
    assert whole["stats"]["calls"] == sum(len(row["steps"]) for row in whole["decisions"]) - len(settled)


def test_the_list_of_cascades_tells_of_it(client: httpx.Client, config: Config) -> None:
    """With its thresholds as tuned, and where it leads."""
    no_below, yes_from = bounds(config)
    (row,) = client.get("/v1/cascades").json()["cascades"]
    CascadeBody.model_validate(row)
    assert row["prior_stage"] == {
        "name": "prior",
        "source": "evidence",
        "no_below": no_below,
        "yes_from": yes_from,
        "yes": {"stage": "primary"},
        "no": {"label": "excluded"},
        "uncertain": {"stage": "relevant"},
    }


def test_questions_are_put_past_it(client: httpx.Client) -> None:
    """System One asks its stages, and a choice walks the tree from the prior stage on, which is no question itself."""
    state = body_of(TASK, ITEMS[:1])
    options = dict.fromkeys(client.get("/v1/cascades").json()["cascades"][0]["labels"])
    questions: dict[str, Any] = {
        "p": {"type": "noul", "instructions": "relevant"},
        "c": {"type": "choice", "instructions": "Which?", "criteria": options},
    }
    call = {"state": {"task": state["task"], "item": state["items"][0]}, "questions": questions}
    found = client.post("/v1/systemone", json=call).json()["answers"]
    (decision,) = client.post("/v1/cascades/precision", json=state).json()["decisions"]
    assert found["c"]["choice"] == found["c"]["x_label"] == decision["label"]
    assert found["c"]["x_status"] == decision["status"]
    assert 0 < found["p"]["noul"] < 1
    questions["p"]["instructions"] = "prior"
    refused = client.post("/v1/systemone", json=call).json()["detail"]
    assert [fault["loc"] for fault in refused] == [["body", "questions", "p", "instructions"]]


def test_metrics_count_it_as_decisions_without_calls(client: httpx.Client) -> None:
    """Every item has a decision there, and calls per item lie below what the questions alone would cost."""
    before = _samples(client)
    stats = client.post("/v1/cascades/precision", json=body_of(TASK, ITEMS)).json()["stats"]
    after = _samples(client)
    assert after["decisions"] - before["decisions"] == len(ITEMS)
    assert after["calls"] - before["calls"] == pytest.approx(stats["calls"] / len(ITEMS))


def _samples(client: httpx.Client) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if line[:1] != "#"]
    return {
        "decisions": sum(float(value) for name, _, value in lines if name.startswith("cascade_decisions_total")),
        "calls": sum(float(value) for name, _, value in lines if name.startswith("cascade_calls_per_item_sum")),
    }


def test_a_prior_stage_here_then_questions_here_and_on_a_server(config: Config) -> None:
    """One cascade: evidence settles some, the model of this process asks some, a server the rest; the lock holds."""
    script = Script(p=lambda *_: 0.75, adapters=("far-primary",), owner="vllm")
    with ScriptedServer(script) as server:
        table = config.model_dump(exclude_none=True, exclude_unset=True)
        served = {"primary": {"server": "gpu", "name": "far-primary"}}
        servers = {"gpu": {"kind": "completions", "url": server.url}}
        mixed = Config.model_validate(table | {"servers": servers, "adapters": table["adapters"] | served})
        metrics = Metrics()
        with Engine.open(tuned(mixed), (metrics,)) as engine, serving(engine, metrics) as url:
            answer = httpx.post(f"{url}/v1/cascades/precision", json=body_of(TASK, ITEMS), timeout=PATIENCE_S)
    rows = answer.json()["decisions"]
    by_stage = {name: [s for row in rows for s in row["steps"] if s["stage"] == name] for name in ("prior", "primary")}
    past = [row for row in rows if row["steps"][0]["stage"] == "prior" and row["steps"][0]["answer"]]
    assert past
    assert all(row["steps"][1]["stage"] == "primary" and row["label"] == "primary" for row in past)
    assert [step["p_yes"] for step in by_stage["primary"]] == pytest.approx([0.75] * len(by_stage["primary"]))
    assert len(script.seen) == len(by_stage["primary"])
    assert len(by_stage["prior"]) > len(past)
