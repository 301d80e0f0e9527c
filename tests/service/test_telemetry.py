"""Spans of the service: below those of their calls, sent to a collector, and what happens without the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.trace import SpanKind

from cascade import Traces
from cascade.cli.output import ExitCode
from cascade.machine import install_extra
from cascade.service.telemetry import otlp_provider, spans_of_calls
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.service import Service
from tests.helpers.spans import attributes_of, collector, kept_spans, named, parent, spans_of

ROOT = Path(__file__).parents[2]


@run
async def test_a_request_is_the_child_of_its_call_and_that_of_its_callers_span() -> None:
    """A traceparent header, the span of the call, and the engine's request are one trace."""
    provider, exporter = kept_spans()
    service = Service(observers=(Traces(provider),), telemetry=spans_of_calls(provider))
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    questions = {"q": {"type": "noul", "instructions": "Is it?"}}
    with service.engine:
        async with service.client(headers={"traceparent": f"00-{trace}-{caller}-01"}) as client:
            await client.post("/v1/cascades/precision", json={"task": "t", "items": [{"id": "1", "name": "a"}]})
            await client.post("/v1/systemone", json={"state": "s", "questions": questions, "model": "base"})
            asked = [{"type": "predicate", "instructions": "Is it?"}]
            await client.post("/v1/decisions", json={"input": "s", "questions": asked, "model": "base"})
    calls = {span.context.span_id: span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER}
    requests = named(exporter, "decision")
    assert len(calls) == len(requests) == 3
    assert {parent(request) for request in requests} == calls.keys()
    assert {parent(call) for call in calls.values()} == {int(caller, 16)}
    assert {span.context.trace_id for span in exporter.get_finished_spans()} == {int(trace, 16)}
    systems = sorted(attributes_of(request)["decision.system"] for request in requests)
    assert systems == ["binary_cascade", "openai", "typesafe"]


@pytest.mark.parametrize("texts", [False, True])
@run
async def test_texts_of_callers_are_told_where_they_are_asked_for(texts: bool) -> None:  # noqa: FBT001 - pytest's
    """State, wording, criteria and names of questions stand in no span of a service that was not told to."""
    provider, exporter = kept_spans()
    service = Service(observers=(Traces(provider, texts=texts),), telemetry=spans_of_calls(provider))
    private = "zebra-crossing"
    question = {"type": "noul", "instructions": private, "criteria": {"true": private}}
    body = {"state": private, "questions": {private: question}, "model": "base"}
    with service.engine:
        async with service.client() as client:
            answer = await client.post("/v1/systemone", json=body)
    assert answer.status_code == 200, answer.text
    assert named(exporter, "decision")
    told = [span for span in exporter.get_finished_spans() if private in f"{span.name} {span.attributes}"]
    assert bool(told) == texts


@pytest.mark.parametrize("name", [None, "shop"])
def test_a_collector_gets_the_spans(name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By OTLP, where the OTEL_ variables say, under the service's name or that of the variables."""
    with collector() as (url, sent):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        if name:
            monkeypatch.setenv("OTEL_SERVICE_NAME", name)
        provider = otlp_provider()
        with Service(observers=(Traces(provider),)).engine as engine:
            report = engine.classify("t", plain_items(3))
        provider.shutdown()
    resources = {entry.key: entry.value.string_value for each in sent for entry in each.resource.attributes}
    assert resources["service.name"] == (name or "cascade")
    spans = spans_of(sent)
    (decision,) = (span for span in spans if span.name == "decision precision")
    found = {entry.key: entry.value for entry in decision.attributes}
    assert found["openinference.span.kind"].string_value == "DECISION"
    assert found["cascade.calls"].int_value == report.stats.calls
    assert {span.parent_span_id for span in spans if span.name == "cascade.wave"} == {decision.span_id}


@pytest.mark.slow
def test_without_the_extras_the_command_says_what_to_install() -> None:
    """Exit code 1 and the extra's name; all other commands are as they were."""
    code = (
        "import sys; sys.modules[{missing!r}] = None; from cascade.cli import main; "
        "assert main(['config', 'show', 'precision']) == 0; sys.exit(main({command!r}))"
    )
    for missing, command, extra in (
        ("fastapi", ["serve"], "serve"),
        ("opentelemetry.sdk", ["serve", "--traces"], "telemetry"),
    ):
        program = code.format(missing=missing, command=command)
        line = [sys.executable, "-c", program]
        done = subprocess.run(line, capture_output=True, encoding="utf-8", check=False, cwd=ROOT)
        assert done.returncode == ExitCode.FAILURE
        assert f"`{install_extra(extra)}`" in done.stderr
