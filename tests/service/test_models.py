"""Which adapters System One questions may name: those of the config, asked by a cascade or not, wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from adapters.recipe.tiny_encoder import write_tiny
from benchmarks.wire_server import Script, ScriptedServer
from cascade import Engine, ScriptedBackend
from cascade.engine.settings import EngineSettings
from cascade.errors import ConfigError
from cascade.service.app import make_app
from cascade.service.metrics import Metrics
from cascade.stages import ANY_TIER, BASE, Question, Stage, Target
from cascade.tree import Cascade
from tests.helpers.asyncs import run
from tests.helpers.server_configs import config, items, p_yes
from tests.helpers.service import DEFAULT, PATIENCE_S
from tests.helpers.shipped import ADAPTERS, CASCADES

READER = """
[model]
path = "reader.gguf"
n_threads = 1
limits = { task = 16, group = 16, item = 24 }
[cascade.files]
labels = ["no", "yes"]
[[cascade.files.stages]]
name = "first"
question = "must it be changed?"
adapter = "base"
yes = { label = "yes" }
no = { label = "no" }
"""
NOUL = {"q": {"type": "noul", "instructions": "Is it?"}}


def client_of(engine: Engine) -> httpx.AsyncClient:
    """A client of a service in this process."""
    app = make_app(engine, Metrics(), DEFAULT)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S)


async def models(client: httpx.AsyncClient) -> list[str]:
    """What the service lists."""
    return [card["id"] for card in (await client.get("/v1/models")).json()["data"]]


async def put(client: httpx.AsyncClient, model: str) -> tuple[int, Any]:
    """A noul question to a model: the status, and the answer's body."""
    answer = await client.post("/v1/systemone", json={"state": "s", "model": model, "questions": NOUL})
    return answer.status_code, answer.json()


@run
async def test_adapters_that_no_cascade_asks_answer() -> None:
    """They are listed behind those that one asks."""
    backend = ScriptedBackend(dict.fromkeys({*ADAPTERS, BASE}, 0.9) | {"spare": 0.25}, ADAPTERS | {"spare"})
    with Engine(backend, CASCADES, settings=EngineSettings()) as engine:
        async with client_of(engine) as client:
            assert {"spare", BASE} <= set(await models(client))
            status, body = await put(client, "spare")
            assert (status, body["answers"]["q"]["noul"]) == (200, pytest.approx(0.25))


def test_an_encoder_answers_what_a_cascade_asks_it_alone(tmp_path: Path) -> None:
    """It does not read the question: one of a caller's own, or with criteria, is refused with what it answers."""
    write_tiny(tmp_path / "reader.gguf")
    path = tmp_path / "my.toml"
    path.write_text(READER, encoding="utf-8")
    known = {"type": "noul", "instructions": "must it be changed?"}

    async def ask(client: httpx.AsyncClient, question: dict[str, str]) -> tuple[int, Any]:
        body = {"state": {"task": "fix it", "text": "parse"}, "model": BASE, "questions": {"q": question}}
        answer = await client.post("/v1/systemone", json=body)
        return answer.status_code, answer.json()

    @run
    async def talk() -> None:
        async with client_of(engine) as client:
            assert await models(client) == ["files", BASE, "files/first", "jev-latest"]
            status, body = await ask(client, known)
            assert (status, 0 < body["answers"]["q"]["noul"] < 1) == (200, True)
            for other in (NOUL["q"], known | {"criteria": "in this file"}):
                status, body = await ask(client, other)
                (fault,) = body["detail"]
                assert (status, fault["loc"]) == (422, ["body", "questions", "q", "instructions"])
                assert "'base' is an encoder, which does not read the question" in fault["msg"]
                assert "'must it be changed?'" in fault["msg"]

    with Engine.open(path) as engine:
        talk()


def test_without_a_model_in_this_process_there_is_no_base(tmp_path: Path) -> None:
    """It is neither listed nor asked, whoever asks; served adapters are both, and the engine goes on."""
    question = Question(marker="m", wording="w", adapter=BASE, threshold=0.5)
    yes, no = Target("yes", is_label=True), Target("no", is_label=True)
    stages = (Stage(name="s", questions={ANY_TIER: question}, yes=yes, no=no),)
    bare = Cascade(name="bare", instructions="i", labels=("no", "yes"), stages=stages)

    @run
    async def talk() -> None:
        async with client_of(engine) as client:
            own = ["files/first", "files/second", "jev-latest"]
            assert await models(client) == ["files", "one", "two", "three", *own]
            status, body = await put(client, BASE)
            assert (status, body["detail"]["error_type"]) == (404, "not_found_error")
            status, body = await put(client, "three")
            assert (status, body["answers"]["q"]["noul"]) == (200, pytest.approx(0.2))
        with pytest.raises(ConfigError, match="asks adapter 'base', which the backend does not have; it has one, th"):
            await engine.ascore("t", items(1), bare)

    names = ("one", "two", "three")
    adapters = "\n".join(f'{name} = {{ server = "far", name = "{name}" }}' for name in names)
    with ScriptedServer(Script(p=p_yes, adapters=names)) as server:
        opened = config(tmp_path, f'kind = "llama-server"\nurl = "{server.url}"', adapters=adapters)
        with Engine.open(opened) as engine:
            talk()
