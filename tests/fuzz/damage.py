"""Strategies that damage what is sound: trees of JSON or TOML values, and bytes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

_DEEP: Any = None
for _ in range(150):
    _DEEP = [_DEEP]

TEXTS: tuple[str, ...] = (
    "",
    " ",
    "\n",
    "\0",
    "\ud800",
    "\ufeff",
    "\u2028",
    "é" * 3,
    "e\u0301",
    "\U0001f600",
    "x" * 3_000,
    "yes",
    "<|task|>",
    "<|im_end|>",
    "{item}",
    "%s",
    "../..",
    "~",
    "~nobody",
    "/dev/null",
    ".",
    "a\0b",
    "$HOME",
    "nan",
    "1",
)
"""Texts that code may stumble over."""

NUMBERS: tuple[float, ...] = (
    *(0, 1, -1, 2, 3, 255, 256, 512, 513, 65_536, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64, 10**30, -(2**63)),
    *(0.5, 1.0, -0.0, 1e-320, 1e-9, 0.999999999, 1e308, -1e308, float("inf"), float("-inf"), float("nan")),
)
"""Numbers that code may stumble over."""

_TAME = (0, 1, 2, 3, 7, 32, 63, 64, 255, 256, 300, 1_000, 4_096, 0.01, 0.25, 0.5, 0.75, 0.99)

VALUES: tuple[Any, ...] = (
    *(None, True, False, [], {}, [[]], [{}], {"": None}, {"a": {"b": []}}, ["", ""], [0, "a", None], _DEEP),
    *(datetime(2026, 1, 1, tzinfo=UTC), *TEXTS, *NUMBERS),
)
"""Values of any kind."""

SNIPPETS: tuple[bytes, ...] = (
    *(
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n",
        b"\r\n",
        b"\x1a",
        b"\x85",
        b"\xe2\x80\xa8",
    ),
    *(b"{", b"}", b"[", b"]", b'"', b"'", b"\\", b",", b":", b"=", b"#", b"/*", b"*/", b"//", b"`", b"${", b"(", b")"),
    *(
        b"7" * 5_000,
        b"-" * 300,
        b"[" * 3_000,
        b"{" * 3_000,
        b"(" * 300,
        b"1e999",
        b"NaN",
        b"0x",
        b"\\ud800",
        b"\\u0000",
    ),
    *(b'"""', b"\t", b" " * 2_000, b"<|task|>", b"null", b"true"),
)
"""What is put into texts."""


@st.composite
def damaged_tree(draw: DrawFn, tree: Any, most: int = 3) -> Any:
    """A tree with up to so many places changed: dropped, doubled, renamed, replaced, moved, or added to."""
    whole = [copy.deepcopy(tree)]
    for _ in range(draw(st.integers(0, most))):
        places = list(_places(whole))
        at, key = places[draw(st.integers(0, len(places) - 1))]
        _change(draw, at, key, places)
    return whole[0]


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) of a tree whose outermost container is not part of it."""
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            yield node, key
            if isinstance(node[key], dict | list) and node[key] is not _DEEP:
                stack.append(node[key])


def _change(draw: DrawFn, at: Any, key: Any, places: list[tuple[Any, Any]]) -> None:
    """One damage at one place; every other one keeps the kind of value, so that it goes further."""
    other, other_key = places[draw(st.integers(0, len(places) - 1))]
    match draw(st.integers(0, 11)):
        case 0 if isinstance(at, dict):
            del at[key]
        case 1 if isinstance(at, dict):
            at[TEXTS[draw(st.integers(0, len(TEXTS) - 1))]] = at.pop(key)
        case 2 if isinstance(at, dict):
            at[f"{key}x"] = _any(draw)
        case 3 if isinstance(at[key], list):
            at[key] *= draw(st.sampled_from([0, 2, 70]))
        case 4 if isinstance(at[key], list) and at[key]:
            del at[key][0]
        case 5:
            at[key] = copy.deepcopy(other[other_key])
        case 6:
            at[key] = _any(draw)
        case _:
            at[key] = _alike(draw, at[key])


def _any(draw: DrawFn) -> Any:
    value = VALUES[draw(st.integers(0, len(VALUES) - 1))]
    return value if value is _DEEP else copy.deepcopy(value)


def _alike(draw: DrawFn, value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return type(value)(draw(st.sampled_from(_TAME if draw(st.booleans()) or isinstance(value, int) else NUMBERS)))
    if isinstance(value, str):
        return TEXTS[draw(st.integers(0, len(TEXTS) - 1))]
    return value[::-1] if isinstance(value, list) else value


@st.composite
def damaged_bytes(draw: DrawFn, data: bytes, most: int = 3) -> bytes:
    """Bytes with up to so many places changed: cut, flipped, removed, doubled, or a snippet put in."""
    for _ in range(draw(st.integers(0, most))):
        at, other = (draw(st.integers(0, len(data))) for _ in range(2))
        start, end = sorted((at, other))
        match draw(st.integers(0, 5)):
            case 0:
                data = data[:at]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + data[start:]
            case 3 if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << other % 8)]) + data[at + 1 :]
            case _:
                data = data[:at] + SNIPPETS[draw(st.integers(0, len(SNIPPETS) - 1))] + data[at:]
    return data
