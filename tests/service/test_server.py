"""``cascade serve`` as a process: how it starts, what it logs, and how it ends."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.machine import return_large_blocks
from cascade.service.server import Server, listen, url_of
from tests.helpers.asyncs import run
from tests.helpers.requests import symbols
from tests.helpers.service import PATIENCE_S, Service, Waiting, body_of
from tests.helpers.shipped import ADAPTERS, CASCADES, write_shipped
from tests.helpers.spans import collector, spans_of
from tests.log.logs import n_rows, requests_of

pytestmark = pytest.mark.slow

TOKEN = "open-sesame"  # noqa: S105 - a test's
ROOT = Path(__file__).parents[2]


@contextmanager
def _process(*options: str, **variables: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, object]]]:
    """The command in a process of its own, and what it says once it listens."""
    code = "import sys; from cascade.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "serve", "--port", "0", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"} | variables,
    ) as process:
        try:
            lines = []
            while process.stdout and (line := process.stdout.readline()):
                lines.append(line)
                if line == "}\n":
                    break
            yield process, json.loads("".join(lines))
        finally:
            process.kill()


def test_the_command_serves_until_it_is_told_to_end() -> None:
    """It says where it listens, answers who shows the token, logs JSON without it, and ends well on SIGTERM."""
    task, items = symbols(1, 4)
    with _process(CASCADE_SERVE_TOKEN=TOKEN) as (process, said):
        assert said["cascades"] == list(CASCADES)
        assert said["needs_token"] is True
        with httpx.Client(base_url=str(said["url"]), timeout=PATIENCE_S) as client:
            assert client.post("/v1/cascades/precision", json=body_of(task, items)).status_code == 401
            client.headers["Authorization"] = f"Bearer {TOKEN}"
            assert len(client.post("/v1/cascades/precision", json=body_of(task, items)).json()["decisions"]) == 4
        process.send_signal(signal.SIGTERM)
        _, logged = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    calls = [entry for line in logged.splitlines() if (entry := json.loads(line))["event"] == "call"]
    assert [(call["status"], call["level"], call["path"]) for call in calls] == [
        (401, "info", ""),
        (200, "info", "/v1/cascades/{name}"),
    ]
    assert TOKEN not in logged


def test_a_log_of_the_config_is_kept(tmp_path: Path) -> None:
    """The first line says where; calls and outcomes are in the file once the process has ended."""
    config, path = tmp_path / "my.toml", tmp_path / "decisions.sqlite3"
    config.write_text('extends = "shipped"\n[log]\npath = "decisions.sqlite3"\n', encoding="utf-8")
    task, items = symbols(1, 4)
    with _process("--config", str(config)) as (process, said):
        assert said["log"] == str(path)
        with httpx.Client(base_url=str(said["url"]), timeout=PATIENCE_S) as client:
            report = client.post("/v1/cascades/precision", json=body_of(task, items)).json()
            outcome = {"task": report["task_id"], "item": items[0].id, "label": "primary"}
            assert client.post("/v1/outcomes", json={"outcomes": [outcome]}).json() == {"recorded": 1}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
    (request,) = requests_of(path)
    assert (request.task, len(request.decisions)) == (task.id, 4)
    assert n_rows(path, "outcomes") == 1


def test_a_service_that_is_told_to_end_at_once() -> None:
    """SIGTERM is heard from the moment on at which the service says where it listens."""
    with _process() as (process, _):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("second", "code"), [(signal.SIGTERM, ExitCode.TERMINATED), (signal.SIGINT, ExitCode.INTERRUPTED)]
)
def test_a_second_signal_ends_a_service_at_once(first: signal.Signals, second: signal.Signals, code: ExitCode) -> None:
    """While an open call is waited for, one more signal does not wait, and the exit code is that signal's."""
    with _process("--grace", "3600") as (process, said):
        host, port = str(said["url"]).removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as caller:
            caller.sendall(
                b"POST /v1/systemone HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
            )
            assert caller.recv(100).startswith(b"HTTP/1.1 100")  # it waits for the body
            process.send_signal(first)
            asyncio.run(_until_refused(str(said["url"])))
            process.send_signal(second)
            _, logged = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert logged.splitlines()[-1] == f"error: {code.name.lower()}"


@pytest.mark.parametrize("option", ["--traces", "--trace-texts"])
def test_spans_are_sent_where_the_variables_say(option: str) -> None:
    """A collector gets the spans of the call, its request, waves and swaps before the process ends; texts if asked."""
    task, items = symbols(1, 4)
    with collector() as (url, sent):
        with _process(option, OTEL_EXPORTER_OTLP_ENDPOINT=url) as (process, said):
            httpx.post(f"{said['url']}/v1/cascades/precision", json=body_of(task, items), timeout=PATIENCE_S)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE_S)
        spans = spans_of(sent)
    names = {"POST /v1/cascades/{name}", "decision precision", "cascade.wave", "cascade.swap"}
    assert {span.name for span in spans} == names
    assert (task.text in str(spans)) == (option == "--trace-texts")


