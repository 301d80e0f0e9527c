"""Spans that tests look at: kept in memory, or sent to a collector on this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from gzip import decompress
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.helpers.http import serving


def kept_spans() -> tuple[TracerProvider, InMemorySpanExporter]:
    """A provider, and what keeps its spans once they have ended."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans whose names begin so."""
    return [span for span in exporter.get_finished_spans() if span.name.startswith(name)]


def attributes_of(span: ReadableSpan) -> Mapping[str, Any]:
    """What a span says."""
    return span.attributes or {}


def parent(span: ReadableSpan) -> int:
    """The id of the span above."""
    assert span.parent is not None
    return span.parent.span_id


def times(span: ReadableSpan) -> tuple[int, int]:
    """When it began and ended, in nanoseconds since the epoch."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


@contextmanager
def collector() -> Iterator[tuple[str, list[ResourceSpans]]]:
    """A collector of OTLP over HTTP while it lasts; yields its address, and what it was sent."""
    sent: list[ResourceSpans] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = decompress(body) if self.headers["Content-Encoding"] == "gzip" else body
            sent.extend(ExportTraceServiceRequest.FromString(body).resource_spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        yield address, sent


def spans_of(sent: Iterable[ResourceSpans]) -> list[SentSpan]:
    """The spans of what a collector was sent."""
    return [span for each in sent for scope in each.scope_spans for span in scope.spans]
