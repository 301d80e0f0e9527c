"""What ``cascade serve`` refuses, and what it does under load, with a scripted backend."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from cascade import ScriptedBackend
from cascade.backends.base import Batch, Scores, Stop
from cascade.engine.admission import Rules
from cascade.errors import BackendError
from cascade.service.settings import ServiceSettings
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items, symbols
from tests.helpers.service import (
    PATIENCE_S,
    Service,
    Waiting,
    assert_failure,
    assert_fault,
    assert_problem,
    body_of,
    serving,
)
from tests.helpers.shipped import ADAPTERS

PRECISION = "/v1/cascades/precision"
ITEM = {"id": "1", "name": "a"}
TOKEN = "open-sesame"  # noqa: S105 - a test's


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"items": []}, "task", ["missing"]),
        ({"task": "", "items": []}, "task", ["must have at least 1 character"]),
        ({"task": "t", "items": [ITEM | {"group": []}]}, "items.0.group", ["must be an object (given an array)"]),
        ({"task": "t", "items": [ITEM | {"prior": True}]}, "items.0.prior", ["must be a number (given true)"]),
        ({"task": " \n", "items": []}, "task", ["blank"]),
        ({"tasks": "t", "items": []}, "task", ["missing", "Unknown beside it: tasks."]),
        ({"task": "t", "items": [{"id": "1", "nam": "a"}]}, "items.0.name", ["Unknown beside it: items.0.nam."]),
        ({"task": "t", "items": [ITEM], "budget": 1}, "budget", ["unknown. Did you mean 'budget_ms'? Remove it"]),
        ({"task": "t"}, "items", ["missing"]),
        ({"task": "t", "items": {}}, "items", ["array", "object"]),
        ({"task": "t", "items": [], "deadline": 1}, "deadline", ["unknown", "task, seeds, items, budget_ms, depth"]),
        ({"task": "t", "items": [{"id": "1"}]}, "items.0.name", ["missing"]),
        ({"task": "t", "items": [ITEM, {"id": "", "name": "a"}]}, "items.1.id", ["at least 1"]),
        ({"task": "t", "items": [ITEM, {"id": 7, "name": "a"}]}, "items.1.id", ["string", "7"]),
        ({"task": "t", "items": [ITEM, ITEM]}, "items.1.id", ["items.0", "unique"]),
        ({"task": "t", "items": [ITEM | {"colour": "red"}]}, "items.0.colour", ["unknown", "id, kind, name"]),
        ({"task": "t", "items": [ITEM | {"priority": float("nan")}]}, "items.0.priority", ["NaN", "finite"]),
        ({"task": "t", "items": [ITEM | {"priority": float("inf")}]}, "items.0.priority", ["Infinity", "finite"]),
        ({"task": "t", "items": [ITEM | {"priority": 10**400}]}, "items.0.priority", ["401 digits", "309"]),
        ({"task": "t", "items": [ITEM | {"prior": 1.5}]}, "items.0.prior", ["1.5", "less than or equal to 1"]),
        ({"task": "t", "items": [ITEM | {"tiers": ["a", "a"]}]}, "items.0.tiers", ["twice"]),
        ({"task": "t", "items": [ITEM | {"doc": "x" * 101}]}, "items.0.doc", ["101", "100"]),
        ({"task": "t", "items": [ITEM | {"evidence": ["x" * 60, "y" * 60]}]}, "items.0.evidence", ["121", "100"]),
        ({"task": "t", "items": [ITEM | {"group": {"name": "x" * 101}}]}, "items.0.group", ["101"]),
        ({"task": "t" * 301, "items": []}, "task", ["301", "300"]),
        ({"task": "t" * 300, "items": [ITEM | {"text": "x" * 301}]}, "items.0.text", ["301", "300"]),
        ({"task": "t", "seeds": ["s", "x" * 101], "items": []}, "seeds", ["104", "100"]),
        ({"task": "t", "seeds": ["s"] * 40, "items": []}, "seeds", ["118", "100"]),
        (
            {"task": "t", "items": [{"id": "1", "name": "n", "tiers": list(map(str, range(50)))}]},
            "items.0.tiers",
            ["139"],
        ),
        ({"task": "t", "items": [{"id": str(at), "name": "a"} for at in range(9)]}, "items", ["9", "8"]),
        ({"task": "t", "items": [], "budget_ms": 0}, "budget_ms", ["greater than 0"]),
        ({"task": "t", "items": [], "budget_ms": float("nan")}, "budget_ms", ["finite"]),
        ({"task": "t", "items": [], "budget_ms": 1e300}, "budget_ms", ["86400000"]),
        ({"task": "t", "items": [], "depth": 0}, "depth", ["greater than or equal to 1"]),
        ({"task": "t", "items": [], "depth": 1.5}, "depth", ["integer"]),
        ({"task": "t", "items": [], "depth": "3"}, "depth", ["number", '"3"']),
        ({"task": "t", "items": [], "depth": True}, "depth", ["number", "true"]),
        ({"task": "t", "items": [], "budget_ms": "5"}, "budget_ms", ["number", '"5"']),
    ],
)
@run
async def test_a_body_that_cannot_be_used_names_the_field(body: dict[str, Any], field: str, words: list[str]) -> None:
    """422, with the field at fault; no batch was scored."""
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS)
    service = Service(backend, ServiceSettings(max_items=8, max_text=100, max_long_text=300))
    with service.engine:
        async with service.client(headers={"Content-Type": "application/json"}) as client:
            assert_problem(await client.post(PRECISION, content=json.dumps(body)), 422, field, *words)
    assert not backend.batches


@pytest.mark.parametrize(
    ("content", "status", "field", "words"),
    [
        (b"", 422, None, ["empty"]),
        (b"{", 400, None, ["line 1, column 2", "its end"]),
        (b'{"task": "t",\n "items": [}', 400, None, ["line 2, column 12", '"}"']),
        (b"[]", 422, None, ["object", "given an array"]),
        (b"null", 422, None, ["object", "given null"]),
        (b"\xff\xfe", 400, None, ["UTF-8", "0xff", "offset 0"]),
        (b'{"task": "caf\xe9"}', 400, None, ["UTF-8", "0xe9", "offset 13"]),
        (b'{"task": "\\ud800", "items": []}', 422, "task", ["surrogate"]),
        (b'{"task": "t", "items": [], "\\ud800": 1}', 422, None, ["key", "surrogate"]),
        (b'{"task": "t", "items": [], "depth": ' + b"9" * 5_000 + b"}", 422, "depth", ["5000 digits", "309"]),
        (b'{"task": "t", "items": [], "depth": -' + b"9" * 5_000 + b"}", 422, "depth", ["5000 digits"]),
        (b'{"task": "t", "items": [], "budget_ms": ' + b"9" * 5_000 + b".5}", 422, "budget_ms", ["Infinity", "finite"]),
        (b'{"task": "t", "items": [], "budget_ms": -Infinity}', 422, "budget_ms", ["-Infinity", "finite"]),
        (b'{"task": "t", "items": [], "budget_ms": ' + b"9" * 309 + b"}", 422, "budget_ms", ["number", "given 9999"]),
        (b'{"task": "t", "task": "u", "items": []}', 422, "task", ["twice"]),
        (b'{"task": "t", "items": [{"id": "1", "name": "a", "id": "2"}]}', 422, "items.0.id", ["twice"]),
        (b'{"task": "t", "items": ' + b"[" * 100 + b"]" * 100 + b"}", 422, "items", ["nested", "64"]),
        (b'{"task": "t", "items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 422, None, ["nested", "64"]),
        (b'{"task": "t", "items": ' + b'[{"a": ' * 100_000, 422, None, ["nested", "64"]),
    ],
)
@run
async def test_bytes_that_are_no_request_are_refused(
    content: bytes, status: int, field: str | None, words: list[str]
) -> None:
    """Whatever is sent, the answer is a 4xx that says what is wrong and where, and never a failure of the service."""
    service = Service()
    with service.engine:
        async with service.client(headers={"Content-Type": "application/json"}) as client:
            assert_problem(await client.post(PRECISION, content=content), status, field, *words)
            answer = await client.post("/v1/systemone", content=content)
            assert (answer.status_code, answer.json()["detail"][0]["loc"][0]) == (422, "body")
            answer = await client.post("/v1/decisions", content=content)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({}, ["Content-Type is missing", "application/json"]),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            ["'application/x-www-form-urlencoded'", "application/json"],
        ),
        ({"Content-Type": "json"}, ["'json'", "application/json"]),
        ({"Content-Type": "application/json; charset=utf-16"}, ["'utf-16'", "UTF-8"]),
        ({"Content-Type": "application/json", "Content-Encoding": "br"}, ["'br'", "zstd, gzip"]),
    ],
)
@run
async def test_what_is_sent_as_something_else_is_refused(headers: dict[str, str], words: list[str]) -> None:
    """415 names the header that was given and the one that is needed."""
    service = Service()
    with service.engine:
        async with service.client(headers=headers) as client:
            content = b'{"task": "t", "items": []}'
            assert_problem(await client.post(PRECISION, content=content), 415, None, *words)
            answer = await client.post("/v1/systemone", content=content)
            assert_failure(answer, 415, "invalid_request_error", *words)


@run
async def test_bodies_of_any_honest_form_are_read() -> None:
    """A byte order mark, a charset of UTF-8 and other names of JSON make no difference."""
    service = Service()
    body = json.dumps({"task": "t", "items": [ITEM]}).encode()
    with service.engine:
        async with service.client() as client:
            for kind in ("application/json; charset=UTF-8", "application/vnd.api+json", "APPLICATION/JSON"):
                answer = await client.post(PRECISION, content=b"\xef\xbb\xbf" + body, headers={"Content-Type": kind})
                assert answer.status_code == 200


@run
async def test_what_stands_in_the_query_is_not_dropped_unread() -> None:
    """A budget behind a question mark is refused, since nothing is read there."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            answer = await client.post(f"{PRECISION}?budget_ms=5", json={"task": "t", "items": []})
    assert_problem(answer, 422, None, "'budget_ms'", "body")


