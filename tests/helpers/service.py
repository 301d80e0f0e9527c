"""A service that tests ask: on a real socket of this machine, or in this process alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

import httpx
from fastapi.telemetry import TelemetryConfig

from cascade import DecisionLog, Engine, Item, ScriptedBackend, Task
from cascade.backends.base import Batch, Scores, Stop
from cascade.backends.scripted import Script
from cascade.engine.admission import Rules
from cascade.engine.observer import Observer
from cascade.engine.settings import EngineSettings
from cascade.service.app import make_app
from cascade.service.metrics import Metrics
from cascade.service.server import Server, listen, url_of
from cascade.service.settings import ServiceSettings
from tests.helpers.shipped import ADAPTERS, CASCADES

DEFAULT = ServiceSettings()
PATIENCE_S = 30.0


class Waiting(ScriptedBackend):
    """A backend that scores only once it is let, or told to stop."""

    def __init__(self, script: Script | Mapping[str, float]) -> None:
        super().__init__(script=script, adapters=ADAPTERS)
        self.gate, self.reached = threading.Event(), threading.Event()

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        self.reached.set()
        await asyncio.to_thread(self._wait, stop)
        return await super().score(batch, stop)

    def _wait(self, stop: Stop) -> None:
        while not (self.gate.wait(0.005) or stop.is_asked):
            pass


class Service:
    """An engine with its service.

    Attributes:
        engine: The engine.
        metrics: What it tells of itself.
        app: The service.
    """

    def __init__(
        self,
        backend: ScriptedBackend | None = None,
        settings: ServiceSettings = DEFAULT,
        rules: Rules | None = None,
        observers: Sequence[Observer] = (),
        telemetry: TelemetryConfig | None = None,
        log: DecisionLog | None = None,
    ) -> None:
        self.metrics = Metrics()
        watchers = (self.metrics, *observers)
        if backend is None:
            backend = ScriptedBackend(dict.fromkeys({*ADAPTERS, "base"}, 0.99), ADAPTERS)
        own = EngineSettings(rules=rules or Rules(), observers=watchers, log=log)
        self.engine = Engine(backend, CASCADES, settings=own)
        self.app = make_app(self.engine, self.metrics, settings, telemetry)

    def client(self, **fields: Any) -> httpx.AsyncClient:
        """A client within this process; errors of the service become answers."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S, **fields)


@contextmanager
def serving(engine: Engine, metrics: Metrics, settings: ServiceSettings = DEFAULT, grace_s: float = 5) -> Iterator[str]:
    """A service on a socket while it lasts; yields its URL."""
    listening = listen("127.0.0.1", 0)
    server = Server(make_app(engine, metrics, settings), engine, grace_s)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()


def body_of(task: Task, items: Sequence[Item], **more: object) -> dict[str, Any]:
    """A request to a cascade as JSON."""
    return {"task": task.text, "seeds": list(task.seeds), "items": [asdict(item) for item in items], **more}


def assert_fault(answer: httpx.Response, place: Sequence[str | int], *words: str) -> None:
    """An answer of System One says that something in the body is wrong: where, and in a sentence with the words."""
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json"), answer.text
    told = answer.json()["detail"][0]
    assert told.keys() == {"loc", "msg", "type"}
    assert told["loc"] == ["body", *place]
    assert all(word in told["msg"] for word in words), told["msg"]


def assert_failure(answer: httpx.Response, status: int, kind: str, *words: str) -> None:
    """An answer of System One says why nothing was answered, in a sentence with the words."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/json"), answer.text
    told = answer.json()["detail"]
    assert told.keys() == {"error_type", "message"}
    assert told["error_type"] == kind
    assert all(word in told["message"] for word in words), told["message"]


def assert_problem(answer: httpx.Response, status: int, field: str | None, *words: str) -> None:
    """An answer is a problem with this status and field at fault, and its sentence has the words."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert told.keys() == {"type", "title", "status", "detail", "field"}
    assert (told["type"], told["title"], told["status"]) == ("about:blank", HTTPStatus(status).phrase, status)
    assert told["field"] == field
    assert all(word in told["detail"] for word in words), told["detail"]
