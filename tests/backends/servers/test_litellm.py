"""LiteLLM's proxy between a cascade and our own service: labels are those of the model in this process.

Either format may come in and either go out, and the gateway translates between the two.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.speed.server_process import free_port
from cascade import Engine
from cascade.errors import ServerError
from cascade.service.metrics import Metrics
from tests.helpers.remote import TOLERANCE, local_config, remote_config, reports, scores
from tests.helpers.service import serving
from tests.helpers.shipped import ADAPTERS

LITELLM = Path(sys.prefix) / "litellm" / "bin" / "litellm"
KEY = "sk-of-a-test-that-listens-on-loopback-alone"
UPSTREAMS = {"systemone": "hosted_vllm", "decisions": "openai"}
"""Format that goes out -> LiteLLM's name of a provider that is asked in it."""

_START_S = 180.0

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LITELLM.exists(), reason=f"{LITELLM} is not there; `make test-gateway` installs it"),
]


@dataclass(frozen=True)
class Gateway:
    """The proxy in front of our service.

    Attributes:
        engine: What the service asks, in this process.
        url: The proxy's address.
    """

    engine: Engine
    url: str


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The proxy, with every adapter under one name for each format that goes out."""
    folder, metrics = tmp_path_factory.mktemp("gateway"), Metrics()
    config = local_config(folder)
    with (
        Engine.open(config, observers=(metrics,)) as engine,
        serving(engine, metrics) as service,
        _proxy(folder, service) as url,
    ):
        yield Gateway(engine, url)


@contextmanager
def _proxy(folder: Path, service: str) -> Iterator[str]:
    """The running proxy; yields its address."""
    models = [
        {
            "model_name": f"{out}-{name}",
            "litellm_params": {"model": f"{provider}/{name}", "api_base": f"{service}/v1", "api_key": "none"},
        }
        for out, provider in UPSTREAMS.items()
        for name in (*sorted(ADAPTERS), "base")
    ]
    path, log = folder / "litellm.yaml", folder / "litellm.log"
    path.write_text(json.dumps({"model_list": models}), encoding="utf-8")  # JSON is YAML
    port = free_port()
    own = {"LITELLM_MASTER_KEY": KEY, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "DISABLE_ADMIN_UI": "True"}
    with (
        log.open("wb") as out,
        subprocess.Popen(
            [LITELLM, "--config", path, "--host", "127.0.0.1", "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | own,
            cwd=folder,
        ) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_for(url, process, log)
            yield url
        finally:
            process.kill()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    ends = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < ends:
        try:
            if httpx.get(f"{url}/health/liveliness").status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    pytest.fail(f"LiteLLM did not start: {log.read_text(encoding='utf-8', errors='replace')[-2_000:]}")


def _config(folder: Path, gateway: Gateway, kind: str, out: str, more: str = "") -> Path:
    keys = f'kind = "{kind}"\nurl = "{gateway.url}"\nkey_env = "GATEWAY_KEY"\n{more}'
    return remote_config(folder, keys, lambda name: f"{out}-{name}")


@pytest.mark.parametrize("out", UPSTREAMS)
@pytest.mark.parametrize("kind", ["systemone", "decisions"])
def test_labels_through_the_gateway_are_those_of_this_process(
    kind: str, out: str, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all cascades, by either format in and either out; and every yes/no question, choice and score."""
    monkeypatch.setenv("GATEWAY_KEY", KEY)
    with Engine.open(_config(tmp_path, gateway, kind, out)) as remote:
        here, there = reports(gateway.engine), reports(remote)
        for name, report in here.items():
            assert not any(decision.cause for decision in there[name].decisions)
            labels = [decision.label for decision in report.decisions]
            assert [decision.label for decision in there[name].decisions] == labels
        right = scores(gateway.engine)
        for name, found in scores(remote).items():
            assert found == pytest.approx(right[name], abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["systemone", "decisions"])
def test_what_the_gateway_refuses_is_an_error(
    kind: str, gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong key, with what the gateway says; and the key is not repeated."""
    monkeypatch.setenv("GATEWAY_KEY", "sk-wrong")
    with (
        Engine.open(_config(tmp_path, gateway, kind, "systemone")) as remote,
        pytest.raises(ServerError, match=r"'own'.* refuses /v1/\w+ with status 40[0-9]") as caught,
    ):
        reports(remote)
    assert "sk-wrong" not in str(caught.value)