@run
async def test_texts_with_controls_and_special_tokens_reach_the_engine_as_plain_text() -> None:
    """NUL, line breaks and the format's own tokens in an item are text, and the ids come back as they were."""
    service = Service()
    names = ["\x00", "a\nb", "<|ask|>relevant", "\u202e\ufeff", "é" * 50, "\U0001d518"]
    items = [{"id": name, "name": name} for name in names]
    with service.engine:
        async with service.client() as client:
            answer = await client.post(PRECISION, json={"task": "<|task|>\x00", "items": items})
    assert [decision["id"] for decision in answer.json()["decisions"]] == names


@run
async def test_systemone_states_of_any_form_are_answered() -> None:
    """A text, any JSON, and what only looks like a full state; a full state with a fault is refused by its field."""
    service = Service()
    questions = {"q": {"type": "noul", "instructions": "Is it?"}}
    full: dict[str, object] = {"task": "t", "item": {"id": "1", "name": "n"}}
    states = ["", "text\x00", [1, None], {"item": "shoe", "task": "sell"}, {"a": {"b": []}}, full]
    with service.engine:
        async with service.client() as client:
            for state in states:
                call = {"state": state, "questions": questions, "model": "base"}
                answer = await client.post("/v1/systemone", json=call)
                assert answer.json()["answers"]["q"]["noul"] == pytest.approx(0.99)
            faults: list[tuple[dict[str, object], str]] = [
                ({"item": {"id": "1"}}, "state.item.name"),
                ({"seeds": "s"}, "state.seeds"),
                ({"extra": 1}, "state.extra"),
            ]
            for fault, field in faults:
                call = {"state": full | fault, "questions": questions}
                assert_fault(await client.post("/v1/systemone", json=call), field.split("."))
            answer = await client.post("/v1/systemone", json={"state": 7, "questions": questions})
            assert_fault(answer, ["state"], "string", "object", "array", "given 7")


