"""Where the spans of the service go. Needs the extra ``telemetry``; nothing imports this without it.

The span of an HTTP call is FastAPI's own; a request to the engine is its child, see ``cascade.engine.traces``.
"""

from __future__ import annotations

import os

from fastapi.telemetry import TelemetryConfig
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import TracerProvider as AnyProvider


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

    name = os.environ.get(OTEL_SERVICE_NAME, "cascade")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
