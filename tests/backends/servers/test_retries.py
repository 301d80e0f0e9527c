"""How servers are treated, and what becomes of items when one fails: real HTTP on loopback, with faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from math import ceil
from pathlib import Path

import pytest

from benchmarks.wire_server import PASSING, Fault, Script, ScriptedServer
from cascade import Config, Engine, Status
from cascade.backends.servers.http import LONGEST_QUIET_S, retry_after
from cascade.backends.servers.retries import TRIPS_AT, CircuitBreaker, ServerDownError
from cascade.errors import ClosedError, ServerError
from tests.helpers.asyncs import run
from tests.helpers.server_configs import LABELS, config, items, labels, p_yes

pytestmark = pytest.mark.slow

KINDS = ("llama-server", "completions", "systemone", "decisions")


def far(folder: Path, server: ScriptedServer, keys: str = "", kind: str = "llama-server") -> Config:
    """A config whose adapters are on a server."""
    return config(folder, f'kind = "{kind}"\nurl = "{server.url}"\n{keys}')


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", PASSING)
def test_what_fails_is_asked_again(fault: Fault, kind: str, tmp_path: Path) -> None:
    """A request that fails once, in whatever way, is answered the second time; nothing is mistaken for an answer."""
    script = Script(p=p_yes, adapters=("one", "two"), owner="llamacpp" if kind == "llama-server" else "vllm")
    script.fault = lambda number: fault if number % 4 == 0 else Fault.NONE
    with ScriptedServer(script) as server:
        with Engine.open(far(tmp_path, server, "timeout_s = 0.3\nin_flight = 2\nattempts = 12", kind)) as engine:
            report = engine.classify("fix it", items(6), "files")
        assert server.faults[fault] >= 2
    assert [decision.label for decision in report.decisions] == labels(6)
    assert {decision.status for decision in report.decisions} == {Status.DECIDED}


def test_limits_are_kept(tmp_path: Path) -> None:
    """The server never sees more requests in a second, nor more at once, than the config allows; retries count too."""
    rate, in_flight = 50, 3
    script = Script(p=p_yes, adapters=("one", "two"), owner="vllm", pause_s=0.01)
    script.fault = lambda number: (Fault.NONE, Fault.ERROR, Fault.NONE, Fault.NONE, Fault.STALL)[number % 5]
    with ScriptedServer(script) as server:
        keys = f"starts_per_second = {rate}\nin_flight = {in_flight}\ntimeout_s = 0.25\nattempts = 20"
        with Engine.open(far(tmp_path, server, keys, "completions")) as engine:
            report = engine.classify("fix it", items(45), "files")
        arrivals = server.arrivals
    assert [decision.label for decision in report.decisions] == labels(45)
    assert len(arrivals) > 75
    assert server.most_in_flight == in_flight
    for first, sooner in enumerate(arrivals):
        for last, later in enumerate(arrivals[first:], first):
            assert last - first + 1 <= rate * ceil(later - sooner + 0.5)  # requests may travel half a second apart


@pytest.mark.parametrize("is_date", [False, True])
def test_a_busy_server_is_left_alone(*, is_date: bool, tmp_path: Path) -> None:
    """Nothing is asked before the time that Retry-After names, in seconds or as a date."""
    script = Script(p=p_yes, adapters=("one", "two"))
    script.fault = lambda number: Fault.BUSY if number == 0 else Fault.NONE
    with ScriptedServer(script) as server:
        wanted_s = 0.9 if is_date else 0.4  # dates have whole seconds
        script.retry_after = (lambda: formatdate(time.time() + 2, usegmt=True)) if is_date else (lambda: "0.4")
        with Engine.open(far(tmp_path, server, "in_flight = 1")) as engine:
            report = engine.classify("fix it", items(3), "files")
        first, second = server.arrivals[:2]
    assert [decision.label for decision in report.decisions] == labels(3)
    assert second - first >= wanted_s


@pytest.mark.parametrize("budget", [None, 2_000])
def test_a_server_that_is_busy_for_long_is_not_waited_for(budget: float | None, tmp_path: Path) -> None:
    """A Retry-After beyond what anybody waits ends the items at once, with the cause and a budget's status."""
    script = Script(p=p_yes, adapters=("one", "two"), fault=lambda _: Fault.BUSY, retry_after=lambda: "600")
    with ScriptedServer(script) as server, Engine.open(far(tmp_path, server)) as engine:
        report = engine.classify("fix it", items(20), "files", budget=budget)
    assert {decision.status for decision in report.decisions} == {Status.DEADLINE}
    assert all("status 429" in decision.cause or "left alone" in decision.cause for decision in report.decisions)
    assert report.decisions[0].as_dict()["cause"] == report.decisions[0].cause
    assert len(server.arrivals) <= 8


