"""Bodies that come compressed: what they hold, and that no more of it is unpacked than is allowed."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable

import httpx
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from cascade.service.encodings import unpacked
from cascade.service.http_errors import RefusedError
from cascade.service.settings import ServiceSettings
from tests.helpers.asyncs import run
from tests.helpers.service import Service, assert_failure, assert_fault, assert_problem

PACK: dict[str, Callable[[bytes], bytes]] = {"zstd": zstandard.ZstdCompressor().compress, "gzip": gzip.compress}
MOST = 1_000
PRECISION = "/v1/cascades/precision"


def outcome(body: bytes, name: str) -> int:
    """The status of a body; 200 where it is unpacked, to no more than is allowed."""
    try:
        found = unpacked(body, name, MOST)
    except RefusedError as error:
        return error.status
    return 200 if len(found) <= MOST else 500


@pytest.mark.parametrize("name", PACK)
@given(data=st.binary(max_size=MOST), more=st.binary(max_size=8))
def test_what_was_packed_comes_out(name: str, data: bytes, more: bytes) -> None:
    """Every body up to the limit, in one part or in two; never more than the limit, whatever follows."""
    assert unpacked(PACK[name](data), name.upper(), MOST) == data
    half = len(data) // 2
    assert unpacked(PACK[name](data[:half]) + PACK[name](data[half:]), name, MOST) == data
    assert outcome(PACK[name](data) + more, name) in {200, 400, 413}


@pytest.mark.parametrize("name", PACK)
@given(data=st.binary(min_size=1, max_size=300))
def test_bytes_that_were_never_packed_are_refused(name: str, data: bytes) -> None:
    """Or they hold nothing; no other error comes out."""
    assert outcome(data, name) in {200, 400}


@pytest.mark.parametrize("name", PACK)
@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(min_value=1, max_value=400))
def test_a_body_that_breaks_off_is_refused(name: str, data: bytes, cut: int) -> None:
    """Wherever it does, even where all of its content came and only the checksum is missing."""
    whole = PACK[name](data)
    with pytest.raises(RefusedError, match=f"sent as {name}.*breaks off") as caught:
        unpacked(whole[: max(1, len(whole) - cut)], name, MOST)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", PACK)
def test_parts_are_counted_whatever_they_hold(name: str) -> None:
    """A thousand members or frames are read; a body of more, each of which costs a decoder, is refused."""
    assert unpacked(PACK[name](b"x") * 1_000, name, MOST) == b"x" * 1_000
    with pytest.raises(RefusedError, match="more than 1000 parts") as caught:
        unpacked(PACK[name](b"") * 1_001, name, MOST)
    assert caught.value.status == 400


@pytest.mark.slow
@pytest.mark.parametrize("name", PACK)
def test_a_bomb_takes_no_memory(name: str) -> None:
    """A body that would hold 200 MB is refused with 413 once the limit is passed."""
    bomb = PACK[name](bytes(200_000_000))
    tracemalloc.start()
    with pytest.raises(RefusedError) as caught:
        unpacked(bomb, name, 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.status == 413
    assert peak < 20_000_000


def test_a_zstd_window_that_http_does_not_allow_is_refused() -> None:
    """One of 128 MiB would be that much memory."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(RefusedError, match="too much memory"):
        unpacked(packer.compress(b"a") + packer.flush(), "zstd", MOST)


@pytest.mark.slow
@run
async def test_every_endpoint_takes_compressed_bodies() -> None:
    """The answers are those to plain bodies; refusals have the form of the endpoint."""
    service = Service(settings=ServiceSettings(max_body=MOST))
    question = {"q": {"type": "noul", "instructions": "Is it?"}}
    bodies: dict[str, dict[str, object]] = {
        PRECISION: {"task": "t", "items": [{"id": "1", "name": "n"}]},
        "/v1/systemone": {"state": "s", "model": "base", "questions": question},
    }
    with service.engine:
        async with service.client(headers={"Content-Type": "application/json"}) as client:
            for path, body in bodies.items():
                for name, pack in PACK.items():
                    headers = {"Content-Encoding": name}
                    content = pack(json.dumps(body).encode())
                    assert (await client.post(path, content=content, headers=headers)).status_code == 200
                    await _refused(client, path, name, pack)


async def _refused(client: httpx.AsyncClient, path: str, name: str, pack: Callable[[bytes], bytes]) -> None:
    headers = {"Content-Encoding": name}
    large = await client.post(path, content=pack(b" " * (MOST + 1)), headers=headers)
    broken = await client.post(path, content=b"{}", headers=headers)
    unknown = await client.post(path, content=b"{}", headers={"Content-Encoding": "br"})
    assert unknown.headers["accept-encoding"] == "zstd, gzip"
    if path == PRECISION:
        assert_problem(large, 413, None, "1000 bytes unpacked")
        assert_problem(broken, 400, None, f"sent as {name}", "cannot be unpacked")
        assert_problem(unknown, 415, None, "'br'", "zstd, gzip")
    else:
        assert_failure(large, 413, "invalid_request_error", "1000 bytes unpacked")
        assert_fault(broken, [], f"sent as {name}", "cannot be unpacked")
        assert_failure(unknown, 415, "invalid_request_error", "'br'")
