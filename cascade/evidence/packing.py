"""A JSON value and arrays as compressed bytes, which may come back damaged. Pure."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MOST_BYTES = 500_000_000  # far more than is ever packed; it bounds what damaged bytes can ask for
_SIZE = 4  # bytes of the length of the JSON text


def pack(head: object, arrays: Sequence[NDArray[Any]]) -> bytes:
    """Bytes that ``unpack`` reads back.

    Args:
        head: What JSON can hold.
        arrays: One-dimensional arrays.
    """
    text = json.dumps([head, [len(array) for array in arrays]], separators=(",", ":")).encode()
    return zlib.compress(b"".join([len(text).to_bytes(_SIZE, "little"), text, *(one.tobytes() for one in arrays)]), 1)


def unpack(data: bytes, types: Sequence[str]) -> tuple[Any, list[NDArray[Any]]]:
    """The value and the arrays, which cannot be written to.

    Args:
        data: The bytes.
        types: The type of each array as numpy spells it, such as ``<u4``.

    Raises:
        ValueError: The bytes are not what ``pack`` wrote for such arrays.
    """
    try:
        stream = zlib.decompressobj()
        plain = stream.decompress(data, _MOST_BYTES)
        start = _SIZE + int.from_bytes(plain[:_SIZE], "little")
        head, lengths = json.loads(plain[_SIZE:start])
        if [*map(type, lengths)] != [int] * len(types) or min(lengths, default=0) < 0:
            msg = "lengths of other arrays"
            raise ValueError(msg)
        sizes = (n * np.dtype(kind).itemsize for n, kind in zip(lengths, types, strict=True))
        *starts, end = accumulate(sizes, initial=start)
        if end != len(plain) or not stream.eof or stream.unused_data:
            msg = "more or fewer bytes than were packed"
            raise ValueError(msg)
        found = zip(types, lengths, starts, strict=True)
        return head, [np.frombuffer(plain, kind, n, at) for kind, n, at in found]
    except (zlib.error, TypeError, RecursionError, OverflowError) as error:
        msg = "not what was packed"
        raise ValueError(msg) from error