def test_items_are_cut_where_the_server_went_down(tmp_path: Path) -> None:
    """Items that have passed a stage get status depth_cap, others were decided; the server is asked no more."""
    script = Script(p=p_yes, adapters=("one", "two"))
    script.fault = lambda number: Fault.DROP if number >= 60 else Fault.NONE
    with ScriptedServer(script) as server:
        with Engine.open(far(tmp_path, server, "attempts = 20")) as engine:
            report = engine.classify("fix it", items(60), "files")
        n_asked = len(server.arrivals)
    found = Counter((decision.status, decision.label) for decision in report.decisions)
    assert found[Status.DECIDED, "dropped"] == 20
    assert sum(n for (status, _), n in found.items() if status is Status.DEPTH_CAP) == 40
    assert all(
        decision.cause.startswith("Server 'far' is down: the connection failed") and decision.p_label is not None
        for decision in report.decisions
        if decision.status is Status.DEPTH_CAP
    )
    assert n_asked <= 60 + TRIPS_AT + 8


def test_stages_put_to_all_items_need_the_server(tmp_path: Path) -> None:
    """Where every answer is wanted, such as for tuning, a server that does not answer is an error."""
    script = Script(adapters=("one", "two"), fault=lambda _: Fault.ERROR)
    with ScriptedServer(script) as server, Engine.open(far(tmp_path, server, "attempts = 2")) as engine:
        with pytest.raises(ServerError, match=r"does not answer: status 500: .*internal error"):
            engine.score("fix it", items(2), "files")
        script.fault = lambda _: Fault.NONE
        assert len(engine.score("fix it", items(2), "files")) == 2


def test_a_refusal_fails_the_request_and_no_other(tmp_path: Path) -> None:
    """A question that the server refuses as such is not asked again: an error with its words. The engine goes on."""
    script = Script(p=p_yes, adapters=("one", "two"))
    script.fault = lambda number: Fault.REFUSE if number == 0 else Fault.NONE
    with ScriptedServer(script) as server, Engine.open(far(tmp_path, server)) as engine:
        with pytest.raises(ServerError, match=r"'far' at .* refuses /completion with status 400: .*prompt is too long"):
            engine.classify("fix it", items(1), "files")
        assert len(server.arrivals) == 1
        assert engine.classify("fix it", items(1), "files").decisions[0].status is Status.DECIDED


def test_a_budget_ends_what_is_in_flight(tmp_path: Path) -> None:
    """A server that stalls costs a request its budget and no more; items get a label, and the connection is let go."""
    script = Script(p=p_yes, adapters=("one", "two"), stall_s=60.0)
    script.fault = lambda number: Fault.STALL if number >= 5 else Fault.NONE
    with ScriptedServer(script) as server:
        with Engine.open(far(tmp_path, server, "timeout_s = 50\nin_flight = 4")) as engine:
            began = time.monotonic()
            report = engine.classify("fix it", items(20), "files", budget=300)
            assert time.monotonic() - began < 20
            assert engine.n_cached == 0
        assert server.most_in_flight <= 4
    assert len(report.decisions) == 20
    assert {decision.status for decision in report.decisions} >= {Status.DEADLINE}
    assert all(decision.label for decision in report.decisions)


