"""A service that has too much to do: what clients of the wire formats are told, and that they come back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import httpx
import pytest
from openai import OpenAI
from typesafe_sdk import Noul, TypeSafeClient

from cascade.engine.admission import Rules
from cascade.service.settings import ServiceSettings
from tests.helpers.asyncs import run
from tests.helpers.service import PATIENCE_S, Service, Waiting, assert_failure, assert_problem, serving
from tests.helpers.shipped import ADAPTERS

SYSTEM_ONE = {"state": "s", "model": "base", "questions": {"q": {"type": "noul", "instructions": "Is it?"}}}
DECISIONS = {"input": "s", "model": "base", "questions": [{"type": "predicate", "instructions": "It is."}]}


def _ask_typesafe(url: str) -> float:
    with TypeSafeClient(api_key="local", base_url=url) as client:
        return client.system_one(state="s", questions={"q": Noul(instructions="Is it?")}).nouls["q"].noul


def _ask_openai(url: str) -> float:
    with OpenAI(api_key="local", base_url=f"{url}/v1") as client:
        questions = [{"type": "predicate", "instructions": "It is."}]
        (answer,) = client.decisions.create(model="base", input="s", questions=questions).answers  # type: ignore[arg-type]
        return float(answer.model_dump()["probability"])


@pytest.mark.slow
@pytest.mark.parametrize("ask", [_ask_typesafe, _ask_openai])
def test_clients_come_back(ask: Callable[[str], float]) -> None:
    """Turned away with 429, a client waits as long as it is told and is answered then."""
    backend = Waiting(dict.fromkeys({*ADAPTERS, "base"}, 0.75))
    service = Service(backend)
    settings = ServiceSettings(max_calls=1)
    with service.engine, serving(service.engine, service.metrics, settings) as url:
        threads = [
            threading.Thread(target=lambda: httpx.post(f"{url}/v1/systemone", json=SYSTEM_ONE, timeout=PATIENCE_S)),
            threading.Thread(target=_open_once_refused, args=(service, backend)),
        ]
        threads[0].start()
        assert backend.reached.wait(PATIENCE_S)
        threads[1].start()
        assert ask(url) == pytest.approx(0.75)
        for thread in threads:
            thread.join(PATIENCE_S)


def _open_once_refused(service: Service, backend: Waiting) -> None:
    """Lets the backend answer once a caller was turned away."""
    while b'status="429"' not in service.metrics.exposition():
        time.sleep(0.01)
    backend.gate.set()


@pytest.mark.parametrize(
    ("max_calls", "max_requests", "words"), [(1, 9, "1 call is open"), (9, 1, "1 request is open")]
)
@run
async def test_each_endpoint_turns_away_in_its_own_form(max_calls: int, max_requests: int, words: str) -> None:
    """429 with Retry-After where a format says so, for too many calls and for too many requests of the engine alike."""
    backend = Waiting(dict.fromkeys({*ADAPTERS, "base"}, 0.75))
    settings = ServiceSettings(max_calls=max_calls, retry_after_s=7)
    service = Service(backend, settings, Rules(max_requests=max_requests))
    cascade = {"task": "t", "items": [{"id": "1", "name": "n"}]}
    with service.engine:
        async with service.client() as client:
            holding = asyncio.create_task(client.post("/v1/systemone", json=SYSTEM_ONE))
            await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
            one = await client.post("/v1/systemone", json=SYSTEM_ONE)
            assert_failure(one, 429, "rate_limit_error", words)
            two = await client.post("/v1/decisions", json=DECISIONS)
            assert (two.status_code, two.json()["error"]["type"]) == (429, "rate_limit_error")
            own = await client.post("/v1/cascades/precision", json=cascade)
            assert_problem(own, 503, None, words)
            assert {answer.headers["retry-after"] for answer in (one, two, own)} == {"7"}
            backend.gate.set()
            assert (await holding).status_code == 200
