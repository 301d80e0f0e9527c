"""Spans of requests, waves and swaps: what they say, by the conventions of others, and how they hang together."""

from __future__ import annotations

import asyncio
import json
from math import isclose

import pytest
from openinference.semconv.trace import OpenInferenceSpanKindValues, SpanAttributes
from opentelemetry import context
from opentelemetry.trace import StatusCode

from cascade import Engine, Item, ScriptedBackend, Traces
from cascade.backends.base import Batch, BatchCost, Query
from cascade.engine.observer import SeenBatch
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.request import Request, new_request
from cascade.errors import BackendError, InputError
from cascade.prompt import Node, Segment
from cascade.stages import ANY_TIER, Question, Stage, Target
from cascade.tree import Cascade
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items, symbols
from tests.helpers.service import Service
from tests.helpers.shipped import ADAPTERS, CASCADES
from tests.helpers.spans import attributes_of, kept_spans, named, parent, times

PRIVATE = "zebra-crossing"


@pytest.mark.slow
def test_a_request_is_a_decision_span_of_openinference() -> None:
    """Kind, names, tokens, calls, adapters, questions, thresholds and outcomes are those of the report; no texts."""
    provider, exporter = kept_spans()
    task, items = symbols(2, 10)
    with Engine.open(observers=(Traces(provider),)) as engine:
        report = engine.classify(task, items)
    (span,) = named(exporter, "decision")
    found, stats = attributes_of(span), report.stats
    assert found[SpanAttributes.OPENINFERENCE_SPAN_KIND] == OpenInferenceSpanKindValues.DECISION.value
    assert (found["gen_ai.operation.name"], found["decision.model_name"]) == ("decision", "precision")
    assert (found["decision.system"], found["decision.provider"]) == ("binary_cascade", "binary_cascade")
    n_input = stats.tokens_decoded + stats.tokens_reused
    assert found["decision.token_count.input"] == found["gen_ai.usage.input_tokens"] == n_input
    assert found["gen_ai.usage.cache_read.input_tokens"] == stats.tokens_reused > 0
    assert found["decision.token_count.output"] == 0
    assert (found["cascade.calls"], found["cascade.items"]) == (stats.calls, 10)
    assert found["cascade.task_id"] == report.task_id
    outcomes = {name: n for name, n in found.items() if name.startswith("cascade.outcome.")}
    assert outcomes == {f"cascade.outcome.{label}": n for label, n in report.labels().items()}
    assert not [name for name in found if name.startswith(("llm.", "input.", "output."))]
    assert task.text not in str(found)
    assert all(item.name not in str(found) for item in items)


@pytest.mark.slow
def test_a_span_says_what_each_question_came_to() -> None:
    """Adapter, wording, threshold, number of answers and mean p(yes) of every stage are those of the report's steps."""
    provider, exporter = kept_spans()
    task, items = symbols(2, 10)
    with Engine.open(observers=(Traces(provider),)) as engine:
        report = engine.classify(task, items)
        cascade = engine.cascade("precision")
    found = attributes_of(named(exporter, "decision")[0])
    asked = [step for decision in report.decisions for step in decision.steps]
    stages = found["cascade.questions.stages"]
    assert set(stages) == {step.stage for step in asked}
    for place, name in enumerate(stages):
        own = [step for step in asked if step.stage == name]
        assert found["cascade.questions.asked"][place] == len(own)
        assert found["cascade.questions.adapters"][place] == own[0].adapter
        assert found["cascade.questions.thresholds"][place] == own[0].threshold
        assert found["cascade.questions.yes"][place] == sum(step.answer is True for step in own)
        assert isclose(found["cascade.questions.p_mean"][place], sum(step.p_yes for step in own) / len(own))
        if own[0].adapter:
            assert found["cascade.questions.wordings"][place] == cascade.stage(name).question(ANY_TIER).wording


def test_texts_are_told_where_they_are_asked_for() -> None:
    """Task and items, and the report with ids, labels and probabilities, as JSON where readers look for them."""
    provider, exporter = kept_spans()
    with Service(observers=(Traces(provider, texts=True),)).engine as engine:
        report = engine.classify(PRIVATE, [Item(id="\ud83d", name="a", doc=PRIVATE)])
    found = attributes_of(named(exporter, "decision")[0])
    given, answered = json.loads(found["input.value"]), json.loads(found["output.value"])
    assert found["input.mime_type"] == found["output.mime_type"] == "application/json"
    assert given["task"] == {"text": PRIVATE}
    assert [(item["id"], item["doc"]) for item in given["items"]] == [("\ud83d", PRIVATE)]
    assert answered == json.loads(json.dumps(report.as_dict()))


