"""OpenTelemetry spans of requests, batches and swaps. Needs the extra ``telemetry``; nothing imports this without it.

The span of the HTTP call itself is FastAPI's own; a request to the engine is its child. A batch may serve
several requests: it is the child of the first and has links to the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastapi.telemetry import TelemetryConfig
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, Status, StatusCode, set_span_in_context
from opentelemetry.trace import TracerProvider as AnyProvider

from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request

_NS = 1_000_000_000


class Traces:
    """An observer that makes spans.

    Args:
        provider: Where they go.
    """

    def __init__(self, provider: AnyProvider) -> None:
        self._tracer = provider.get_tracer("cascade")
        self._spans: dict[Request, Span] = {}

    def began(self, request: Request) -> None:
        """See ``Observer.began``."""
        span = self._tracer.start_span("cascade.request")
        span.set_attribute("cascade.name", request.cascade.name)
        span.set_attribute("cascade.items", len(request.items))
        self._spans[request] = span

    def scored(self, seen: SeenBatch) -> None:
        """See ``Observer.scored``."""
        spans = [span for request in seen.requests if (span := self._spans.get(request)) is not None]
        began = round(seen.began * _NS)
        batch = self._tracer.start_span(
            "cascade.wave",
            context=set_span_in_context(spans[0]) if spans else None,
            links=_links(spans[1:]),
            start_time=began,
            attributes={
                "cascade.adapter": seen.adapter,
                "cascade.queries": len(seen.batch.queries),
            },
        )
        if seen.model:
            batch.set_attribute("cascade.model", seen.model)
        if seen.cost is None:
            batch.set_status(Status(StatusCode.ERROR))
        else:
            batch.set_attribute("cascade.tokens_decoded", seen.cost.tokens_decoded)
            batch.set_attribute("cascade.tokens_reused", seen.cost.tokens_reused)
            batch.set_attribute("cascade.decode_calls", seen.cost.decode_calls)
            for swap in seen.cost.swaps:
                start = began + round(swap.at_ms * _NS / 1_000)
                span = self._tracer.start_span(
                    "cascade.swap",
                    context=set_span_in_context(batch),
                    start_time=start,
                    attributes={"cascade.adapter": swap.adapter},
                )
                span.end(start + round(swap.ms * _NS / 1_000))
        batch.end(began + round(seen.elapsed_ms * _NS / 1_000))

    def ended(self, request: Request) -> None:
        """See ``Observer.ended``."""
        span = self._spans.pop(request, None)
        if span is None:
            return
        if request.done.cancelled():
            span.set_attribute("cascade.cancelled", True)
        elif (error := request.done.exception()) is not None:
            span.set_status(Status(StatusCode.ERROR, str(error)))
        else:
            span.set_attribute("cascade.calls", request.stats.calls)
        span.end()


def spans_of_calls(provider: AnyProvider) -> TelemetryConfig:
    """What lets FastAPI make a span of every call, and nothing else."""
    return {
        "tracer_provider": provider,
        "tracing": True,
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
    }


def otlp_provider() -> TracerProvider:
    """A provider that sends spans by OTLP over HTTP, as the standard ``OTEL_`` variables say; shut it down at last."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as the module

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "cascade"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _links(spans: Iterable[Span]) -> list[Link]:
    return [Link(span.get_span_context()) for span in spans]
