"""Spans of requests, batches and swaps, from the shipped model; and what happens without them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from cascade import Engine, ScriptedBackend
from cascade.backends.base import Batch, BatchCost, Query
from cascade.cli.output import ExitCode
from cascade.engine.observer import SeenBatch
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.request import Request, new_request
from cascade.errors import BackendError
from cascade.machine import install_extra
from cascade.prompt import Node, Segment
from cascade.service.telemetry import Traces, spans_of_calls
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items, symbols
from tests.helpers.service import Service
from tests.helpers.shipped import ADAPTERS, CASCADES

ROOT = Path(__file__).parents[2]


def _traces() -> tuple[Traces, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Traces(provider), exporter


def _named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def _parent(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def _times(span: ReadableSpan) -> tuple[int, int]:
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@pytest.mark.slow
def test_batches_are_children_of_their_request_and_swaps_of_their_batch() -> None:
    """As many spans as the report counts, each within the time of the one above."""
    traces, exporter = _traces()
    task, items = symbols(2, 10)
    with Engine.open(observers=(traces,)) as engine:
        stats = engine.classify(task, items).stats
    (request,), batches, swaps = (_named(exporter, f"cascade.{name}") for name in ("request", "wave", "swap"))
    assert request.attributes == {"cascade.name": "precision", "cascade.items": 10, "cascade.calls": stats.calls}
    assert sum(int(str((batch.attributes or {})["cascade.queries"])) for batch in batches) == stats.calls
    assert len(swaps) == stats.adapter_swaps
    assert {_parent(batch) for batch in batches} == {request.context.span_id}
    by_id = {batch.context.span_id: batch for batch in batches}
    for swap in swaps:
        (began, ended), (batch_began, batch_ended) = _times(swap), _times(by_id[_parent(swap)])
        assert batch_began <= began <= ended <= batch_ended


def test_a_batch_of_several_requests_has_links_to_them() -> None:
    """It is the child of one of them and has links to the others; one that nobody knows has none."""
    traces, exporter = _traces()
    cascade = CASCADES["precision"]
    provenance = ScriptedBackend({}, ADAPTERS).info.provenance
    requests = [new_request("t", plain_items(1), OnlineProfile(cascade), provenance) for _ in range(4)]
    for request in requests[:3]:
        traces.began(request)
    batch = Batch((Query(Node(None, Segment.TASK, (1,)), "relevant"),))
    cost = BatchCost(decode_calls=1, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=1.0)
    traces.scored(
        SeenBatch(batch=batch, requests=tuple(requests), began=1.0, elapsed_ms=1.0, cost=cost, adapter="relevant")
    )
    for request in requests:
        request.done.set_result([])
        traces.ended(request)
    first, *others = (span.context.span_id for span in _named(exporter, "cascade.request"))
    (seen,) = _named(exporter, "cascade.wave")
    assert _parent(seen) == first
    assert [link.context.span_id for link in seen.links] == others
    assert _times(seen) == (10**9, 10**9 + 10**6)


@run
async def test_every_request_of_many_has_its_batches() -> None:
    """Each of ten requests at once is the parent of a batch, or linked to one, and no batch is a stranger's."""
    traces, exporter = _traces()
    service = Service(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.1), ADAPTERS), observers=(traces,))
    with service.engine as engine:
        await asyncio.gather(*(engine.aclassify(f"task {at}", plain_items(2)) for at in range(10)))
    ids = {span.context.span_id for span in _named(exporter, "cascade.request")}
    batches = _named(exporter, "cascade.wave")
    served = [{_parent(batch), *(link.context.span_id for link in batch.links)} for batch in batches]
    assert len(ids) == 10
    assert set.union(*served) == ids


def test_what_fails_is_an_error_in_its_spans() -> None:
    """Both the batch and the request."""
    traces, exporter = _traces()
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS, fail_at=0)
    with Service(backend, observers=(traces,)).engine as engine, pytest.raises(BackendError):
        engine.classify("t", plain_items(2))
    statuses = {span.name: span.status.status_code for span in exporter.get_finished_spans()}
    assert statuses == {"cascade.request": StatusCode.ERROR, "cascade.wave": StatusCode.ERROR}


@run
async def test_a_request_is_the_child_of_its_call_and_that_of_its_callers_span() -> None:
    """A traceparent header, the span of the call, and the engine's request are one trace."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service = Service(observers=(Traces(provider),), telemetry=spans_of_calls(provider))
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    questions = {"q": {"type": "noul", "instructions": "Is it?"}}
    with service.engine:
        async with service.client(headers={"traceparent": f"00-{trace}-{caller}-01"}) as client:
            await client.post("/v1/cascades/precision", json={"task": "t", "items": [{"id": "1", "name": "a"}]})
            await client.post("/v1/systemone", json={"state": "s", "questions": questions, "model": "base"})
    calls = {span.context.span_id: span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER}
    requests = _named(exporter, "cascade.request")
    assert len(calls) == len(requests) == 2
    assert {_parent(request) for request in requests} == calls.keys()
    assert {_parent(call) for call in calls.values()} == {int(caller, 16)}
    assert {span.context.trace_id for span in exporter.get_finished_spans()} == {int(trace, 16)}


class _Failing:
    """An observer that raises whatever it is told."""

    def began(self, request: Request) -> None:
        raise ValueError(request.cascade.name)

    def scored(self, seen: SeenBatch) -> None:
        raise ValueError(seen.elapsed_ms)

    def ended(self, request: Request) -> None:
        raise ValueError(request.cascade.name)


def test_an_observer_that_raises_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """The request is answered, other observers are told, and the log has the fault."""
    traces, exporter = _traces()
    with Service(observers=(_Failing(), traces)).engine as engine:
        assert len(engine.classify("t", plain_items(3)).decisions) == 3
    assert len(_named(exporter, "cascade.request")) == 1
    assert "an observer failed" in caplog.text


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