@run
async def test_unknown_paths_methods_and_cascades() -> None:
    """404 and 405, with what there is; a slash at the end is said to be one too many."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            for path in ("/v2", "/v2/", "/", "//"):
                assert_problem(await client.get(f"http://service{path}"), 404, None, f"'{path}'", "openapi.json")
            assert_problem(await client.get("/v1/models/"), 404, None, "'/v1/models/'", "slash", ": /v1/models")
            assert_problem(await client.post(f"{PRECISION}/", json={}), 404, None, "slash", f": {PRECISION}")
            answer = await client.post("/v1/cascades/precisoin", json={"task": "t", "items": []})
            assert_problem(answer, 404, "name", "precisoin", "scope")
            for method, path, allowed in (
                ("POST", "/health", "GET, HEAD"),
                ("POST", "/openapi.json", "GET, HEAD"),
                ("DELETE", PRECISION, "POST"),
                ("QUERY", "/metrics", "GET, HEAD"),
            ):
                answer = await client.request(method, path)
                assert_problem(answer, 405, None, method, path, allowed)
                assert answer.headers["allow"] == allowed
            answer = await client.get("/v1/systemone")
            assert_failure(answer, 405, "invalid_request_error", "GET", "POST")
            assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/v1/models", "/v1/cascades", "/openapi.json", "/v2", PRECISION]
)
@run
async def test_head_is_get_without_the_body(path: str) -> None:
    """The same status and headers, also where a path is unknown or has no GET."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            got, found = await client.get(path), await client.head(path)
    assert found.status_code == got.status_code
    assert found.headers["content-type"] == got.headers["content-type"]
    assert not found.content
    if path != "/metrics":  # which counts the first of the two
        assert found.headers == got.headers
    if path == "/health":
        assert 'method="HEAD",path="/health",status="200"' in service.metrics.exposition().decode()