def test_another_request_does_not_wait_for_a_stalled_one(tmp_path: Path) -> None:
    """While one caller's request hangs, a caller with a budget is answered."""
    script = Script(p=p_yes, adapters=("one", "two"), stall_s=60.0)
    script.fault = lambda number: Fault.STALL if number == 0 else Fault.NONE
    with ScriptedServer(script) as server, ThreadPoolExecutor(1) as pool:
        with Engine.open(far(tmp_path, server, "timeout_s = 50")) as engine:
            slow = pool.submit(engine.classify, "fix it", items(1), "files")
            while not server.arrivals:
                time.sleep(0.01)
            report = engine.classify("fix that", items(3), "files", budget=20_000)
            assert [decision.label for decision in report.decisions] == labels(3)
            assert not slow.done()
        with pytest.raises(ClosedError):
            slow.result(timeout=20)


def test_closing_does_not_wait_for_a_stalled_server(tmp_path: Path) -> None:
    """Closing the engine breaks off what hangs; the waiting call gets a ClosedError."""
    script = Script(adapters=("one", "two"), fault=lambda _: Fault.STALL, stall_s=60.0)
    with ScriptedServer(script) as server, ThreadPoolExecutor(1) as pool:
        engine = Engine.open(far(tmp_path, server, "timeout_s = 50"))
        waiting = pool.submit(engine.classify, "fix it", items(1), "files")
        while not server.arrivals:
            time.sleep(0.01)
        engine.close()
        with pytest.raises(ClosedError):
            waiting.result(timeout=20)