def test_the_command_ends_as_interrupted_commands_do() -> None:
    """130 on SIGINT."""
    with _process() as (process, said):
        assert said["needs_token"] is False
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == ExitCode.INTERRUPTED


def test_a_port_that_is_taken_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and a sentence with host, port and remedy."""
    with listen("127.0.0.1", 0) as taken:
        port = str(taken.getsockname()[1])
        assert main(["serve", "--port", port]) == ExitCode.FAILURE
    assert f"127.0.0.1 port {port}" in capsys.readouterr().err


def test_a_token_that_no_header_carries_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, the variable's name, and not its value."""
    for token in ("", " a", "a\nb", os.fsdecode("é".encode())):  # whatever the locale's encoding
        monkeypatch.setenv("CASCADE_SERVE_TOKEN", token)
        assert main(["serve", "--port", "0"]) == ExitCode.BAD_INPUT
        error = capsys.readouterr().err
        assert "CASCADE_SERVE_TOKEN" in error
        assert "é" not in error


def test_large_blocks_are_returned_where_glibc_can() -> None:
    """True with glibc, False without it, and no error either way."""
    assert return_large_blocks() is (platform.libc_ver()[0] == "glibc")


def _run(service: Service, grace_s: float) -> tuple[Server, threading.Thread, str]:
    listening = listen("127.0.0.1", 0)
    server = Server(service.app, service.engine, grace_s)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    return server, thread, url_of(listening)


@run
async def test_requests_that_are_open_at_the_end_are_finished() -> None:
    """Within the grace a request gets all its answers, and new ones find nobody."""
    backend = Waiting(dict.fromkeys(ADAPTERS, 0.9))
    service = Service(backend)
    task, items = symbols(1, 4)
    with service.engine:
        server, thread, url = _run(service, PATIENCE_S)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
            call = asyncio.create_task(client.post("/v1/cascades/precision", json=body_of(task, items)))
            await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
            server.should_exit = True
            await _until_refused(url)
            backend.gate.set()
            decisions = (await call).json()["decisions"]
        await asyncio.to_thread(thread.join, PATIENCE_S)
    assert {decision["status"] for decision in decisions} == {"decided"}
    assert not thread.is_alive()


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
@run
async def test_requests_that_outlast_the_grace_are_tagged(accept: str) -> None:
    """After the grace every item gets the likeliest label with the status that says why, and the service ends."""
    backend = Waiting(dict.fromkeys(ADAPTERS, 0.9))
    service = Service(backend)
    task, items = symbols(1, 4)
    with service.engine:
        server, thread, url = _run(service, 0.05)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, headers={"Accept": accept}) as client:
            call = asyncio.create_task(client.post("/v1/cascades/precision", json=body_of(task, items)))
            await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
            server.should_exit = True
            answer = await call
        await asyncio.to_thread(thread.join, PATIENCE_S)
    lines = [json.loads(line) for line in answer.text.splitlines()]
    decisions = lines[:-1] if accept == "application/x-ndjson" else lines[0]["decisions"]
    assert sorted(decision["id"] for decision in decisions) == sorted(item.id for item in items)
    assert {decision["status"] for decision in decisions} == {"deadline"}
    assert all(decision["p_label"] for decision in decisions)
    assert not thread.is_alive()


@run
async def test_questions_that_outlast_the_grace_are_told_to_come_back() -> None:
    """Half an answer would be a wrong one: 503 with Retry-After."""
    backend = Waiting(dict.fromkeys(ADAPTERS, 0.9))
    service = Service(backend)
    call = {"state": "s", "questions": {"q": {"type": "noul", "instructions": "relevant"}}}
    with service.engine:
        server, thread, url = _run(service, 0.05)
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
            waiting = asyncio.create_task(client.post("/v1/systemone", json=call))
            await asyncio.to_thread(backend.reached.wait, PATIENCE_S)
            server.should_exit = True
            answer = await waiting
        await asyncio.to_thread(thread.join, PATIENCE_S)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def _until_refused(url: str) -> None:
    """Waits until nobody listens there; who connects while it stops listening may never hear anything."""
    host, port = url.removeprefix("http://").split(":")
    for _ in range(1_000):
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except ConnectionError:
            return
        writer.close()
        await asyncio.sleep(0.01)
    pytest.fail("it still listens")


def test_sighup_reads_the_config_again(tmp_path: Path) -> None:
    """What the file says by then is live after SIGHUP; what is wrong is logged, and all stays as it was."""
    config = tmp_path / "my.toml"
    text = write_shipped(config).read_text()
    with _process("--config", str(config)) as (process, said):
        with httpx.Client(base_url=str(said["url"]), timeout=PATIENCE_S) as client:
            before = client.get("/health").json()["adapters"]
            config.write_text(text.replace("relevant.gguf", "primary.gguf"))
            process.send_signal(signal.SIGHUP)
            live = (client.get("/health").json()["adapters"]["relevant"] for _ in range(2_000))
            assert before["primary"] in live
            config.write_text("nothing")
            process.send_signal(signal.SIGHUP)
            while "not taken over" not in (line := process.stderr.readline() if process.stderr else "not taken over"):
                assert line
            assert client.get("/health").json()["adapters"]["relevant"] == before["primary"]
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