@run
async def test_tiers_that_no_stage_knows_name_the_item() -> None:
    """Where a stage asks by tier, the field is the tiers of the item that has none of its own."""
    service = Service()
    items = [{"id": "a", "name": "a", "tiers": ["dependency"]}, {"id": "b", "name": "b", "tiers": ["rumour"]}]
    with service.engine:
        async with service.client() as client:
            answer = await client.post("/v1/cascades/scope", json={"task": "t", "items": items})
    assert_problem(answer, 422, "items.1.tiers", "'b'", "rumour", "dependency, co_change, metadata")


@run
async def test_a_long_text_is_not_sent_back_whole() -> None:
    """A refusal quotes the beginning of what was given, and still ends with the remedy."""
    service = Service()
    call = {"state": "s", "questions": {"q": {"type": "noul", "instructions": "Is it?"}}, "model": "m" * 8_000}
    with service.engine:
        async with service.client() as client:
            answer = await client.post("/v1/systemone", json=call)
    assert_failure(answer, 404, "not_found_error", "mmm ... ", "jev-latest")
    assert len(answer.content) < 2_000


@run
async def test_large_bodies_are_refused_whether_they_say_so_or_not() -> None:
    """413 by the length that is announced, and by what arrives in pieces."""
    service = Service(settings=ServiceSettings(max_body=1_000))

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    with service.engine:
        async with service.client() as client:
            assert_problem(await client.post(PRECISION, content=b" " * 1_001), 413, None, "1000 bytes")
            assert_problem(await client.post(PRECISION, content=pieces()), 413, None, "1000 bytes")
            assert (await client.post(PRECISION, json={"task": "t", "items": [ITEM]})).status_code == 200


@pytest.mark.slow
@run
async def test_a_body_that_does_not_arrive_is_not_waited_for() -> None:
    """408 once the time for it is up."""
    service = Service()
    with service.engine, serving(service.engine, service.metrics, ServiceSettings(body_s=0.05)) as url:
        reader, writer = await asyncio.open_connection(*url.removeprefix("http://").split(":"))
        writer.write(f"POST {PRECISION} HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{{".encode())
        answer = await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"0.05 s" in answer


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"],
)
@run
async def test_without_the_token_nobody_is_let_in(header: str | None) -> None:
    """401 at every path but the health check; the header is no help to guess."""
    service = Service(settings=ServiceSettings(token=TOKEN))
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    with service.engine:
        async with service.client(headers=headers) as client:
            for path in (PRECISION, "/v1/cascades", "/metrics", "/openapi.json", "/nowhere"):
                answer = await client.post(path, json={"task": "t", "items": []})
                assert_problem(answer, 401, None, "bearer token")
                assert answer.headers["www-authenticate"] == "Bearer"
            answer = await client.post("/v1/systemone", json={"state": "s", "questions": {}})
            assert_failure(answer, 401, "authentication_error", "bearer token")
            answer = await client.post("/v1/decisions", json={})
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
            assert (await client.get("/health")).status_code == 200


