"""What Prometheus is told: calls, decisions, batches, swaps, tokens and latencies, in a registry of its own."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request
from cascade.machine import get_logger

log = get_logger("cascade.service")

_METHODS = frozenset({"GET", "HEAD", "POST"})  # a caller may make up any other
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CALLS = (0.5, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0)
_QUERIES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """An observer that counts.

    Attributes:
        registry: What is exposed.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self._open = Gauge("cascade_queue_requests", "Requests to the engine that are open.", registry=registry)
        self._ended = Counter(
            "cascade_engine_requests",
            "Requests to the engine by how they ended.",
            ["cascade", "end"],
            registry=registry,
        )
        self._seconds = Histogram(
            "cascade_engine_request_seconds", "Time from a request to its last decision.", ["cascade"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._calls = Histogram(
            "cascade_calls_per_item", "Questions over items of a request.", ["cascade"],
            buckets=_CALLS, registry=registry,
        )  # fmt: skip
        self._decisions = Counter("cascade_decisions", "Decisions.", ["cascade", "label", "status"], registry=registry)
        self._batches = Histogram(
            "cascade_wave_seconds", "Time of a wave.", ["adapter", "model"], buckets=_SECONDS, registry=registry
        )
        self._queries = Histogram(
            "cascade_wave_queries", "Questions of a wave.", ["adapter", "model"], buckets=_QUERIES, registry=registry
        )
        self._failed = Counter(
            "cascade_waves_failed", "Waves whose scoring failed.", ["adapter", "model"], registry=registry
        )
        self._swaps = Counter("cascade_adapter_swaps", "Changes of the active adapter set.", registry=registry)
        self._decoded = Counter("cascade_tokens_decoded", "Tokens that the model computed.", registry=registry)
        self._reused = Counter("cascade_tokens_reused", "Tokens of prompts that were there already.", registry=registry)
        self._http = Histogram(
            "cascade_http_seconds", "Time of a call by endpoint and status.", ["method", "path", "status"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip

    def began(self, request: Request) -> None:  # noqa: ARG002 - the protocol's
        """See ``Observer.began``."""
        self._open.inc()

    def scored(self, seen: SeenBatch) -> None:
        """See ``Observer.scored``."""
        asked = seen.adapter, seen.model
        if seen.cost is None:
            self._failed.labels(*asked).inc()
            return
        self._batches.labels(*asked).observe(seen.elapsed_ms / 1_000)
        self._queries.labels(*asked).observe(len(seen.batch.queries))
        self._swaps.inc(seen.cost.adapter_swaps)
        self._decoded.inc(seen.cost.tokens_decoded)
        self._reused.inc(seen.cost.tokens_reused)

    def ended(self, request: Request) -> None:
        """See ``Observer.ended``."""
        self._open.dec()
        name = request.cascade.name
        if request.done.cancelled():
            self._ended.labels(name, "cancelled").inc()
            return
        if request.done.exception() is not None:
            self._ended.labels(name, "failed").inc()
            return
        self._ended.labels(name, "done").inc()
        self._seconds.labels(name).observe(request.stats.elapsed_ms / 1_000)
        if request.items:
            self._calls.labels(name).observe(request.stats.calls_per_item)
        for state in request.items:
            if state.label:  # items of ``Engine.score`` have none
                self._decisions.labels(name, state.label, state.status).inc()

    def answered(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a call.

        Args:
            method: Its method.
            path: The path of its endpoint, names in braces; empty if there is none.
            status: The HTTP status; 0 if its caller left before there was one.
            seconds: How long it took.
        """
        self._http.labels(method, path or "none", str(status or "none")).observe(seconds)

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class Meter:
    """A middleware that counts and logs every call.

    Args:
        app: What stands behind it.
        metrics: Where it is counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            seconds = time.perf_counter() - started
            path = getattr(scope.get("route"), "path", "")
            method = scope["method"] if path and scope["method"] in _METHODS else "other"
            self._metrics.answered(method, path, status, seconds)
            log.info("call", method=method, path=path, status=status, ms=round(1_000 * seconds, 1))
