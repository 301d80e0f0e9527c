"""What the service answers on a socket to bytes that are no HTTP, or only half of it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from email.message import Message
from email.parser import BytesParser

import httpx
import pytest

from cascade.service.settings import ServiceSettings
from tests.helpers.service import PATIENCE_S, Service, assert_problem, serving

CALL = b"POST /v1/cascades/precision HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n"
END = b"Connection: close\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service whose engine says yes to all."""
    service = Service()
    with service.engine:
        yield service


@pytest.fixture(scope="module")
def url(service: Service) -> Iterator[str]:
    """Where it listens; bodies may have ten seconds and 1,000 bytes."""
    with serving(service.engine, service.metrics, ServiceSettings(body_s=10, max_body=1_000)) as url:
        yield url


def _answers(url: str, sent: bytes, *, is_all: bool = False) -> list[httpx.Response]:
    """What comes back until the connection is closed.

    Args:
        url: Where to.
        sent: What is sent.
        is_all: Whether the connection's other half is closed then.
    """
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(sent)
        if is_all:
            connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    return list(_read(received))


def _read(received: bytes) -> Iterator[httpx.Response]:
    """Answers that stand one behind another."""
    while received:
        line, _, rest = received.partition(b"\r\n")
        head, _, received = rest.partition(b"\r\n\r\n")
        headers: Message = BytesParser().parsebytes(head, headersonly=True)
        length = int(headers.get("content-length", 0))
        yield httpx.Response(int(line.split()[1]), headers=headers.items(), content=received[:length])
        received = received[length:]


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"hello\r\n\r\n", ["illegal request line: 'hello'", "HTTP/1.1"]),
        (b"\r\n\r\n", ["no request line"]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", ["illegal request line", "without TLS"]),
        (b"GET /health\r\n\r\n", ["illegal request line: 'GET /health'"]),
        (b"G(T /health HTTP/1.1\r\nHost: a\r\n\r\n", ["illegal request line", "G(T"]),
        ("GET /é HTTP/1.1\r\nHost: a\r\n\r\n".encode(), ["illegal request line", r"/\xc3\xa9"]),
        (b"GET /health HTTP/1.1\r\n\r\n", ["Host"]),
        (HEALTH + b"Host: b\r\n\r\n", ["Host", "Give one"]),
        (HEALTH + b"no header\r\n\r\n", ["illegal header line: 'no header'"]),
        (HEALTH + b"X: \x00\r\n\r\n", ["illegal header line"]),
        (CALL + b"Content-Length: two\r\n\r\n{}", ["bad Content-Length", "in digits"]),
        (CALL + b"Content-Length: -2\r\n\r\n{}", ["bad Content-Length"]),
        (CALL + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n{}", ["bad Content-Length"]),
        (CALL + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", ["conflicting Content-Length", "Give one"]),
        (CALL + b"Transfer-Encoding: gzip\r\n\r\n{}", ["Transfer-Encoding: chunked"]),
        (CALL + b"Transfer-Encoding: chunked\r\n\r\nxy\r\n{}\r\n", ["illegal chunk header: 'xy", "hexadecimal"]),
        (CALL + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}{}", ["chunk footer", "hexadecimal"]),
    ],
)
def test_bytes_that_are_no_http_are_told_why(url: str, sent: bytes, words: Sequence[str]) -> None:
    """400 with h11's reason and a remedy, and the connection is closed."""
    (answer,) = _answers(url, sent)
    assert_problem(answer, 400, None, *words)
    assert answer.headers["connection"].lower() == "close"


def test_too_long_a_head_is_told_why(url: str) -> None:
    """431, also where the caller sends much more than is read before the answer."""
    for sent in (b"GET /" + b"a" * 500_000, HEALTH + b"X: " + b"a" * 500_000):
        (answer,) = _answers(url, sent)
        assert_problem(answer, 431, None, "65536 bytes")


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (CALL + b"Content-Length: 100\r\n\r\n{}", ["received 2 bytes, expected 100", "announced"]),
        (CALL + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}", ["incomplete chunked read", "announced"]),
        (CALL, ["closed connection"]),
    ],
)
def test_a_request_that_ends_early_is_told_so(url: str, sent: bytes, words: Sequence[str]) -> None:
    """400 at once where the caller sends no more, and nobody waits for the rest."""
    (answer,) = _answers(url, sent, is_all=True)
    assert_problem(answer, 400, None, *words)


