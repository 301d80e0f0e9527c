"""``/v1/admin/adapters``: it has a token of its own, and takes over what the config says by now."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from cascade import Engine, read_config
from cascade.service.admin import Reload
from cascade.service.app import make_app
from cascade.service.metrics import Metrics
from cascade.service.settings import ServiceSettings
from tests.helpers.asyncs import run
from tests.helpers.service import PATIENCE_S, Service, assert_problem
from tests.helpers.shipped import write_shipped

URL = "/v1/admin/adapters"
ADMIN, CALLER = "admin-token", "caller-token"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.slow
@run
async def test_the_config_is_taken_over(tmp_path: Path) -> None:
    """A call with the token of administration reads the file again and makes it live, or says what is wrong."""
    config = write_shipped(tmp_path / "my.toml")
    text, metrics = config.read_text(), Metrics()
    settings = ServiceSettings(token=CALLER, admin_token=ADMIN)
    with Engine.open(config, [metrics]) as engine:
        app = make_app(engine, metrics, settings, reload=Reload(engine, lambda: read_config(config)))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S) as client:
            for headers in ({}, _bearer(CALLER), {"Authorization": ADMIN}):
                assert (await client.post(URL, headers=headers)).status_code == 401
            assert (await client.get("/v1/models", headers=_bearer(ADMIN))).status_code == 401
            before = (await client.get(URL, headers=_bearer(ADMIN))).json()
            assert before["adapters"] == engine.info.provenance.adapters
            config.write_text(text.replace("relevant.gguf", "primary.gguf"))
            now = (await client.post(URL, headers=_bearer(ADMIN))).json()
            assert now["changed"] == {"relevant": before["adapters"]["primary"]}
            assert now["adapters"]["relevant"] == before["adapters"]["primary"]
            assert (await client.post(URL, headers=_bearer(ADMIN))).json()["changed"] == {}
            config.write_text(text.replace("relevant.gguf", "nothing.gguf"))
            answer = await client.post(URL, headers=_bearer(ADMIN))
            assert_problem(answer, 409, None, "Nothing was changed", "adapters.relevant")
            assert (await client.get("/health")).json()["adapters"] == now["adapters"]


@run
async def test_there_is_no_such_endpoint_without_its_token() -> None:
    """A service without a token of administration has nothing there."""
    service = Service()
    with service.engine:
        async with service.client() as client:
            assert (await client.post(URL)).status_code == 404


@run
async def test_another_method_is_told_all_that_are_answered(tmp_path: Path) -> None:
    """What is allowed at a path is what any of its endpoints answers."""
    config = write_shipped(tmp_path / "my.toml")
    service = Service()
    with service.engine as engine:
        app = make_app(
            engine,
            service.metrics,
            ServiceSettings(admin_token=ADMIN),
            reload=Reload(engine, lambda: read_config(config)),
        )
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service", timeout=PATIENCE_S) as client:
            answer = await client.delete(URL, headers=_bearer(ADMIN))
            assert_problem(answer, 405, None, "allowed are GET, HEAD, POST")
            assert answer.headers["allow"] == "GET, HEAD, POST"
