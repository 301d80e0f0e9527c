"""Bodies that are sent compressed, with zstd or gzip: what is in them, up to a size."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Protocol

import zstandard

from cascade.service.http_errors import RefusedError

_WINDOW = 8 * 1024 * 1024
"""Most bytes of a zstd window.

Source: RFC 9659: a sender may use no larger one over HTTP.
"""

_GZIP = 16 + zlib.MAX_WBITS  # what zlib calls gzip

_STEP = 256
"""Bytes that are unpacked at once. 4 bytes of zstd hold up to 128 KiB, so one step holds at most 8 MiB."""

_PARTS = 1_000
"""Most gzip members or zstd frames of a body; each needs a decoder of its own, however little it holds."""


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """What was compressed.

    Args:
        body: The body as it was sent.
        encoding: Its Content-Encoding.
        most: Most bytes that it may hold; hardly more are ever unpacked.

    Raises:
        RefusedError: 415 for an encoding that is not known, 400 if the bytes are not of it, break off or have too many
            parts, 413 if they hold too much.
    """
    name = encoding.strip().lower()
    if name in {"", "identity"}:
        return body
    if name not in _UNPACK:
        detail = f"The body is sent with Content-Encoding {encoding!r}; allowed are {ENCODINGS} and none."
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail, headers={"Accept-Encoding": ENCODINGS})
    try:
        found = _joined(_UNPACK[name], body, most)
    except (zlib.error, zstandard.ZstdError, _PartsError) as error:
        detail = f"The body is sent as {name}, and cannot be unpacked: {error}. Send it whole, or uncompressed."
        raise RefusedError(HTTPStatus.BAD_REQUEST, detail) from error
    if len(found) > most:
        detail = f"The body holds more than {most} bytes unpacked, the most that is taken. Send fewer items."
        raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)
    return found


class _PartsError(ValueError):
    """The last part breaks off, or there are too many."""


class _Part(Protocol):
    """A decoder of one gzip member or zstd frame."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _joined(start: Callable[[], _Part], body: bytes, most: int) -> bytes:
    """What the parts of a body hold; of one that holds more than ``most`` bytes only its beginning.

    Raises:
        _PartsError: It breaks off, or has too many parts.
    """
    found, at, part, n_parts = bytearray(), 0, start(), 1
    while at < len(body) and len(found) <= most:
        if part.eof:
            part, n_parts = start(), n_parts + 1
        if n_parts > _PARTS:
            msg = f"it is in more than {_PARTS} parts"
            raise _PartsError(msg)
        step = body[at : at + _STEP]
        found += part.decompress(step)
        at += len(step) - len(part.unused_data)
    if body and not part.eof and len(found) <= most:
        msg = f"it breaks off after {len(body)} bytes"
        raise _PartsError(msg)
    return bytes(found)


_UNPACK: Mapping[str, Callable[[], _Part]] = {
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj(),
    "gzip": lambda: zlib.decompressobj(_GZIP),
}

ENCODINGS = ", ".join(_UNPACK)
"""What a body may be compressed with, as headers have it."""