@run
async def test_a_caller_that_leaves_ends_its_requests(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Cancelling the await closes the connections; the engine serves others."""
    script = Script(p=p_yes, adapters=("one", "two"), stall_s=60.0)
    script.fault = lambda number: Fault.STALL if number < 4 else Fault.NONE
    with ScriptedServer(script) as server:
        opened = far(tmp_path_factory.mktemp("config"), server, "timeout_s = 50\nin_flight = 4")
        async with Engine.open(opened) as engine:
            left = asyncio.create_task(engine.aclassify("fix it", items(4), "files"))
            while len(server.arrivals) < 4:  # noqa: ASYNC110 - the server has a loop of its own
                await asyncio.sleep(0.01)
            left.cancel()
            report = await engine.aclassify("fix that", items(3), "files")
            assert [decision.label for decision in report.decisions] == labels(3)


def test_an_answer_that_is_waited_for_is_one_call(tmp_path: Path) -> None:
    """A batch ends without its slow answer; asked for again, it was still sent, and counts, once."""
    script = Script(p=p_yes, adapters=("one", "two"), stall_s=0.8)
    script.fault = lambda number: Fault.SLOW if number == 0 else Fault.NONE
    with ScriptedServer(script) as server:
        with Engine.open(far(tmp_path, server)) as engine:
            report = engine.classify("fix it", items(9), "files")
        assert len(server.arrivals) == 15
    assert [decision.label for decision in report.decisions] == labels(9)
    assert report.stats.calls == sum(len(decision.steps) for decision in report.decisions) == 15


def test_every_item_is_labelled_once_whatever_fails(tmp_path: Path) -> None:
    """Under faults of all kinds, with and without budgets, every item has one label; what was decided is right."""
    rng = random.Random(6)
    script = Script(p=p_yes, adapters=("one", "two"), stall_s=2.0, retry_after=lambda: "0.02")
    script.fault = lambda number: Fault.NONE if number % 5 else PASSING[number // 5 % len(PASSING)]
    budgets = [rng.choice([None, 100, 1_000]) for _ in range(24)]
    with ScriptedServer(script) as server:
        keys = "timeout_s = 0.5\nin_flight = 16\nattempts = 16\nstarts_per_second = 2000"
        with Engine.open(far(tmp_path, server, keys)) as engine, ThreadPoolExecutor(8) as pool:
            reports = list(pool.map(lambda ms: engine.classify("fix it", items(9), "files", budget=ms), budgets))
        assert {fault for fault in PASSING if server.faults[fault]} == set(PASSING)
    told = [decision for report in reports for decision in report.decisions]
    assert [decision.id for decision in told] == [item.id for _ in reports for item in items(9)]
    assert all(decision.label in LABELS for decision in told)
    right = dict(zip((item.id for item in items(9)), labels(9), strict=True))
    assert all(decision.label == right[decision.id] for decision in told if decision.status is Status.DECIDED)
    unhurried = [report for report, ms in zip(reports, budgets, strict=True) if ms is None]
    assert all(decision.status is Status.DECIDED for report in unhurried for decision in report.decisions)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-7", 0.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 60.0),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_QUIET_S),
        ("1e300", LONGEST_QUIET_S),
        ("inf", LONGEST_QUIET_S),
        ("9" * 400, LONGEST_QUIET_S),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_within_reason(value: str | None, seconds: float | None) -> None:
    """Seconds or a date; no value leaves a server alone for good, and what says nothing counts as absent."""
    assert retry_after(value, 40.0) == seconds


def test_a_breaker_trips_rests_and_tries_once() -> None:
    """After enough failures in a row nothing is let through, after a rest one request, whose fate decides."""
    breaker = CircuitBreaker()
    for _ in range(int(TRIPS_AT) - 1):
        breaker.begin(0.0)
        breaker.fail(0.0, "refused", 1.0, 0.0)
    breaker.begin(0.0)
    breaker.fail(0.0, "refused again", 1.0, 0.0)
    with pytest.raises(ServerDownError, match="refused again"):
        breaker.check(0.9)
    breaker.begin(1.0)
    with pytest.raises(ServerDownError):
        breaker.begin(1.0)
    breaker.fail(1.1, "still", 1.0, 1.0)
    with pytest.raises(ServerDownError, match="still"):
        breaker.begin(3.0)
    breaker.begin(3.2)
    breaker.leave()
    breaker.begin(3.2)
    breaker.succeed(3.25)
    for _ in range(3):
        breaker.begin(3.3)


def test_single_failures_trip_nothing() -> None:
    """A success in between starts the count anew; what began before it does not count, nor a busy server."""
    breaker = CircuitBreaker()
    for number in range(100):
        breaker.begin(number)
        if number % 10 == 9:
            breaker.succeed(number)
        else:
            breaker.fail(number, "now and then", 1.0, number)
    for _ in range(100):
        breaker.fail(99.5, "began long ago", 3.0, 98.0)
    for number in range(100):
        breaker.fail(number, "busy", 0.0, number)
    breaker.check(100.0)


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:9", "socks5://127.0.0.1:9", "nonsense"])
def test_a_server_on_this_machine_is_asked_past_proxies(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that the environment names, and that nobody runs, stands between no two processes of this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    with (
        ScriptedServer(Script(p=p_yes, adapters=("one", "two"))) as server,
        Engine.open(far(tmp_path, server)) as engine,
    ):
        report = engine.classify("fix it", items(3), "files")
    assert [decision.label for decision in report.decisions] == labels(3)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "ftp://127.0.0.1:9"), ("HTTP_PROXY", "ftp://127.0.0.1:9"), ("SSL_CERT_FILE", "/nowhere/at-all.pem")],
)
def test_a_proxy_that_is_none_is_said(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names a way to a server that cannot be used, an error names both."""
    monkeypatch.setenv(variable, value)
    elsewhere = config(tmp_path, 'kind = "llama-server"\nurl = "http://server.invalid:8080"')
    with pytest.raises(ServerError, match=f"'far' at http://server.invalid:8080 cannot be asked.*{variable}"):
        Engine.open(elsewhere)
