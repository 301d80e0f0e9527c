"""``Traces``: an observer that makes OpenTelemetry spans of requests, batches and swaps. Needs the extra ``telemetry``.

A request is a child of the span that is current where it is made, such as that of an HTTP call. A batch may serve
several requests: it is the child of the first and has links to the others.
"""

from __future__ import annotations

from collections.abc import Iterable

from openinference.semconv.trace import SpanAttributes
from opentelemetry.context import get_value
from opentelemetry.trace import (
    Link,
    Span,
    Status,
    StatusCode,
    TracerProvider,
    get_current_span,
    get_tracer_provider,
    set_span_in_context,
)

from cascade.arguments import one_of
from cascade.engine.decision_span import CHAIN, KIND, OPERATION, Attributes, answered, begun, spent, without_genai
from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request

_NS = 1_000_000_000

_CONTEXT = (
    SpanAttributes.SESSION_ID,
    SpanAttributes.USER_ID,
    SpanAttributes.METADATA,
    SpanAttributes.TAG_TAGS,
)
"""What OpenInference's ``using_session`` and its like put into the context for all spans below."""


class Traces:
    """Makes spans: one for each request, with its waves and swaps below.

    Args:
        provider: Where they go; None for OpenTelemetry's global provider.
        texts: Whether they have the texts of tasks, items, questions of callers and answers.
        genai: Whether they have GenAI's names as well. Arize Phoenix derives ``llm.*`` from these, and so counts the
            tokens of decisions as those of language models.

    Examples:
        >>> from opentelemetry.sdk.trace import TracerProvider
        >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        >>> from cascade import Engine, Item, Traces
        >>> spans, provider = InMemorySpanExporter(), TracerProvider()
        >>> provider.add_span_processor(SimpleSpanProcessor(spans))
        >>> with Engine.open(observers=[Traces(provider)]) as engine:
        ...     report = engine.classify("fix the parser", [Item(id="1", name="parse")])
        >>> [span.name for span in spans.get_finished_spans()][-1]
        'decision precision'
    """

    def __init__(self, provider: TracerProvider | None = None, *, texts: bool = False, genai: bool = True) -> None:
        allowed = "a TracerProvider of OpenTelemetry is needed, or None for the global one"
        one_of("provider", provider, (TracerProvider, type(None)), allowed)
        self._texts = one_of("texts", texts, bool, "True or False is needed")
        self._genai = one_of("genai", genai, bool, "True or False is needed")
        self._tracer = (provider or get_tracer_provider()).get_tracer("cascade")
        self._spans: dict[Request, Span] = {}

    def began(self, request: Request) -> None:
        """See ``Observer.began``."""
        attributes = self._named(begun(request, _path_of_call(), texts=self._texts))
        for name in _CONTEXT:
            value = get_value(name)
            if isinstance(value, str | list | tuple):
                attributes[name] = value
        self._spans[request] = self._tracer.start_span(f"{OPERATION} {request.cascade.name}", attributes=attributes)

    def scored(self, seen: SeenBatch) -> None:
        """See ``Observer.scored``."""
        spans = [span for request in seen.requests if (span := self._spans.get(request)) is not None]
        began = round(seen.began * _NS)
        batch = self._tracer.start_span(
            "cascade.wave",
            context=set_span_in_context(spans[0]) if spans else None,
            links=_links(spans[1:]),
            start_time=began,
            attributes={KIND: CHAIN, "cascade.adapter": seen.adapter, "cascade.queries": len(seen.batch.queries)},
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
                    attributes={KIND: CHAIN, "cascade.adapter": swap.adapter},
                )
                span.end(start + round(swap.ms * _NS / 1_000))
        batch.end(began + round(seen.elapsed_ms * _NS / 1_000))

    def ended(self, request: Request) -> None:
        """See ``Observer.ended``."""
        span = self._spans.pop(request, None)
        if span is None:
            return
        span.set_attributes(self._named(spent(request)))
        if request.done.cancelled():
            span.set_attribute("cascade.cancelled", True)
        elif (error := request.done.exception()) is not None:
            name = type(error).__name__
            span.set_attribute("error.type", name)
            span.set_status(Status(StatusCode.ERROR, str(error) if self._texts else name))
        else:
            span.set_attributes(answered(request, request.done.result(), texts=self._texts))
        span.end()

    def _named(self, attributes: Attributes) -> Attributes:
        return attributes if self._genai else without_genai(attributes)


def _path_of_call() -> str:
    """The path of the HTTP call whose span is current; empty without one."""
    attributes = getattr(get_current_span(), "attributes", None) or {}
    return str(attributes.get("url.path", ""))


def _links(spans: Iterable[Span]) -> list[Link]:
    return [Link(span.get_span_context()) for span in spans]