@pytest.mark.slow
@run
async def test_with_the_token_all_is_open_and_it_is_never_told() -> None:
    """200, and neither the settings nor the metrics nor the document hold the token."""
    settings = ServiceSettings(token=TOKEN)
    service = Service(settings=settings)
    with service.engine:
        async with service.client(headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            assert (await client.post(PRECISION, json={"task": "t", "items": [ITEM]})).status_code == 200
            told = [(await client.get(path)).text for path in ("/metrics", "/openapi.json", "/health")]
    assert "HTTPBearer" in told[1]
    assert not any(TOKEN in text for text in (*told, repr(settings)))


@run
async def test_too_many_requests_are_told_to_come_back() -> None:
    """503 with Retry-After from the engine's queue and from the gate; who waits is answered in the end."""
    for rules, settings in (
        (Rules(max_requests=1), ServiceSettings()),
        (Rules(), ServiceSettings(max_calls=1)),
    ):
        backend = Waiting(dict.fromkeys(ADAPTERS, 0.9))
        service = Service(backend, settings, rules)
        with service.engine:
            async with service.client() as client:
                first = asyncio.create_task(client.post(PRECISION, json={"task": "t", "items": [ITEM]}))
                await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
                for accept in ("application/json", "application/x-ndjson"):
                    headers = {"Accept": accept}
                    answer = await client.post(PRECISION, json={"task": "t", "items": [ITEM]}, headers=headers)
                    assert_problem(answer, 503, None, "open")
                    assert answer.headers["retry-after"] == "1"
                assert (await client.get("/health")).status_code == 200
                assert "cascade_queue_requests 1.0" in (await client.get("/metrics")).text
                backend.gate.set()
                assert (await first).status_code == 200


async def _until(service: Service, sample: str) -> None:
    """Waits until the metrics show a line."""
    until = time.monotonic() + PATIENCE_S
    while sample not in service.metrics.exposition().decode():
        assert time.monotonic() < until, f"never {sample}"
        await asyncio.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("path", [PRECISION, "/v1/systemone"])
@run
async def test_who_leaves_takes_the_work_along(accept: str, path: str) -> None:
    """A caller that hangs up cancels its request; nothing of it is kept, and others are answered."""
    backend = Waiting(dict.fromkeys({*ADAPTERS, "base"}, 0.9))
    service = Service(backend)
    task, items = symbols(1, 4)
    body = body_of(task, items)
    if path == "/v1/systemone":
        body = {"state": "s", "questions": {"q": {"type": "noul", "instructions": "relevant"}}}
    with service.engine, serving(service.engine, service.metrics) as url:
        async with httpx.AsyncClient(base_url=url, headers={"Accept": accept}) as client:
            leaving = asyncio.create_task(client.post(path, json=body))
            await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            await _until(service, 'cascade_engine_requests_total{cascade="precision",end="cancelled"} 1.0')
            backend.gate.set()
            assert (await client.post(path, json=body)).status_code == 200
        assert service.engine.n_cached == 0


@pytest.mark.slow
@run
async def test_a_stream_that_is_left_halfway_takes_the_work_along() -> None:
    """Leaving after the first line cancels the rest."""

    def by_depth(adapter: str, prompt: str) -> float:
        return 0.9 if adapter != "relevant" or "name_1 " in f"{prompt} ".replace("<", " ") else 0.01

    backend = _SecondWaits(by_depth)
    service = Service(backend)
    items = plain_items(4)
    body = {"task": "t", "items": [{"id": item.id, "name": item.name} for item in items]}
    with service.engine, serving(service.engine, service.metrics) as url:
        async with (
            httpx.AsyncClient(base_url=url, headers={"Accept": "application/x-ndjson"}) as client,
            client.stream("POST", PRECISION, json=body) as answer,
        ):
            first = json.loads(await anext(answer.aiter_lines()))
            assert first["label"] == "excluded"
        await _until(service, 'cascade_engine_requests_total{cascade="precision",end="cancelled"} 1.0')


class _SecondWaits(Waiting):
    """A backend whose first batch is scored at once."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        if batch.adapter == "relevant":
            return await ScriptedBackend.score(self, batch, stop)
        return await super().score(batch, stop)


@run
async def test_what_fails_is_said_in_the_answer_or_in_the_last_line() -> None:
    """500 where nothing was sent yet; after the first line, a line that says what is missing."""
    backend = ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS, fail_at=0)
    service = Service(backend)
    with service.engine:
        async with service.client() as client:
            assert_problem(
                await client.post(PRECISION, json={"task": "t", "items": [ITEM]}), 500, None, "Batch 0 fails"
            )
    late = Service(_FailsLate(_second_is_relevant, ADAPTERS))
    items = [{"id": "1", "name": "one"}, {"id": "2", "name": "two"}]
    with late.engine:
        async with late.client(headers={"Accept": "application/x-ndjson"}) as client:
            answer = await client.post(PRECISION, json={"task": "t", "items": items})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0]["id"] == "1"
    assert lines[-1] == {"error": "gone"}
    assert 'cascade_waves_failed_total{adapter="primary",model=""} 1.0' in late.metrics.exposition().decode()


def _second_is_relevant(adapter: str, prompt: str) -> float:
    return 0.9 if adapter != "relevant" or "two" in prompt.split("<|item|>")[1] else 0.1


class _FailsLate(ScriptedBackend):
    """A backend that scores the first stage alone."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        if batch.adapter != "relevant":
            msg = "gone"
            raise BackendError(msg)
        return await super().score(batch, stop)


@run
async def test_a_closed_engine_is_said_by_the_health_check() -> None:
    """503, both from the health check and from every request."""
    service = Service()
    service.engine.close()
    async with service.client() as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        answer = await client.post(PRECISION, json={"task": "t", "items": [ITEM]})
        assert_problem(answer, 503, None, "closed")
        assert "cascade_queue_requests 0.0" in (await client.get("/metrics")).text


def _by_name(adapter: str, prompt: str) -> float:
    """The share of an item's number in 100, whatever is asked."""
    del adapter
    (number,) = re.findall(r"name-(\d+)", prompt.split("<|item|>")[1].split("<|ask|>", maxsplit=1)[0])
    return (int(number) + 1) / 102


@pytest.mark.slow
@run
async def test_callers_at_once_get_their_own_answers() -> None:
    """Each of sixty callers gets every one of its items once, with what was said of it."""
    service = Service(ScriptedBackend(_by_name, ADAPTERS))
    kinds = ("application/json", "application/x-ndjson")

    async def call(client: httpx.AsyncClient, at: int) -> None:
        numbers = range(at, at + 1 + at % 5)
        items = [{"id": f"{at}/{number}", "name": f"name-{number}"} for number in numbers]
        answer = await client.post(PRECISION, json={"task": "t", "items": items}, headers={"Accept": kinds[at % 2]})
        lines = [json.loads(line) for line in answer.text.splitlines()]
        decisions = lines[:-1] if at % 2 else lines[0]["decisions"]
        found = {decision["id"]: decision["steps"][0]["p_yes"] for decision in decisions}
        assert len(decisions) == len(items)
        assert found == pytest.approx({f"{at}/{number}": (number + 1) / 102 for number in numbers})

    with service.engine:
        async with service.client() as client:
            await asyncio.gather(*(call(client, at) for at in range(60)))


ASKED = {"model": "base", "input": "x", "questions": [{"type": "predicate", "instructions": "?"}]}
PARTS = "must be one of 'input_text', 'input_image', 'input_json'"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "param", "words"),
    [
        ({"input": [{"type": "message", "role": "nix", "content": "x"}]}, "input.0.role", "'system', 'assistant'"),
        ({"input": [{"content": "x"}]}, "input.0.role", "missing"),
        ({"input": [{"role": "user", "content": None}]}, "input.0.content", "a string, or must be an array"),
        ({"input": [{"role": "user", "content": [{"type": "nix"}]}]}, "input.0.content.0.type", PARTS),
        ({"input": [{"type": "nix"}]}, "input.0.type", "'message', 'function_call'"),
        ({"input": [None]}, "input.0", "must be an object (given null)"),
        ({"input": 1}, "input", "a string, or must be an array"),
        ({"input": [{"role": "user", "content": "x"}] * 1_001}, "input", "at most 1000 entries"),
        (
            {"questions": [{"type": "predicate", "instructions": [{"type": "nix"}]}]},
            "questions.0.instructions.0.type",
            PARTS,
        ),
    ],
)
@run
async def test_what_is_wrong_within_a_message_is_named(broken: dict[str, Any], param: str, words: str) -> None:
    """The entry and what it may be, and not that a text could stand in place of the list."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            answer = await client.post("/v1/decisions", json=ASKED | broken)
    told = answer.json()["error"]
    assert (answer.status_code, told["param"]) == (400, param)
    assert words in told["message"]
    assert "given an array" not in told["message"] or "1000" in words


@pytest.mark.slow
@run
async def test_decisions_call_the_state_by_its_name() -> None:
    """A text that is too long, and a part of an item that is missing, are named as parts of ``input``."""
    service = Service(settings=ServiceSettings(max_text=100, max_long_text=300))
    item = json.dumps({"task": "t", "item": {"id": "1"}})
    with service.engine:
        async with service.client() as client:
            for given, param in (("x" * 301, "input"), (item, "input.item.name")):
                answer = await client.post("/v1/decisions", json=ASKED | {"input": given})
                told = answer.json()["error"]
                assert (answer.status_code, told["param"]) == (400, param)
                assert told["message"].startswith(f"{param}: ")