def test_who_connects_and_says_nothing_hears_nothing(url: str) -> None:
    """Neither an answer nor an error."""
    assert not _answers(url, b"", is_all=True)


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_a_large_body_does_not_hide_the_answer(url: str, more: bytes) -> None:
    """A caller that sends ten megabytes before it reads still hears 413 and why."""
    sent = CALL + more + b"Content-Length: 10000000\r\n\r\n" + b" " * 10_000_000
    assert_problem(_answers(url, sent)[0], 413, None, "1000 bytes", "fewer items")


@pytest.mark.slow
def test_a_large_body_without_a_token_does_not_hide_the_answer(service: Service) -> None:
    """A caller that sends ten megabytes before it reads still hears 401."""
    with serving(service.engine, service.metrics, ServiceSettings(token="t")) as url:  # noqa: S106 - a test's
        (answer,) = _answers(url, CALL + b"Content-Length: 10000000\r\n" + END + b" " * 10_000_000)
    assert_problem(answer, 401, None, "bearer token")


def test_a_caller_that_asks_before_it_sends_is_answered_before(url: str) -> None:
    """With `Expect: 100-continue` a body that is too large is refused before it is sent."""
    (answer,) = _answers(url, CALL + b"Expect: 100-continue\r\nContent-Length: 10000000\r\n\r\n")
    assert_problem(answer, 413, None, "1000 bytes")


def test_a_good_request_before_a_bad_one_is_answered(url: str) -> None:
    """Of two requests sent at once each has its own answer."""
    good, bad = _answers(url, HEALTH + b"\r\nhello\r\n\r\n")
    assert good.json()["status"] == "ok"
    assert_problem(bad, 400, None, "hello")


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"HEAD /health HTTP/1.1", 200),
        (b"HEAD /v1/models HTTP/1.1", 200),
        (b"HEAD /v2 HTTP/1.1", 404),
        (b"HEAD /v1/systemone HTTP/1.1", 405),
    ],
)
def test_head_on_a_socket(url: str, line: bytes, status: int) -> None:
    """The length of what GET would answer, and no body."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(line + b"\r\nHost: a\r\n" + END)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length: " in head
    assert not body


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"OPTIONS * HTTP/1.1", 404),
        (b"CONNECT a:80 HTTP/1.1", 404),
        (b"GET /%ff%00%0a%ed%a0%80 HTTP/1.1", 404),
        (b"GET //health HTTP/1.1", 404),
        (b"GET /../health HTTP/1.1", 404),
        (b"FOO /health HTTP/1.1", 405),
    ],
)
def test_odd_paths_and_methods_are_told_so(url: str, line: bytes, status: int) -> None:
    """A 4xx that names what was asked for."""
    (answer,) = _answers(url, line + b"\r\nHost: a\r\n" + END)
    assert_problem(answer, status, None)


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c"])
def test_an_upgrade_is_left_out(url: str, upgrade: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Who would rather speak something else is answered in HTTP/1.1, and nobody is told to install anything."""
    with caplog.at_level(logging.WARNING):
        (answer,) = _answers(url, HEALTH + b"Upgrade: " + upgrade + b"\r\nConnection: Upgrade, close\r\n\r\n")
    assert answer.json()["status"] == "ok"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://host/health", 200),
        (b"HTTP://host:80/health?a=b", 200),
        (b"http://host", 404),
        (b"http://host//health", 404),
        (b"ftp://host/health", 404),
    ],
)
def test_a_whole_url_is_a_target(url: str, target: bytes, status: int) -> None:
    """A request to `GET http://host/path` is answered as one to `GET /path`."""
    (answer,) = _answers(url, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + END)
    assert answer.status_code == status


@pytest.mark.slow
def test_a_whole_url_needs_the_token(service: Service) -> None:
    """The token is asked for by the path, however it is written."""
    with serving(service.engine, service.metrics, ServiceSettings(token="t")) as url:  # noqa: S106 - a test's
        for target, status in ((b"http://host/health", 200), (b"http://health/v1/models", 401)):
            (answer,) = _answers(url, b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + END)
            assert answer.status_code == status
