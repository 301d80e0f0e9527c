"""Lets a test be a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test that runs a coroutine function to its end in an event loop of its own."""

    @wraps(test)
    def whole() -> None:
        asyncio.run(test())

    return whole
