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

from cascade.errors import InputError
from cascade.service.settings import ServiceSettings
from tests.fuzz.damage import damaged_bytes, damaged_tree
from tests.fuzz.target import Files, Target
from tests.service import Service

_ITEM: dict[str, Any] = {
    "id": "1",
    "kind": "method",
    "name": "Parser.parse",
    "signature": "def parse(self)",
    "doc": "Parse.",
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


class _Caller:
    """A service in this process, and an event loop to ask it in."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = Service(settings=ServiceSettings(max_items=50, max_text=2_000, max_body=100_000)).client()

    def ask(self, method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> httpx.Response:
        """The answer to a request."""
        raw = [(name.encode(), value.encode()) for name, value in headers]
        request = httpx.Request(method, f"http://service{path}", headers=raw, content=body)
        return self.loop.run_until_complete(self.client.send(request))


@cache
def _caller() -> _Caller:
    return _Caller()


def take_request(folder: Path) -> bool:
    """Send a request; an answer that refuses it counts as an error with its detail as the message."""
    where = json.loads((folder / "request.json").read_text())
    headers = [(name, value) for name, value in where["headers"]]
    answer = _caller().ask(where["method"], where["path"], headers, (folder / "body").read_bytes())
    assert answer.status_code < 500, answer.text
    if answer.status_code < 400:
        for line in answer.text.splitlines() if "ndjson" in answer.headers["content-type"] else ():
            assert "error" not in json.loads(line), line
        return True
    if where["method"] != "HEAD":
        problem = json.loads(answer.text)
        msg = f"body: {problem['detail']}"
        raise InputError(msg)
    return False


TARGETS = (Target(name="bodies", share=10, files=_requests(), take=take_request),)