@pytest.mark.parametrize("texts", [False, True])
@run
async def test_questions_of_callers_are_texts(texts: bool) -> None:  # noqa: FBT001 - pytest's
    """Wordings, stages and labels of a cascade that came with a call are told where texts are; the rest always is."""
    provider, exporter = kept_spans()
    asked = Question(marker="answer", wording=f"is it {PRIVATE}?", adapter="base", threshold=0.25)
    yes, no = Target(f"yes {PRIVATE}", is_label=True), Target("no", is_label=True)
    stage = Stage(name=PRIVATE, questions={ANY_TIER: asked}, yes=yes, no=no)
    own = Cascade(name="own", instructions=PRIVATE, labels=("no", f"yes {PRIVATE}"), stages=(stage,))
    with Service(observers=(Traces(provider, texts=texts),)).engine as engine:
        await engine.ascore(PRIVATE, [Item(id=PRIVATE, name=PRIVATE)], own)
    found = attributes_of(named(exporter, "decision")[0])
    assert (PRIVATE in str(found)) == texts
    assert found["decision.model_name"] == "base"
    assert found["cascade.questions.thresholds"] == (0.25,)
    assert (found["cascade.questions.asked"], found["cascade.questions.yes"]) == ((1,), (1,))


def test_a_span_has_what_openinference_put_into_the_context() -> None:
    """Session and tags that were set around the call are attributes of its span."""
    provider, exporter = kept_spans()
    with Service(observers=(Traces(provider),)).engine as engine:
        token = context.attach(context.set_value("session.id", "s-1", context.set_value("tag.tags", ["a", "b"])))
        engine.classify("t", plain_items(1))
        context.detach(token)
        engine.classify("t", plain_items(1))
    inside, after = map(attributes_of, named(exporter, "decision"))
    assert (inside["session.id"], inside["tag.tags"]) == ("s-1", ("a", "b"))
    assert "session.id" not in after


def test_names_of_genai_may_be_left_out() -> None:
    """Then a span has those of OpenInference and our own alone."""
    provider, exporter = kept_spans()
    with Service(observers=(Traces(provider, genai=False),)).engine as engine:
        engine.classify("t", plain_items(1))
    found = attributes_of(named(exporter, "decision")[0])
    assert {name.partition(".")[0] for name in found} == {"openinference", "decision", "cascade"}


def test_what_is_no_provider_is_refused() -> None:
    """An exporter in place of a provider, and a text in place of a truth value."""
    with pytest.raises(InputError, match="TracerProvider"):
        Traces(kept_spans()[1])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="True or False"):
        Traces(texts="yes")  # type: ignore[arg-type]


@pytest.mark.slow
def test_batches_are_children_of_their_request_and_swaps_of_their_batch() -> None:
    """As many spans as the report counts, each within the time of the one above."""
    provider, exporter = kept_spans()
    traces = Traces(provider)
    task, items = symbols(2, 10)
    with Engine.open(observers=(traces,)) as engine:
        stats = engine.classify(task, items).stats
    (request,), batches, swaps = (named(exporter, name) for name in ("decision", "cascade.wave", "cascade.swap"))
    assert attributes_of(request)["cascade.calls"] == stats.calls
    assert sum(attributes_of(batch)["cascade.queries"] for batch in batches) == stats.calls
    assert len(swaps) == stats.adapter_swaps
    assert {parent(batch) for batch in batches} == {request.context.span_id}
    by_id = {batch.context.span_id: batch for batch in batches}
    for swap in swaps:
        (began, ended), (batch_began, batch_ended) = times(swap), times(by_id[parent(swap)])
        assert batch_began <= began <= ended <= batch_ended


def test_a_batch_of_several_requests_has_links_to_them() -> None:
    """It is the child of one of them and has links to the others; one that nobody knows has none."""
    provider, exporter = kept_spans()
    traces = Traces(provider)
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
    first, *others = (span.context.span_id for span in named(exporter, "decision"))
    (seen,) = named(exporter, "cascade.wave")
    assert parent(seen) == first
    assert [link.context.span_id for link in seen.links] == others
    assert times(seen) == (10**9, 10**9 + 10**6)


@run
async def test_every_request_of_many_has_its_batches() -> None:
    """Each of ten requests at once is the parent of a batch, or linked to one, and no batch is a stranger's."""
    provider, exporter = kept_spans()
    traces = Traces(provider)
    service = Service(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.1), ADAPTERS), observers=(traces,))
    with service.engine as engine:
        await asyncio.gather(*(engine.aclassify(f"task {at}", plain_items(2)) for at in range(10)))
    ids = {span.context.span_id for span in named(exporter, "decision")}
    batches = named(exporter, "cascade.wave")
    served = [{parent(batch), *(link.context.span_id for link in batch.links)} for batch in batches]
    assert len(ids) == 10
    assert set.union(*served) == ids


def test_what_fails_is_an_error_in_its_spans() -> None:
    """Both the batch and the request."""
    provider, exporter = kept_spans()
    traces = Traces(provider)
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS, fail_at=0)
    with Service(backend, observers=(traces,)).engine as engine, pytest.raises(BackendError):
        engine.classify("t", plain_items(2))
    statuses = {span.name: span.status.status_code for span in exporter.get_finished_spans()}
    assert statuses == {"decision precision": StatusCode.ERROR, "cascade.wave": StatusCode.ERROR}


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
    provider, exporter = kept_spans()
    traces = Traces(provider)
    with Service(observers=(_Failing(), traces)).engine as engine:
        assert len(engine.classify("t", plain_items(3)).decisions) == 3
    assert len(named(exporter, "decision")) == 1
    assert "an observer failed" in caplog.text
