"""Bodies that are sent compressed, with zstd or gzip: what is in them, up to a size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from io import BytesIO

import zstandard

from cascade.service.http_errors import RefusedError

_WINDOW = 8 * 1024 * 1024
"""Most bytes of a zstd window.

Source: RFC 9659: a sender may use no larger one over HTTP.
"""

_GZIP = 16 + zlib.MAX_WBITS  # what zlib calls gzip


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """What was compressed.

    Args:
        body: The body as it was sent.
        encoding: Its Content-Encoding.
        most: Most bytes that it may hold; no more are ever unpacked.

    Returns:
        All of it; of a body that breaks off what came, which is no JSON.

    Raises:
        RefusedError: 415 for an encoding that is not known, 400 if the bytes are not of it, 413 if they hold too much.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in _UNPACK:
        detail = f"The body is sent with Content-Encoding {encoding!r}; allowed are {ENCODINGS} and none."
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": ENCODINGS})
    try:
        found = _UNPACK[name](body, most + 1)
    except (zlib.error, zstandard.ZstdError) as error:
        detail = f"The body is sent as {name}, and cannot be unpacked: {error}. Send it whole, or uncompressed."
        raise RefusedError(HTTPStatus.BAD_REQUEST, detail) from error
    if len(found) > most:
        detail = f"The body holds more than {most} bytes unpacked, the most that is taken. Send fewer items."
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return found


def _gzip(body: bytes, most: int) -> bytes:
    """The first bytes of what one or several gzip members hold; all there is of one that breaks off."""
    found = b""
    while body and len(found) < most:
        member = zlib.decompressobj(_GZIP)
        found += member.decompress(body, most - len(found))
        body = member.unused_data
    return found


def _zstd(body: bytes, most: int) -> bytes:
    """The first bytes of what one or several zstd frames hold; all there is of one that breaks off."""
    frames = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    return frames.stream_reader(BytesIO(body), read_across_frames=True).read(most)


_UNPACK: Mapping[str, Callable[[bytes, int], bytes]] = {"zstd": _zstd, "gzip": _gzip}

ENCODINGS = ", ".join(_UNPACK)
"""What a body may be compressed with, as headers have it."""
