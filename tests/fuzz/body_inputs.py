"""HTTP requests to the service, answered by the real app in this process."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade import Engine
from cascade.errors import InputError
from cascade.service.app import make_app
from cascade.service.metrics import Metrics
from cascade.service.settings import ServiceSettings
from tests.fuzz.damage import damaged_bytes, damaged_tree
from tests.fuzz.target import Files, Target
from tests.helpers.service import Service
from tests.helpers.shipped import questions_alone

_ITEM: dict[str, Any] = {
    "id": "1",
    "kind": "method",
    "name": "Parser.parse",
    "signature": "def parse(self)",
    "doc": "Parse.",
    "text": "def parse(text): ...",
    "evidence": ["imports the seed"],
    "group": {"name": "src/parser.py", "evidence": ["near"]},
    "tiers": ["dependency"],
    "priority": 1.0,
    "prior": 0.5,
}
_CALL: dict[str, Any] = {
    "task": "fix the parser",
    "seeds": ["src/parser.py"],
    "items": [_ITEM, {"id": "2", "name": "Cache", "tiers": ["co_change"]}],
    "budget_ms": 5_000.0,
    "depth": 2,
}
_QUESTIONS: dict[str, Any] = {
    "a": {"type": "noul", "instructions": "relevant"},
    "b": {"type": "noul", "instructions": "must it be changed?"},
    "c": {
        "type": "choice",
        "instructions": "which?",
        "criteria": dict.fromkeys(["excluded", "primary", "supporting", "type_context"]),
    },
}
_STATES: tuple[Any, ...] = (
    {"task": "fix it", "seeds": ["a.py"], "item": _ITEM},
    {"task": "fix it", "candidate": "function parse | near", "file": "a.py"},
    {"anything": [1, None]},
    "a text",
)
_MODELS: tuple[Any, ...] = ("precision", "scope", "relevant", "base", None)
_PATHS = (
    "/v1/cascades/precision",
    "/v1/cascades/scope",
    "/v1/cascades/none",
    "/v1/cascades",
    "/v1/models",
    "/health",
    "/metrics",
    "/openapi.json",
    "/v1/cascades/%00",
    "/",
    "//x",
)
_METHODS = ("POST", "POST", "POST", "POST", "GET", "PUT", "OPTIONS", "DELETE", "HEAD")
_HEADERS: tuple[tuple[str, str], ...] = (
    ("accept", "application/x-ndjson"),
    ("accept", "*/*"),
    ("content-type", "application/json"),
    ("content-type", "application/json; charset=utf-16"),
    ("content-type", "text/plain"),
    ("content-type", "multipart/form-data; boundary=x"),
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", ""),
    ("content-length", "99999999999999999999999"),
    ("content-length", "-1"),
    ("transfer-encoding", "chunked"),
    ("content-encoding", "gzip"),
    ("expect", "100-continue"),
    ("authorization", "Bearer x"),
    ("host", "\u00e9"),
    ("x", "y" * 5_000),
)


@st.composite
def _requests(draw: DrawFn) -> Files:
    """A request: where it goes, as JSON, and its body."""
    is_typed = draw(st.booleans())
    if is_typed:
        tree: Any = {
            "state": draw(st.sampled_from(_STATES)),
            "questions": _QUESTIONS,
            "model": draw(st.sampled_from(_MODELS)),
        }
        for name in draw(st.sampled_from([(), ("c",), ("b", "c"), ("a",)])):
            tree["questions"] = {key: row for key, row in tree["questions"].items() if key != name}
        path = "/v1/systemone"
    else:
        tree, path = _CALL, _PATHS[0] if draw(st.booleans()) else draw(st.sampled_from(_PATHS))
    body = json.dumps(draw(damaged_tree(tree)), default=str).encode()
    if draw(st.integers(0, 5)) == 0:
        body = draw(damaged_bytes(body))
    method = "POST" if draw(st.booleans()) else draw(st.sampled_from(_METHODS))
    headers = [_HEADERS[0]] if draw(st.integers(0, 3)) == 0 else []
    headers += draw(st.lists(st.sampled_from(_HEADERS), max_size=2)) if draw(st.integers(0, 3)) == 0 else [_HEADERS[2]]
    where = {"method": method, "path": path, "headers": headers}
    return {"request.json": json.dumps(where).encode(), "body": body}


_SETTINGS = ServiceSettings(max_items=50, max_text=2_000, max_body=100_000)


class _Caller:
    """An event loop that asks a service in this process."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._loop, self._client = asyncio.new_event_loop(), client

    def ask(self, folder: Path) -> bool:
        """Send a request; whether it is answered. A refusal is raised with its detail as the message."""
        where = json.loads((folder / "request.json").read_text())
        headers = [(name.encode(), value.encode()) for name, value in where["headers"]]
        url, body = f"http://service{where['path']}", (folder / "body").read_bytes()
        request = httpx.Request(where["method"], url, headers=headers, content=body)
        answer = self._loop.run_until_complete(self._client.send(request))
        assert answer.status_code < 500, answer.text
        if answer.status_code < 400:
            for line in answer.text.splitlines() if "ndjson" in answer.headers["content-type"] else ():
                assert "error" not in json.loads(line), line
            return True
        if where["method"] != "HEAD":
            msg = f"body: {json.loads(answer.text)['detail']}"
            raise InputError(msg)
        return False


@cache
def _scripted() -> _Caller:
    return _Caller(Service(settings=_SETTINGS).client())


@cache
def _shipped() -> _Caller:
    """The service of the shipped model, whose cascades have their questions alone."""
    metrics = Metrics()
    app = make_app(Engine.open(questions_alone(), [metrics]), metrics, _SETTINGS)
    return _Caller(httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), timeout=60))


def take_scripted(folder: Path) -> bool:
    """Send a request to a service that answers from a script."""
    return _scripted().ask(folder)


def take_shipped(folder: Path) -> bool:
    """Send a request to the service of the shipped model."""
    return _shipped().ask(folder)


TARGETS = (
    Target(name="bodies", share=10, files=_requests(), take=take_scripted),
    Target(name="replies", share=1, files=_requests(), take=take_shipped),
)
